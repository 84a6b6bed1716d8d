#include "sweeps/budget.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace minichilla {

double flops_column(const FlopsPerToken& flops_per_token, const std::string& column) {
  if (column == "flops") return flops_per_token.flops;
  if (column == "flops_hoffmann") return flops_per_token.flops_hoffmann;
  if (column == "flops_6nd") return flops_per_token.flops_6nd;
  throw std::logic_error("no FLOPs column " + column);
}

Batch whole_batch(double tokens, int context_length, int largest_micro_batch) {
  const std::int64_t sequences = std::max<std::int64_t>(1, std::llround(tokens / context_length));
  std::int64_t micro_batch = std::min<std::int64_t>(largest_micro_batch, sequences);
  while (sequences % micro_batch != 0) --micro_batch;
  return {sequences * context_length, sequences, static_cast<int>(micro_batch)};
}

std::int64_t whole_steps(double tokens, std::int64_t batch_tokens) {
  return static_cast<std::int64_t>(std::floor(tokens / static_cast<double>(batch_tokens) * (1 + 1e-9)));
}

}  // namespace minichilla
