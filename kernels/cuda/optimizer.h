// From the gradient slots to new weights on the GPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <span>

#include "kernels/ops.h"

namespace minichilla::cuda {

/// As Operations::adamw, and the new weights in `range` are also written to weights_bf16 (flat like weights)
/// unless it is nullptr. All arrays are = in `range` and untouched outside it, and everywhere when
/// state->finite is 0. They do not alias.
void adamw(cudaStream_t stream, AdamWSettings settings, ElementRange range, const StepState* state,
           const std::uint8_t* decayed, const float* gradient, float* weights, float* first_moment,
           float* second_moment, __nv_bfloat16* weights_bf16);

/// As Operations::sum_slots, in the same tree: slots[0][range] = the sum. With more than 64 slots also
/// slots[64], slots[128] … are overwritten in `range`, by sums of parts.
void sum_slots(cudaStream_t stream, std::span<float* const> slots, ElementRange range);

/// As Operations::finish_gradient, in the same order: `partials`, `slot_loss_sums` and `state` are device
/// memory. loss_sum, gradient_norm and
/// gradient_scale are =; finite may become 0.
void finish_gradient(cudaStream_t stream, std::span<const double> partials,
                     std::span<const double> slot_loss_sums, float clip, StepState* state);

/// to (count) = from (count), rounded to nearest even.
void cast_to_bf16(cudaStream_t stream, std::int64_t count, const float* from, __nv_bfloat16* to);

}  // namespace minichilla::cuda
