// One optimizer step: micro-batches over the lanes, gradient sum, clipping, AdamW.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/step_state.h"
#include "model/transformer.h"
#include "trainer/flat_store.h"
#include "trainer/optimizer.h"
#include "trainer/run_config.h"

namespace minichilla {

/// Bytes that a TrainingStep allocates beside its model: of its device's memory, and `transfer` of the
/// host's.
struct TrainingStepMemory {
  std::size_t batch;                     ///< tokens and targets
  std::size_t moment;                    ///< each of the two
  std::size_t decayed, partials, state;  ///< decay_mask(); of the gradient norm; a StepState
  std::size_t transfer;                  ///< a batch and two StepStates, of each step that can be pending
};
/// `config` is resolved(), `flat_size` its parameter table's.
TrainingStepMemory training_step_memory(const RunConfig& config, std::int64_t flat_size);

/// Owns the model, its moments and everything that a step needs. The bits of a step depend on config and
/// tokens alone, not on the number of lanes: micro-batch i adds into gradient slot i mod K in ascending
/// order, the slots are added in a fixed tree, and later work is cut into ranges that the lanes have no part
/// in.
///
/// A step is enqueued, and its result waited for later: an asynchronous device works on one step while the
/// host writes down the one before it and fills the batch of the next. Enqueuing neither allocates nor waits.
class TrainingStep final : public FlatStore {
 public:
  /// `config` is resolved().
  TrainingStep(const RunConfig& config, int vocabulary, Device& device);
  TrainingStep(const TrainingStep&) = delete;  // what it has recorded refers to it
  TrainingStep& operator=(const TrainingStep&) = delete;

  Transformer& model() { return model_; }
  const Transformer& model() const { return model_; }

  /// Initial weights from the seed. Moments are zero from the beginning; a logic_error after a step.
  void initialise(std::uint64_t seed);
  /// From and to the device, while no step is pending. Steps go on from what was written after
  /// begin_with_written() alone, and padding must stay zero.
  void read(FlatArray array, std::int64_t begin, std::span<float> values) const override;
  void write(FlatArray array, std::int64_t begin, std::span<const float> values) override;
  void begin_with_written();

  /// Host arrays (batch_tokens / T, T) of token ids, to be filled before enqueue().
  struct Batch {
    std::span<std::int32_t> tokens, targets;
  };
  /// Of the next step. At most one step may be pending on an asynchronous device, none on another.
  Batch next_batch();
  /// Step number `step` (1 is the first) on next_batch().
  void enqueue(double learning_rate, std::int64_t step);
  /// Steps that were enqueued and not waited for.
  int pending() const { return static_cast<int>(enqueued_ - finished_); }
  /// The device's state after the oldest pending step. When `finite` is 0 it updated no value, nor does any
  /// later step before begin_with_written().
  StepState wait();

  /// One step on these tokens and targets, enqueued and waited for.
  StepState run(std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets,
                double learning_rate, std::int64_t step);

  /// After a step that was not finite, the last one waited for: the first weight that is not, "weight
  /// layers.0.mlp.up.bias[17] = nan", or else the first gradient of that step; with the number of tensors
  /// when there are more. Empty when all of them are finite, as when their squares overflowed.
  std::string first_non_finite();

 private:
  /// What travels between host and device for one step.
  struct Transfer {
    Buffer batch;           ///< as batch_
    Buffer sent, returned;  ///< a StepState each
    std::unique_ptr<Mark> returned_mark;
  };

  float* array(FlatArray which) const { return arrays_[static_cast<std::size_t>(which)]; }
  Transfer& transfer(std::int64_t step) {
    return transfers_[static_cast<std::size_t>(step) % transfers_.size()];
  }
  void accumulate();
  void accumulate_slot(Lane& lane, int slot);
  void finish_gradient();
  void update();

  Device& device_;
  Transformer model_;
  std::int64_t flat_size_, micro_tokens_;
  int gradient_slots_, micro_batches_;
  float clip_, loss_scale_;
  std::int64_t batch_tokens_;
  AdamWSettings adamw_;
  std::vector<ElementRange> chunks_;
  std::vector<float*> slots_;
  std::array<float*, 3> arrays_;         ///< by FlatArray
  Buffer batch_;                         ///< batch_tokens tokens, then as many targets
  Buffer first_moment_, second_moment_;  ///< flat_size floats each
  Buffer decayed_;                       ///< decay_mask()
  Buffer partials_, state_;              ///< flat_size / kNormBlock doubles, one StepState
  std::vector<Transfer> transfers_;      ///< of the steps that can be pending, in turn
  std::unique_ptr<Recording> step_;      ///< from the batch to new weights
  std::int64_t enqueued_ = 0, finished_ = 0;
};

}  // namespace minichilla
