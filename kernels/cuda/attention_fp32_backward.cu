// Attention in fp32, backward: with P the probabilities, computed again from the log-sum-exp, and O = P·V,
//   dV = Pᵀ·dO,  dP = dO·Vᵀ,  dS = P ∘ (dP − δ)/sqrt(D) with δ = row sums of dO ∘ O,  dQ = dS·K,  dK = dSᵀ·Q.
// One kernel has a block per tile of queries, for dQ and δ, the next one a block per tile of keys, for dK and
// dV: each gradient is summed by one block, and pairs are computed twice.
#include <cmath>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_fp32.cuh"

namespace minichilla::cuda {
namespace fp32 {
namespace {

/// A block's shared memory: four tiles and the weights of add_weighted().
template <int kWidth>
struct BackwardMemory {
  static constexpr int kBytes =
      (4 * Tile<kWidth>::kFloats + kTile * kWeightRow) * static_cast<int>(sizeof(float));
  float* data;

  __device__ Tile<kWidth> tile(int i) const { return {data + i * Tile<kWidth>::kFloats}; }
  __device__ float* weights() const { return data + 4 * Tile<kWidth>::kFloats; }
};

/// δ of a query, the same in all members of its group.
__device__ float output_dot(const AttentionSizes& sizes, const float* out, const float* d_out) {
  float sum = 0;
  for (int d = member(); d < sizes.D; d += kMembers) sum += out[d] * d_out[d];
  return group_sum(sum);
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 3)
    attention_d_queries_fp32(AttentionSizes sizes, const float* __restrict__ qkv,
                             const float* __restrict__ out, const float* __restrict__ log_sum_exp,
                             const float* __restrict__ d_out, float* __restrict__ d_qkv,
                             float* __restrict__ deltas) {
  extern __shared__ float4 memory[];
  const BackwardMemory<kWidth> shared{reinterpret_cast<float*>(memory)};
  const Tile<kWidth> queries = shared.tile(0), d_outs = shared.tile(1), keys = shared.tile(2),
                     values = shared.tile(3);
  const int begin = sizes.last_tile_first() * kTile, end = min(begin + kTile, sizes.T);
  const HeadRows<const float> d_out_head = out_rows(sizes, d_out);
  queries.load(sizes, qkv_rows(sizes, qkv, 0), begin, {begin, end});
  d_outs.load(sizes, d_out_head, begin, {begin, end});
  float offset[kGroupRows], delta[kGroupRows];
  for (int i = 0; i < kGroupRows; ++i) {
    const int t = min(begin + first_row() + i, end - 1);  // rows beyond the end are computed, not used
    offset[i] = head_statistics(sizes, log_sum_exp)[t];
    delta[i] = output_dot(sizes, out_rows(sizes, out).at(t), d_out_head.at(t));
    if (member() == 0 && begin + first_row() + i < end) head_statistics(sizes, deltas)[t] = delta[i];
  }

  typename Tile<kWidth>::Sums sums = {};
  const KeyRange seen = sizes.key_range(begin, end);
  for (int key = seen.begin / kTile * kTile; key < seen.end; key += kTile) {
    __syncthreads();
    keys.load(sizes, qkv_rows(sizes, qkv, 1), key, seen);
    values.load(sizes, qkv_rows(sizes, qkv, 2), key, seen);
    __syncthreads();
    Pairs scores, d_scores;
    row_products(queries, keys, scores);
    row_products(d_outs, values, d_scores);
    for (int i = 0; i < kGroupRows; ++i) {
      for (int j = 0; j < kPairs; ++j) {
        const bool allowed = sizes.allows(begin + first_row() + i, key + pair_column(j));
        const float p = allowed ? expf(scores[i][j] * sizes.scale - offset[i]) : 0;
        d_scores[i][j] = p * (d_scores[i][j] - delta[i]);
      }
    }
    add_weighted(d_scores, keys, shared.weights(), sums);
  }
  const float scale[kGroupRows] = {sizes.scale, sizes.scale, sizes.scale, sizes.scale};
  store<kWidth>(sizes, sums, scale, begin, end, qkv_rows(sizes, d_qkv, 0));
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    attention_d_keys_fp32(AttentionSizes sizes, const float* __restrict__ qkv,
                          const float* __restrict__ log_sum_exp, const float* __restrict__ d_out,
                          const float* __restrict__ deltas, float* __restrict__ d_qkv) {
  extern __shared__ float4 memory[];
  const BackwardMemory<kWidth> shared{reinterpret_cast<float*>(memory)};
  const Tile<kWidth> keys = shared.tile(0), values = shared.tile(1), queries = shared.tile(2),
                     d_outs = shared.tile(3);
  const int begin = sizes.tile() * kTile, end = min(begin + kTile, sizes.T);
  keys.load(sizes, qkv_rows(sizes, qkv, 1), begin, {begin, end});
  values.load(sizes, qkv_rows(sizes, qkv, 2), begin, {begin, end});

  typename Tile<kWidth>::Sums d_keys = {}, d_values = {};
  const KeyRange seen_by = sizes.query_range(begin, end);
  for (int query = seen_by.begin / kTile * kTile; query < seen_by.end; query += kTile) {
    __syncthreads();
    queries.load(sizes, qkv_rows(sizes, qkv, 0), query, seen_by);
    d_outs.load(sizes, out_rows(sizes, d_out), query, seen_by);
    __syncthreads();
    Pairs scores, d_scores;  // a row is a key, a column a query
    row_products(keys, queries, scores);
    row_products(values, d_outs, d_scores);
    for (int j = 0; j < kPairs; ++j) {
      const int t = query + pair_column(j), inside = min(t, seen_by.end - 1);
      const float offset = head_statistics(sizes, log_sum_exp)[inside];
      const float delta = head_statistics(sizes, deltas)[inside];
      for (int i = 0; i < kGroupRows; ++i) {
        const bool allowed = t < seen_by.end && sizes.allows(t, begin + first_row() + i);
        scores[i][j] = allowed ? expf(scores[i][j] * sizes.scale - offset) : 0;
        d_scores[i][j] = scores[i][j] * (d_scores[i][j] - delta);
      }
    }
    add_weighted(scores, d_outs, shared.weights(), d_values);
    add_weighted(d_scores, queries, shared.weights(), d_keys);
  }
  const float one[kGroupRows] = {1, 1, 1, 1};
  const float scale[kGroupRows] = {sizes.scale, sizes.scale, sizes.scale, sizes.scale};
  store<kWidth>(sizes, d_keys, scale, begin, end, qkv_rows(sizes, d_qkv, 1));
  store<kWidth>(sizes, d_values, one, begin, end, qkv_rows(sizes, d_qkv, 2));
}

}  // namespace
}  // namespace fp32

template <>
void attention_backward(cudaStream_t stream, const AttentionShape& shape, const float* qkv, const float* out,
                        const float* log_sum_exp, const float* d_out, float* d_qkv, float* scratch) {
  const bool vectors = shape.D % 4 == 0 && is_aligned(qkv) && is_aligned(d_out);
  const AttentionSizes sizes = attention_sizes(shape, fp32::kTile, vectors);
  const unsigned blocks = attention_blocks(shape, sizes);
  if (blocks == 0) return;
  fp32::with_width(shape.D, [&](auto width) {
    constexpr int kBytes = fp32::BackwardMemory<width>::kBytes;
    const auto d_queries = fp32::attention_d_queries_fp32<width>;
    allow_shared_memory(d_queries, kBytes);
    d_queries<<<blocks, fp32::kThreads, kBytes, stream>>>(sizes, qkv, out, log_sum_exp, d_out, d_qkv,
                                                          scratch);
    const auto d_keys = fp32::attention_d_keys_fp32<width>;
    allow_shared_memory(d_keys, kBytes);
    d_keys<<<blocks, fp32::kThreads, kBytes, stream>>>(sizes, qkv, log_sum_exp, d_out, scratch, d_qkv);
  });
  launched("attention_backward");
}

}  // namespace minichilla::cuda
