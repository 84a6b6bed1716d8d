// The optimizer's policy: which ranges of the flat arrays get which AdamW settings.
#pragma once

#include <vector>

#include "model/parameters.h"
#include "trainer/run_config.h"

namespace minichilla {

/// One call of Operations::adamw.
struct OptimizerTask {
  AdamWSettings settings;
  ElementRange range;
};

/// Elements that one task covers at most. A constant, so that the cut (and with it where vector code changes
/// over to scalar code) depends on the table alone.
inline constexpr std::int64_t kOptimizerChunk = 8 * Operations::kNormBlock;

/// Covers the flat arrays exactly once, in order: neighbouring tensors of one group are merged (a tensor's
/// padding goes with it), then cut into chunks. Weight decay applies to the tensors that the table marks as
/// decayed.
std::vector<OptimizerTask> optimizer_tasks(const OptimizerConfig& config, const ParameterTable& table);

/// [0, elements) in chunks of kOptimizerChunk.
std::vector<ElementRange> chunks(std::int64_t elements);

}  // namespace minichilla
