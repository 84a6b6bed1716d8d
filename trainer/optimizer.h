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

/// Covers the flat arrays exactly once, in order: neighbouring tensors of one group are merged (a tensor's
/// padding goes with it), then cut into chunks of `elements_per_task` (Device::elements_per_task). Weight
/// decay applies to the tensors that the table marks as decayed.
std::vector<OptimizerTask> optimizer_tasks(const OptimizerConfig& config, const ParameterTable& table,
                                           std::int64_t elements_per_task);

/// [0, elements) in chunks of `elements_per_task`.
std::vector<ElementRange> chunks(std::int64_t elements, std::int64_t elements_per_task);

}  // namespace minichilla
