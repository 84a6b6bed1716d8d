// Token and position embedding on the GPU.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace minichilla::cuda {

/// out (B,T,C)[b,t] = token_embedding (V,C)[tokens (B,T)[b,t]] + position_embedding (T,C)[t], Real = float or
/// __nv_bfloat16, added in fp32. Every token is one of the table's rows.
template <class Real>
void embed(cudaStream_t stream, int B, int T, int C, const std::int32_t* tokens, const Real* token_embedding,
           const Real* position_embedding, Real* out);

/// Bytes of scratch that embed_backward needs.
std::int64_t embed_backward_scratch_bytes(int B, int T, int C);

/// d_token_embedding (V,C) += and d_position_embedding (T,C) += from d_out (B,T,C). The rows of a token are
/// added in ascending order in runs of at most 64, and the runs in order; those of a position in ascending
/// order. `scratch` is used inside alone; arrays do not alias.
template <class Real>
void embed_backward(cudaStream_t stream, int B, int T, int C, int V, const std::int32_t* tokens,
                    const Real* d_out, float* d_token_embedding, float* d_position_embedding,
                    std::int32_t* scratch);

}  // namespace minichilla::cuda
