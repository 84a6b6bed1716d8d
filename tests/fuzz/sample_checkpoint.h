// A small checkpoint, written by the trainer's own code.
#pragma once

#include <algorithm>
#include <filesystem>

#include "trainer/checkpoint.h"

namespace minichilla::fuzz {

/// A model of a few hundred parameters.
inline ParameterTable sample_table() {
  ModelConfig model;
  model.n_layers = 1;
  model.d_model = 4;
  model.n_heads = 1;
  model.d_ff = 4;
  model.context_length = 4;
  return {resolved(model), 5};
}

/// What that checkpoint says of its origin.
inline CheckpointState sample_origin() {
  CheckpointState state;
  state.config_hash = "config";
  state.corpus_hash = "corpus";
  state.tokenizer = "bytes";
  state.numerics_id = "0123456789ab";
  return state;
}

/// Flat arrays of which every element is 0.5.
class HalfEverywhere final : public FlatStore {
 public:
  void read(FlatArray, std::int64_t, std::span<float> values) const override {
    std::ranges::fill(values, 0.5f);
  }
  void write(FlatArray, std::int64_t, std::span<const float>) override {}
};

/// Writes `run`/checkpoints/7.
inline void save_sample_checkpoint(const std::filesystem::path& run, const ParameterTable& table) {
  CheckpointState state = sample_origin();
  state.step = 7;
  state.sequences = 56;
  state.tail_loss_sum = 1.5;
  state.val_loss = 2.25;
  state.val_bits_per_byte = 3.25;
  state.val_step = 5;
  state.wall_s = 1.5;
  state.train_s = 1.25;
  Checkpoints(run, table).save(state, HalfEverywhere());
}

}  // namespace minichilla::fuzz
