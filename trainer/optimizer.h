// The optimizer's policy: which settings AdamW has, and where weights decay.
#pragma once

#include <cstdint>
#include <vector>

#include "model/parameters.h"
#include "trainer/run_config.h"

namespace minichilla {

AdamWSettings adamw_settings(const OptimizerConfig& config);

/// For Operations::adamw: 1 for each block of kDecayBlock elements of a tensor that the table marks as
/// decayed (its padding included), else 0.
std::vector<std::uint8_t> decay_mask(const ParameterTable& table);

/// [0, elements) in chunks of `elements_per_task` (Device::elements_per_task).
std::vector<ElementRange> chunks(std::int64_t elements, std::int64_t elements_per_task);

}  // namespace minichilla
