// add_norm for rows that are too wide for it. A block keeps 12288 columns of a row, GPT-3's widest; what is
// beyond is read again, from a cache.
#pragma once

#include <cuda_runtime.h>

namespace minichilla::cuda {

/// As add_norm, for any C.
template <class Real>
void wide_add_norm(cudaStream_t stream, int M, int C, const Real* residual, const Real* branch,
                   const float* weight, const float* bias, Real* sum, Real* normed, float* mean, float* rstd);

/// As add_norm_backward, for any C, but partials (2, parts, C) = sums for d_weight and d_bias over the rows
/// of each of row_parts(M). d_sum_out may alias d_sum_in alone.
template <class Real>
void wide_add_norm_backward(cudaStream_t stream, int M, int C, const Real* d_normed, const Real* d_sum_in,
                            const Real* sum, const float* mean, const float* rstd, const float* weight,
                            Real* d_sum_out, float* partials);

}  // namespace minichilla::cuda
