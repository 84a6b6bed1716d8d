// Causal attention, dense and banded, on the GPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/ops.h"

namespace minichilla::cuda {

/// Queries that a block of the forward kernel has.
template <class Real>
constexpr int kAttentionQueries = sizeof(Real) == 2 ? 128 : 32;

/// As Operations::attention, for head widths D from 1 to 128: out (B,T,H,D) = and log_sum_exp (B,H,T) = from
/// qkv (B,T,3,H,D). Real is float or __nv_bfloat16; sums and exponentials are fp32. A block
/// reads its queries, and the keys and values of their key_range(), once. Needs no scratch; nothing aliases.
template <class Real>
void attention(cudaStream_t stream, const AttentionShape& shape, const Real* qkv, Real* out,
               float* log_sum_exp);

/// Floats of scratch that attention_backward needs for this shape.
std::int64_t attention_backward_scratch(const AttentionShape& shape);

/// As Operations::attention_backward: d_qkv (B,T,3,H,D) = from d_out (B,T,H,D) and what attention() read and
/// wrote. Every gradient is the sum of one block in a fixed order. Nothing aliases.
template <class Real>
void attention_backward(cudaStream_t stream, const AttentionShape& shape, const Real* qkv, const Real* out,
                        const float* log_sum_exp, const Real* d_out, Real* d_qkv, float* scratch);

// Each type has kernels of its own: attention_fp32*.cu, attention_bf16*.cu.
template <>
void attention(cudaStream_t, const AttentionShape&, const float*, float*, float*);
template <>
void attention(cudaStream_t, const AttentionShape&, const __nv_bfloat16*, __nv_bfloat16*, float*);
template <>
void attention_backward(cudaStream_t, const AttentionShape&, const float*, const float*, const float*,
                        const float*, float*, float*);
template <>
void attention_backward(cudaStream_t, const AttentionShape&, const __nv_bfloat16*, const __nv_bfloat16*,
                        const float*, const __nv_bfloat16*, __nv_bfloat16*, float*);

}  // namespace minichilla::cuda
