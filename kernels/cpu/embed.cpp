// Token and position embedding.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/embed.cpp"

#include <cstddef>
#include <cstring>

#include "kernels/cpu/cpu_operations.h"
#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// One sequence: out (T,C)[t] = token_embedding (V,C)[tokens[t]] + position_embedding (T,C)[t]
void embed_sequence(std::size_t T, std::size_t C, const std::int32_t* tokens, const float* token_embedding,
                    const float* position_embedding, float* out) {
  for (std::size_t t = 0; t < T; ++t) {
    const float* token = token_embedding + static_cast<std::size_t>(tokens[t]) * C;
    for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
      access.store(hn::Add(access.load(token + c), access.load(position_embedding + t * C + c)),
                   out + t * C + c);
    });
  }
}

void embed_sequence_backward(std::size_t T, std::size_t C, const std::int32_t* tokens, const float* d_out,
                             float* d_token_embedding, float* d_position_embedding) {
  for (std::size_t t = 0; t < T; ++t) {
    float* d_token = d_token_embedding + static_cast<std::size_t>(tokens[t]) * C;
    float* d_position = d_position_embedding + t * C;
    for_each_vector(C, [&](auto access, std::size_t c) HWY_ATTR {
      const Floats d = access.load(d_out + t * C + c);
      access.store(hn::Add(access.load(d_token + c), d), d_token + c);
      access.store(hn::Add(access.load(d_position + c), d), d_position + c);
    });
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(embed_sequence);
HWY_EXPORT(embed_sequence_backward);

}  // namespace

void CpuOperations::clear(Lane&, void* data, std::size_t bytes) const {
  if (bytes != 0) std::memset(data, 0, bytes);
}

void CpuOperations::embed(Lane&, int B, int T, int C, const std::int32_t* tokens,
                          const float* token_embedding, const float* position_embedding, float* out) const {
  const std::size_t sequence = static_cast<std::size_t>(T), width = static_cast<std::size_t>(C);
  for (std::size_t b = 0; b < static_cast<std::size_t>(B); ++b) {
    HWY_DYNAMIC_DISPATCH(embed_sequence)
    (sequence, width, tokens + b * sequence, token_embedding, position_embedding, out + b * sequence * width);
  }
}

void CpuOperations::embed_backward(Lane&, int B, int T, int C, const std::int32_t* tokens, const float* d_out,
                                   float* d_token_embedding, float* d_position_embedding) const {
  const std::size_t sequence = static_cast<std::size_t>(T), width = static_cast<std::size_t>(C);
  for (std::size_t b = 0; b < static_cast<std::size_t>(B); ++b) {
    HWY_DYNAMIC_DISPATCH(embed_sequence_backward)
    (sequence, width, tokens + b * sequence, d_out + b * sequence * width, d_token_embedding,
     d_position_embedding);
  }
}

}  // namespace minichilla
#endif
