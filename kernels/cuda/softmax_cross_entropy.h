// The loss of rows of logits on the GPU, and its gradient in their place.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace minichilla::cuda {

/// Of logits (rows, V), whose rows are leading_dimension ≥ V elements apart: row_losses (rows) = −log
/// softmax(row)[target], in nats, targets (rows) each in [0, V). Real = float or __nv_bfloat16, computed in
/// fp32. With `with_gradient` logits = loss_scale · (softmax − one-hot(target)), and columns V …
/// leading_dimension − 1, which are otherwise ignored, = 0; without, logits are left as they are.
template <class Real>
void softmax_cross_entropy(cudaStream_t stream, int rows, int V, int leading_dimension, Real* logits,
                           const std::int32_t* targets, float loss_scale, float* row_losses,
                           bool with_gradient);

/// loss_sum (one double) += the sum of row_losses (rows), in double and in an order that depends on `rows`
/// alone.
void add_row_losses(cudaStream_t stream, int rows, const float* row_losses, double* loss_sum);

}  // namespace minichilla::cuda
