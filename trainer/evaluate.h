// Loss on the fixed validation windows.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "model/transformer.h"
#include "trainer/corpus.h"
#include "trainer/run_config.h"

namespace minichilla {

struct Evaluation {
  double loss;           ///< mean, nats per token
  double bits_per_byte;  ///< loss / ln 2 · tokens / bytes of text, both of the whole split
};

/// Bytes that an Evaluator of so many windows allocates. A model takes B windows at a time; those that are
/// left over get a batch each.
struct EvaluatorMemory {
  int whole_batches, batches;
  std::size_t windows;    ///< tokens (batches, B, T), and targets alike
  std::size_t loss_sums;  ///< a double per batch
};
EvaluatorMemory evaluator_memory(std::int64_t windows, const RunConfig& config);

/// The first evaluate.tokens / T windows of a split, held on the device. Every window counts exactly once,
/// also when the micro-batch does not divide their number. The result does not depend on the number of lanes.
class Evaluator {
 public:
  /// `config` is resolved(). Keeps references to `model` and `device`.
  Evaluator(const RunConfig& config, const TokenSplit& split, Transformer& model, Device& device);

  Evaluation run();

 private:
  Transformer& model_;
  Device& device_;
  std::int64_t windows_, batch_tokens_, tokens_per_window_;
  int whole_batches_, batches_, micro_batch_;
  double tokens_per_byte_;
  Buffer tokens_, targets_;  ///< (batches, B, T) ids
  Buffer loss_sums_;         ///< a double per batch
  std::vector<double> host_sums_;
};

}  // namespace minichilla
