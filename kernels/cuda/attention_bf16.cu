// Attention in bf16 on tensor cores, forward. As in fp32 a block has a tile of queries and goes over the
// tiles of keys that they may see; here scores and sums stay in registers (Dao 2023), and the next tiles of
// keys and values are on their way while one is used.
#include <cmath>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_bf16.cuh"

namespace minichilla::cuda {
namespace bf16 {
namespace {

/// Sizes of tiles and the place of each in shared memory.
template <int kWidth>
struct Forward {
  static constexpr int kQueries = kAttentionQueries<Element>;
  static constexpr int kWarpRows = kQueries / kWarps;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kKeys = kWidth <= 64 ? 64 : 32;
  static constexpr int kStages = kWidth <= 64 ? 2 : 3;
  using Queries = Tile<kQueries, kWidth>;
  using Keys = Tile<kKeys, kWidth>;
  using Scores = Products<kRowTiles, kKeys / 8>;
  using Sums = Products<kRowTiles, kWidth / 8>;
  static constexpr int kBytes =
      (Queries::kElements + 2 * kStages * Keys::kElements) * static_cast<int>(sizeof(Element));

  Element* memory;

  __device__ Queries queries() const { return {memory}; }
  __device__ Keys keys(int stage) const { return {memory + Queries::kElements + stage * Keys::kElements}; }
  __device__ Keys values(int stage) const { return keys(kStages + stage); }
};

/// Of each row of a warp.
template <int kRowTiles>
struct Softmax {
  float top[kRowTiles][2];    ///< largest score so far, not yet scaled
  float total[kRowTiles][2];  ///< sum over this lane's columns of exp(scaled score − top)
};

/// scores becomes exp(scaled score − top) with the new top; sums so far are rescaled to it.
template <int kRowTiles, int kBlocks, int kWidthBlocks>
__device__ void softmax_step(float scale_log2e, Products<kRowTiles, kBlocks>& scores,
                             Softmax<kRowTiles>& softmax, Products<kRowTiles, kWidthBlocks>& sums) {
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int r = i / 2, half = i % 2;
    float top = softmax.top[r][half];
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      top = fmaxf(top, fmaxf(scores.at[r][n][2 * half], scores.at[r][n][2 * half + 1]));
    }
    top = row_maximum(top);
    // A row that has seen no key yet has sums of zero: any finite top will do.
    const float offset = top == -INFINITY ? 0 : top * scale_log2e;
    const float shrink = exp2_approximate(softmax.top[r][half] * scale_log2e - offset);
    float total = softmax.total[r][half] * shrink;
#pragma unroll
    for (int n = 0; n < 2 * kBlocks; ++n) {
      float& score = scores.at[r][n / 2][2 * half + n % 2];
      score = exp2_approximate(score * scale_log2e - offset);
      total += score;
    }
    softmax.top[r][half] = top;
    softmax.total[r][half] = total;
#pragma unroll
    for (int n = 0; n < 2 * kWidthBlocks; ++n) sums.at[r][n / 2][2 * half + n % 2] *= shrink;
  }
}

/// Scores of pairs that the band does not allow become −∞.
template <int kRowTiles, int kBlocks>
__device__ void mask(const AttentionSizes& sizes, int first_query, int first_key,
                     Products<kRowTiles, kBlocks>& scores) {
  scores.for_each_product([&](int r, int n, int e) {
    const int query = first_query + 16 * r + fragment_row(e), key = first_key + 8 * n + fragment_column(e);
    if (!sizes.allows(query, key)) scores.at[r][n][e] = -INFINITY;
  });
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    attention_forward_bf16(AttentionSizes sizes, const Element* __restrict__ qkv, Element* __restrict__ out,
                           float* __restrict__ log_sum_exp) {
  using Kernel = Forward<kWidth>;
  constexpr int kRowTiles = Kernel::kRowTiles, kRows = Kernel::kWarpRows, kKeys = Kernel::kKeys;
  extern __shared__ uint4 memory[];
  const Kernel shared{reinterpret_cast<Element*>(memory)};
  const int begin = sizes.last_tile_first() * Kernel::kQueries, end = min(begin + Kernel::kQueries, sizes.T);
  const int first_row = warp() * kRows, first_query = begin + first_row;

  typename Kernel::Sums sums;
  sums.clear();
  Softmax<kRowTiles> softmax;
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    softmax.top[i / 2][i % 2] = -INFINITY;
    softmax.total[i / 2][i % 2] = 0;
  }
  const KeyRange seen = sizes.key_range(begin, end);
  const HeadRows<const Element> keys = qkv_rows(sizes, qkv, 1), values = qkv_rows(sizes, qkv, 2);
  shared.queries().load(sizes, qkv_rows(sizes, qkv, 0), begin, {begin, end});
  pipeline<Kernel::kStages, kKeys>(
      seen.begin / kKeys * kKeys, seen.end,
      [&](int stage, int key) {
        shared.keys(stage).load(sizes, keys, key, seen);
        shared.values(stage).load(sizes, values, key, seen);
      },
      [&](int stage, int key) {
        if (!sizes.allows_any(first_query, first_query + kRows, key, key + kKeys)) return;
        typename Kernel::Scores scores;
        row_products(shared.queries(), first_row, shared.keys(stage), scores);
        if (!sizes.allows_all(first_query, first_query + kRows, key, key + kKeys)) {
          mask(sizes, first_query, key, scores);
        }
        softmax_step(sizes.scale * kLog2e, scores, softmax, sums);
        add_weighted(scores, shared.values(stage), sums);
      });

  float share[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const float total = row_sum(softmax.total[i / 2][i % 2]);
    share[i / 2][i % 2] = 1 / total;
    const int t = first_query + 8 * i + fragment_row(0);
    if (lane() % 4 == 0 && t < end) {
      head_statistics(sizes, log_sum_exp)[t] = softmax.top[i / 2][i % 2] * sizes.scale + logf(total);
    }
  }
  // A warp's queries are not needed any more, and no other warp's: their place takes its output.
  __syncwarp();
  shared.queries().put(first_row, sums, share);
  shared.queries().store(sizes, first_row, kRows, begin, end, out_rows(sizes, out));
}

}  // namespace
}  // namespace bf16

template <>
void attention(cudaStream_t stream, const AttentionShape& shape, const __nv_bfloat16* qkv, __nv_bfloat16* out,
               float* log_sum_exp) {
  const bool vectors = shape.D % 8 == 0 && is_aligned(qkv) && is_aligned(out);
  bf16::with_width(shape.D, [&](auto width) {
    using Kernel = bf16::Forward<width>;
    const AttentionSizes sizes = attention_sizes(shape, Kernel::kQueries, vectors);
    const unsigned blocks = attention_blocks(shape, sizes);
    if (blocks == 0) return;
    const auto kernel = bf16::attention_forward_bf16<width>;
    allow_shared_memory(kernel, Kernel::kBytes);
    kernel<<<blocks, bf16::kThreads, Kernel::kBytes, stream>>>(sizes, qkv, out, log_sum_exp);
  });
  launched("attention");
}

}  // namespace minichilla::cuda
