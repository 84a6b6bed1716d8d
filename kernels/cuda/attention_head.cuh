// What attention's kernels share: the shape as they see it, the band, and where a head's rows lie.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/cuda/launch.h"
#include "kernels/ops.h"

namespace minichilla::cuda {

/// The arguments of every attention kernel. Blocks are numbered by head of a sequence, then by tile of its
/// tokens.
struct AttentionSizes {
  int T, H, D;
  int window;    ///< AttentionPattern::window(), at most T
  int tiles;     ///< of tokens: blocks per head of a sequence
  bool vectors;  ///< rows of heads are whole numbers of 16 bytes and start at multiples of 16 bytes
  float scale;   ///< of scores: 1/sqrt(D)

  // As the functions of AttentionPattern, clipped to the sequence.
  __device__ KeyRange key_range(int query_begin, int query_end) const {
    return {max(query_begin - window + 1, 0), query_end};
  }
  __device__ KeyRange query_range(int key_begin, int key_end) const {
    return {key_begin, min(key_end - 1 + window, T)};
  }
  __device__ bool allows(int query, int key) const { return key <= query && query - key < window; }
  /// Every query of [query_begin, query_end) sees every key of [key_begin, key_end).
  __device__ bool allows_all(int query_begin, int query_end, int key_begin, int key_end) const {
    return key_end - 1 <= query_begin && query_end - 1 - key_begin < window;
  }
  /// Some query of the one sees some key of the other.
  __device__ bool allows_any(int query_begin, int query_end, int key_begin, int key_end) const {
    return key_begin < query_end && query_begin - (key_end - 1) < window;
  }

  /// b·H + h of this block.
  __device__ int head() const { return static_cast<int>(blockIdx.x) / tiles; }
  /// Its tile of tokens: the last ones, which see the most keys, come first.
  __device__ int last_tile_first() const { return tiles - 1 - static_cast<int>(blockIdx.x) % tiles; }
  __device__ int tile() const { return static_cast<int>(blockIdx.x) % tiles; }
};

/// Is `pointer` a multiple of 16 bytes?
inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

inline AttentionSizes attention_sizes(const AttentionShape& shape, int tile, bool vectors) {
  return {shape.T,
          shape.H,
          shape.D,
          shape.pattern.window() < shape.T ? shape.pattern.window() : shape.T,
          ceil_div(shape.T, tile),
          vectors,
          1 / std::sqrt(static_cast<float>(shape.D))};
}

/// Number of blocks: one per tile of every head.
inline unsigned attention_blocks(const AttentionShape& shape, const AttentionSizes& sizes) {
  return static_cast<unsigned>(shape.B * shape.H * sizes.tiles);
}

/// The (T, D) rows of one head.
template <class Real>
struct HeadRows {
  Real* first;
  int stride;

  __device__ Real* at(int t) const { return first + static_cast<std::int64_t>(t) * stride; }
};

/// part 0: queries, 1: keys, 2: values, of qkv (B,T,3,H,D).
template <class Real>
__device__ HeadRows<Real> qkv_rows(const AttentionSizes& sizes, Real* qkv, int part) {
  const int width = sizes.H * sizes.D;
  const int b = sizes.head() / sizes.H, h = sizes.head() % sizes.H;
  return {qkv + (static_cast<std::int64_t>(b) * sizes.T * 3 + part) * width + h * sizes.D, 3 * width};
}

/// Of out (B,T,H,D).
template <class Real>
__device__ HeadRows<Real> out_rows(const AttentionSizes& sizes, Real* out) {
  const int width = sizes.H * sizes.D;
  const int b = sizes.head() / sizes.H, h = sizes.head() % sizes.H;
  return {out + static_cast<std::int64_t>(b) * sizes.T * width + h * sizes.D, width};
}

/// Of log_sum_exp and the like (B,H,T): the T floats of this block's head.
template <class Real>
__device__ Real* head_statistics(const AttentionSizes& sizes, Real* statistics) {
  return statistics + static_cast<std::int64_t>(sizes.head()) * sizes.T;
}

}  // namespace minichilla::cuda
