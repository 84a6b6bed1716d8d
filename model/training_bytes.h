// Bytes that training keeps for the parameters, by precision.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/parameters.h"

namespace minichilla {

/// Bytes of one parameter, or of all of them.
struct TrainingBytes {
  std::string precision;   ///< "fp32" or "bf16"
  std::int64_t weights;    ///< what forward and backward read
  std::int64_t master;     ///< fp32 copy that the optimizer updates; 0: the weights are that
  std::int64_t gradients;  ///< one slot, fp32; a run has train.gradient_slots of them
  std::int64_t moments;    ///< both of AdamW, fp32
  std::int64_t total() const { return weights + master + gradients + moments; }
};

/// Of one parameter, in each precision: fp32 4 + 0 + 4 + 8 = 16; bf16 with fp32 master weights
/// 2 + 4 + 4 + 8 = 18.
const std::vector<TrainingBytes>& bytes_per_parameter();

/// Of all flat arrays of a table, padding included, in each precision: what train --dry-run shows for one
/// gradient slot. Activations are not counted, since they depend on the micro-batch.
std::vector<TrainingBytes> training_bytes(const ParameterTable& table);

}  // namespace minichilla
