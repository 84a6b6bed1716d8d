// One optimizer step: micro-batches over the lanes, gradient sum, clipping, AdamW.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/step_state.h"
#include "model/transformer.h"
#include "trainer/optimizer.h"
#include "trainer/run_config.h"

namespace minichilla {

/// Host copies of the flat arrays in the order of the parameter table, flat_size() floats each.
struct FlatArrays {
  std::vector<float> weights, first_moment, second_moment;
};

/// Bytes that a TrainingStep allocates beside its model.
struct TrainingStepMemory {
  std::size_t batch;            ///< tokens, and targets alike
  std::size_t moment;           ///< each of the two
  std::size_t partials, state;  ///< of the gradient norm; a StepState
};
/// `config` is resolved(), `flat_size` its parameter table's.
TrainingStepMemory training_step_memory(const RunConfig& config, std::int64_t flat_size);

/// Owns the model, its moments and everything that a step needs; run() allocates nothing. The bits of a step
/// depend on config and tokens alone, not on the number of lanes: micro-batch i adds into gradient slot i mod
/// K in ascending order, the slots are added in a fixed tree, and later work is cut into ranges that the
/// lanes have no part in.
class TrainingStep {
 public:
  /// `config` is resolved().
  TrainingStep(const RunConfig& config, int vocabulary, Device& device);

  Transformer& model() { return model_; }
  const Transformer& model() const { return model_; }

  /// Initial weights from the seed, zero moments.
  void initialise(std::uint64_t seed);
  /// Flat arrays from and to the device.
  FlatArrays download();
  void upload(const FlatArrays& arrays);

  /// Step number `step` (1 is the first) on tokens and targets (batch_tokens / T, T), host arrays of token
  /// ids. Returns the device's state after it; when `finite` is 0 no value was updated.
  StepState run(std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets,
                double learning_rate, std::int64_t step);

  /// After a step that was not finite: the first weight that is not, "weight layers.0.mlp.up.bias[17] = nan",
  /// or else the first gradient of that step; with the number of tensors when there are more. Empty when all
  /// of them are finite, as when their squares overflowed.
  std::string first_non_finite();

 private:
  void accumulate_slot(Lane& lane, int slot);
  void finish_gradient();
  void update();

  Device& device_;
  Transformer model_;
  std::int64_t flat_size_, micro_tokens_;
  int gradient_slots_, micro_batches_;
  float clip_, loss_scale_;
  std::vector<OptimizerTask> optimizer_tasks_;
  std::vector<ElementRange> chunks_;
  std::vector<float*> slots_;
  Buffer tokens_, targets_;              ///< batch_tokens ids each
  Buffer first_moment_, second_moment_;  ///< flat_size floats each
  Buffer partials_, state_;              ///< flat_size / kNormBlock doubles, one StepState
};

}  // namespace minichilla
