// Attention in fp32, forward: a block has a tile of queries, goes over the tiles of keys that they may see,
// and keeps each query's running maximum, sum of exponentials and weighted sum of values (Milakov &
// Gimelshein 2018; Dao et al. 2022).
#include <cmath>
#include <type_traits>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_fp32.cuh"

namespace minichilla::cuda {
namespace fp32 {
namespace {

/// Of each row of a group.
struct Softmax {
  float top[kGroupRows];    ///< largest score so far
  float total[kGroupRows];  ///< sum of exp(score − top)
};

/// scores becomes exp(score − top) with the new top; sums so far are rescaled to it.
template <int kColumns>
__device__ void softmax_step(Pairs& scores, Softmax& softmax, float (&sums)[kGroupRows][kColumns]) {
  for (int i = 0; i < kGroupRows; ++i) {
    float top = softmax.top[i];
    for (int j = 0; j < kPairs; ++j) top = fmaxf(top, scores[i][j]);
    top = group_maximum(top);
    // A row that has seen no key yet has sums of zero: any finite top will do.
    const float finite_top = top == -INFINITY ? 0 : top;
    const float shrink = expf(softmax.top[i] - finite_top);
    float total = 0;
    for (int j = 0; j < kPairs; ++j) {
      scores[i][j] = expf(scores[i][j] - finite_top);
      total += scores[i][j];
    }
    softmax.total[i] = softmax.total[i] * shrink + group_sum(total);
    softmax.top[i] = top;
    for (int c = 0; c < kColumns; ++c) sums[i][c] *= shrink;
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 3)
    attention_forward_fp32(AttentionSizes sizes, const float* __restrict__ qkv, float* __restrict__ out,
                           float* __restrict__ log_sum_exp) {
  extern __shared__ float4 memory[];
  const Tile<kWidth> queries{reinterpret_cast<float*>(memory)};
  const Tile<kWidth> keys{queries.data + queries.kFloats}, values{keys.data + keys.kFloats};
  float* const weights = values.data + values.kFloats;

  const int begin = sizes.last_tile_first() * kTile, end = min(begin + kTile, sizes.T);
  queries.load(sizes, qkv_rows(sizes, qkv, 0), begin, {begin, end});
  Softmax softmax;
  typename Tile<kWidth>::Sums sums = {};
  for (int i = 0; i < kGroupRows; ++i) {
    softmax.top[i] = -INFINITY;
    softmax.total[i] = 0;
  }
  const KeyRange seen = sizes.key_range(begin, end);
  for (int key = seen.begin / kTile * kTile; key < seen.end; key += kTile) {
    __syncthreads();
    keys.load(sizes, qkv_rows(sizes, qkv, 1), key, seen);
    values.load(sizes, qkv_rows(sizes, qkv, 2), key, seen);
    __syncthreads();
    Pairs scores;
    row_products(queries, keys, scores);
    for (int i = 0; i < kGroupRows; ++i) {
      for (int j = 0; j < kPairs; ++j) {
        const bool allowed = sizes.allows(begin + first_row() + i, key + pair_column(j));
        scores[i][j] = allowed ? scores[i][j] * sizes.scale : -INFINITY;
      }
    }
    softmax_step(scores, softmax, sums);
    add_weighted(scores, values, weights, sums);
  }

  float share[kGroupRows];
  for (int i = 0; i < kGroupRows; ++i) {
    share[i] = 1 / softmax.total[i];
    const int t = begin + first_row() + i;
    if (member() == 0 && t < end) {
      head_statistics(sizes, log_sum_exp)[t] = softmax.top[i] + logf(softmax.total[i]);
    }
  }
  store<kWidth>(sizes, sums, share, begin, end, out_rows(sizes, out));
}

}  // namespace
}  // namespace fp32

std::int64_t attention_backward_scratch(const AttentionShape& shape) {
  return static_cast<std::int64_t>(shape.B) * shape.H * shape.T;
}

template <>
void attention(cudaStream_t stream, const AttentionShape& shape, const float* qkv, float* out,
               float* log_sum_exp) {
  const bool vectors = shape.D % 4 == 0 && is_aligned(qkv);
  const AttentionSizes sizes = attention_sizes(shape, fp32::kTile, vectors);
  const unsigned blocks = attention_blocks(shape, sizes);
  if (blocks == 0) return;
  fp32::with_width(shape.D, [&](auto width) {
    constexpr int kBytes =
        (3 * fp32::Tile<width>::kFloats + fp32::kTile * fp32::kWeightRow) * static_cast<int>(sizeof(float));
    const auto kernel = fp32::attention_forward_fp32<width>;
    allow_shared_memory(kernel, kBytes);
    kernel<<<blocks, fp32::kThreads, kBytes, stream>>>(sizes, qkv, out, log_sum_exp);
  });
  launched("attention");
}

}  // namespace minichilla::cuda
