// Tokens, batches and steps from FLOP budgets.
#pragma once

#include <cstdint>
#include <string>

#include "model/flops.h"

namespace minichilla {

/// One column of a model's FLOPs per token: "flops", "flops_hoffmann" or "flops_6nd" (std::logic_error
/// otherwise).
double flops_column(const FlopsPerToken& flops_per_token, const std::string& column);

/// A batch of whole sequences that splits into equal micro-batches.
struct Batch {
  std::int64_t tokens;  ///< sequences × context length
  std::int64_t sequences;
  int micro_batch;  ///< sequences
};

/// `tokens` rounded to the nearest number of whole sequences, at least one; its micro-batch is the largest
/// divisor of that number which is not above `largest_micro_batch`.
Batch whole_batch(double tokens, int context_length, int largest_micro_batch);

/// Steps of `batch_tokens` that fit into `tokens`: floor, so that a budget is never exceeded. Forgives
/// rounding errors of a relative 1e-9 (1e11 / fpt · fpt).
std::int64_t whole_steps(double tokens, std::int64_t batch_tokens);

}  // namespace minichilla
