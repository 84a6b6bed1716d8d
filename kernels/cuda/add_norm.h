// Residual addition and layer norm (Ba et al. 2016) on the GPU, forward and backward.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace minichilla::cuda {

/// As Operations::add_norm, with Real = float or __nv_bfloat16: residual, branch, sum and normed (M,C) are
/// Real; weight, bias (C), mean, rstd (M) are fp32. All outputs are =. `sum` may alias `residual`;
/// without a branch (nullptr) sum is not written. mean and rstd are those of the sum as it is
/// stored, rounded to Real.
template <class Real>
void add_norm(cudaStream_t stream, int M, int C, const Real* residual, const Real* branch,
              const float* weight, const float* bias, Real* sum, Real* normed, float* mean, float* rstd);

/// Floats of scratch that add_norm_backward needs.
std::int64_t add_norm_backward_scratch(int M, int C);

/// As Operations::add_norm_backward: d_normed, d_sum_in, sum, d_sum_out (M,C) are Real; mean, rstd (M),
/// weight, d_weight, d_bias (C) are fp32. d_sum_out is =, and may alias d_sum_in (which may be nullptr:
/// zero); d_weight and d_bias are +=. `scratch` is used inside alone.
template <class Real>
void add_norm_backward(cudaStream_t stream, int M, int C, const Real* d_normed, const Real* d_sum_in,
                       const Real* sum, const float* mean, const float* rstd, const float* weight,
                       Real* d_sum_out, float* d_weight, float* d_bias, float* scratch);

}  // namespace minichilla::cuda
