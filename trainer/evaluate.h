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
  double midway_loss;    ///< `loss` of what run_midway() reads
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
  /// Of every few whole batches alone: at least evaluate.midway_tokens, of all of the windows' text.
  Evaluation run_midway();
  /// Whether that is less.
  bool has_midway() const { return midway_batches_ > 0; }

 private:
  /// Fills host_sums_ for `batches` batches, `stride` apart.
  void sum_losses(int batches, int stride);
  Evaluation evaluation(double loss, double midway_loss) const;
  double midway_loss() const;

  Transformer& model_;
  Device& device_;
  std::int64_t windows_, batch_tokens_, tokens_per_window_;
  int whole_batches_, batches_, micro_batch_;
  int midway_batches_ = 0, midway_stride_ = 1;  ///< 0: all windows
  double tokens_per_byte_;
  Buffer tokens_, targets_;  ///< (batches, B, T) ids
  Buffer loss_sums_;         ///< a double per batch
  std::vector<double> host_sums_;
};

}  // namespace minichilla
