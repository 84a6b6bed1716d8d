// Attention in bf16 on tensor cores, backward: the formulas and the two kernels of
// attention_fp32_backward.cu. Probabilities and score gradients stay in registers; the second kernel computes
// them transposed, so that its rows are keys, and both kernels need no more than products of rows and sums of
// rows.
#include <cmath>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_bf16.cuh"

namespace minichilla::cuda {
namespace bf16 {
namespace {

/// Sizes and places in shared memory: two tiles of rows that stay, stages of two tiles of columns that pass,
/// and for each column of a stage two statistics.
template <int kWidth, int kRowTiles_, int kColumns_>
struct Backward {
  static constexpr int kRowTiles = kRowTiles_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kStages = 2;
  using Rows = Tile<kRows, kWidth>;
  using Columns = Tile<kColumns, kWidth>;
  using Pairs = Products<kRowTiles, kColumns / 8>;
  using Sums = Products<kRowTiles, kWidth / 8>;
  static constexpr int kTileElements = 2 * Rows::kElements + 2 * kStages * Columns::kElements;
  static constexpr int kBytes = kTileElements * static_cast<int>(sizeof(Element)) +
                                2 * kStages * kColumns * static_cast<int>(sizeof(float));

  Element* memory;

  __device__ Rows rows(int i) const { return {memory + i * Rows::kElements}; }
  __device__ Columns columns(int stage, int i) const {
    return {memory + 2 * Rows::kElements + (2 * stage + i) * Columns::kElements};
  }
  __device__ float* statistics(int stage, int i) const {
    return reinterpret_cast<float*>(memory + kTileElements) + (2 * stage + i) * kColumns;
  }
};

template <int kWidth>
using DQueries = Backward<kWidth, kWidth <= 64 ? 2 : 1, 32>;
template <int kWidth>
using DKeys = Backward<kWidth, kWidth <= 64 ? 2 : 1, 32>;

/// δ of a query: four lanes, which share a row of a fragment, add.
__device__ float output_dot(const AttentionSizes& sizes, const Element* out, const Element* d_out) {
  float sum = 0;
  if (sizes.vectors) {
    for (int d = 8 * (lane() % 4); d < sizes.D; d += 32) {
      const uint4 eight = *reinterpret_cast<const uint4*>(out + d);
      const uint4 d_eight = *reinterpret_cast<const uint4*>(d_out + d);
      const std::uint32_t words[4] = {eight.x, eight.y, eight.z, eight.w};
      const std::uint32_t d_words[4] = {d_eight.x, d_eight.y, d_eight.z, d_eight.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sum += low_float(words[i]) * low_float(d_words[i]);
        sum += high_float(words[i]) * high_float(d_words[i]);
      }
    }
  } else {
    for (int d = lane() % 4; d < sizes.D; d += 4) sum += to_float(out[d]) * to_float(d_out[d]);
  }
  return row_sum(sum);
}

/// Rows are queries, columns keys.
template <int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    attention_d_queries_bf16(AttentionSizes sizes, const Element* __restrict__ qkv,
                             const Element* __restrict__ out, const float* __restrict__ log_sum_exp,
                             const Element* __restrict__ d_out, Element* __restrict__ d_qkv,
                             float* __restrict__ deltas) {
  using Kernel = DQueries<kWidth>;
  constexpr int kRowTiles = Kernel::kRowTiles, kRows = Kernel::kWarpRows, kKeys = Kernel::kColumns;
  extern __shared__ uint4 memory[];
  const Kernel shared{reinterpret_cast<Element*>(memory)};
  const int begin = sizes.last_tile_first() * Kernel::kRows, end = min(begin + Kernel::kRows, sizes.T);
  const int first_row = warp() * kRows, first_query = begin + first_row;
  const HeadRows<const Element> d_out_head = out_rows(sizes, d_out);
  shared.rows(0).load(sizes, qkv_rows(sizes, qkv, 0), begin, {begin, end});
  shared.rows(1).load(sizes, d_out_head, begin, {begin, end});

  float offset[kRowTiles][2], delta[kRowTiles][2], factor[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int t = first_query + 8 * i + fragment_row(0), inside = min(t, end - 1);
    offset[i / 2][i % 2] = head_statistics(sizes, log_sum_exp)[inside] * kLog2e;
    const float dot = output_dot(sizes, out_rows(sizes, out).at(inside), d_out_head.at(inside));
    if (lane() % 4 == 0 && t < end) head_statistics(sizes, deltas)[t] = dot;
    delta[i / 2][i % 2] = dot;
    factor[i / 2][i % 2] = sizes.scale;
  }

  typename Kernel::Sums sums;
  sums.clear();
  const KeyRange seen = sizes.key_range(begin, end);
  const HeadRows<const Element> keys = qkv_rows(sizes, qkv, 1), values = qkv_rows(sizes, qkv, 2);
  pipeline<Kernel::kStages, kKeys>(
      seen.begin / kKeys * kKeys, seen.end,
      [&](int stage, int key) {
        shared.columns(stage, 0).load(sizes, keys, key, seen);
        shared.columns(stage, 1).load(sizes, values, key, seen);
      },
      [&](int stage, int key) {
        if (!sizes.allows_any(first_query, first_query + kRows, key, key + kKeys)) return;
        const bool whole = sizes.allows_all(first_query, first_query + kRows, key, key + kKeys);
        typename Kernel::Pairs scores, d_scores;
        row_products(shared.rows(0), first_row, shared.columns(stage, 0), scores);
        row_products(shared.rows(1), first_row, shared.columns(stage, 1), d_scores);
        Kernel::Pairs::for_each_product([&](int r, int n, int e) {
          const int query = first_query + 16 * r + fragment_row(e), column = 8 * n + fragment_column(e);
          const float exponent = scores.at[r][n][e] * (sizes.scale * kLog2e) - offset[r][e / 2];
          const float p = whole || sizes.allows(query, key + column) ? exp2_approximate(exponent) : 0;
          d_scores.at[r][n][e] = p * (d_scores.at[r][n][e] - delta[r][e / 2]);
        });
        add_weighted(d_scores, shared.columns(stage, 0), sums);
      });
  __syncwarp();
  shared.rows(0).put(first_row, sums, factor);
  shared.rows(0).store(sizes, first_row, kRows, begin, end, qkv_rows(sizes, d_qkv, 0));
}

/// Starts to load statistics of the queries [begin, begin + kColumns); those from `end` on become zeros.
template <int kColumns>
__device__ void load_statistics(const float* statistics, int begin, int end, float* shared) {
  for (int i = static_cast<int>(threadIdx.x); i < kColumns; i += kThreads) {
    const bool exists = begin + i < end;
    cp_async_4(shared + i, exists ? statistics + begin + i : statistics, exists ? 4 : 0);
  }
}

/// Rows are keys, columns queries.
template <int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    attention_d_keys_bf16(AttentionSizes sizes, const Element* __restrict__ qkv,
                          const float* __restrict__ log_sum_exp, const Element* __restrict__ d_out,
                          const float* __restrict__ deltas, Element* __restrict__ d_qkv) {
  using Kernel = DKeys<kWidth>;
  constexpr int kRowTiles = Kernel::kRowTiles, kRows = Kernel::kWarpRows, kQueries = Kernel::kColumns;
  // Fewer products at a time where the sums alone take half of a thread's registers.
  constexpr int kAtOnce = kWidth == 64 ? 16 : kQueries;
  using Pairs = Products<kRowTiles, kAtOnce / 8>;
  using Part = Tile<kAtOnce, kWidth>;
  extern __shared__ uint4 memory[];
  const Kernel shared{reinterpret_cast<Element*>(memory)};
  const int begin = sizes.tile() * Kernel::kRows, end = min(begin + Kernel::kRows, sizes.T);
  const int first_row = warp() * kRows, first_key = begin + first_row;
  shared.rows(0).load(sizes, qkv_rows(sizes, qkv, 1), begin, {begin, end});
  shared.rows(1).load(sizes, qkv_rows(sizes, qkv, 2), begin, {begin, end});

  typename Kernel::Sums d_keys, d_values;
  d_keys.clear();
  d_values.clear();
  const KeyRange seen_by = sizes.query_range(begin, end);
  const HeadRows<const Element> queries = qkv_rows(sizes, qkv, 0), d_outs = out_rows(sizes, d_out);
  pipeline<Kernel::kStages, kQueries>(
      seen_by.begin, seen_by.end,
      [&](int stage, int query) {
        shared.columns(stage, 0).load(sizes, queries, query, seen_by);
        shared.columns(stage, 1).load(sizes, d_outs, query, seen_by);
        load_statistics<kQueries>(head_statistics(sizes, log_sum_exp), query, seen_by.end,
                                  shared.statistics(stage, 0));
        load_statistics<kQueries>(head_statistics(sizes, deltas), query, seen_by.end,
                                  shared.statistics(stage, 1));
      },
      [&](int stage, int query) {
#pragma unroll 1
        for (int part = 0; part < kQueries; part += kAtOnce) {
          const int first = query + part;
          if (!sizes.allows_any(first, first + kAtOnce, first_key, first_key + kRows)) continue;
          const bool whole = sizes.allows_all(first, first + kAtOnce, first_key, first_key + kRows);
          const Part some_queries{shared.columns(stage, 0).data + part * kWidth};
          const Part some_d_outs{shared.columns(stage, 1).data + part * kWidth};
          Pairs scores, d_scores;
          row_products(shared.rows(0), first_row, some_queries, scores);
          Pairs::for_each_product([&](int r, int n, int e) {
            const int column = 8 * n + fragment_column(e), key = first_key + 16 * r + fragment_row(e);
            const float offset = shared.statistics(stage, 0)[part + column] * kLog2e;
            const float exponent = scores.at[r][n][e] * (sizes.scale * kLog2e) - offset;
            scores.at[r][n][e] = whole || sizes.allows(first + column, key) ? exp2_approximate(exponent) : 0;
          });
          add_weighted(scores, some_d_outs, d_values);
          row_products(shared.rows(1), first_row, some_d_outs, d_scores);
          Pairs::for_each_product([&](int r, int n, int e) {
            const float delta = shared.statistics(stage, 1)[part + 8 * n + fragment_column(e)];
            d_scores.at[r][n][e] = scores.at[r][n][e] * (d_scores.at[r][n][e] - delta);
          });
          add_weighted(d_scores, some_queries, d_keys);
        }
      });

  float scale[kRowTiles][2], one[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    scale[i / 2][i % 2] = sizes.scale;
    one[i / 2][i % 2] = 1;
  }
  __syncwarp();
  shared.rows(0).put(first_row, d_keys, scale);
  shared.rows(1).put(first_row, d_values, one);
  shared.rows(0).store(sizes, first_row, kRows, begin, end, qkv_rows(sizes, d_qkv, 1));
  shared.rows(1).store(sizes, first_row, kRows, begin, end, qkv_rows(sizes, d_qkv, 2));
}

}  // namespace
}  // namespace bf16

template <>
void attention_backward(cudaStream_t stream, const AttentionShape& shape, const __nv_bfloat16* qkv,
                        const __nv_bfloat16* out, const float* log_sum_exp, const __nv_bfloat16* d_out,
                        __nv_bfloat16* d_qkv, float* scratch) {
  const bool vectors =
      shape.D % 8 == 0 && is_aligned(qkv) && is_aligned(out) && is_aligned(d_out) && is_aligned(d_qkv);
  if (attention_backward_scratch(shape) == 0) return;
  bf16::with_width(shape.D, [&](auto width) {
    using ByQueries = bf16::DQueries<width>;
    const AttentionSizes query_sizes = attention_sizes(shape, ByQueries::kRows, vectors);
    const auto d_queries = bf16::attention_d_queries_bf16<width>;
    allow_shared_memory(d_queries, ByQueries::kBytes);
    d_queries<<<attention_blocks(shape, query_sizes), bf16::kThreads, ByQueries::kBytes, stream>>>(
        query_sizes, qkv, out, log_sum_exp, d_out, d_qkv, scratch);
    using ByKeys = bf16::DKeys<width>;
    const AttentionSizes key_sizes = attention_sizes(shape, ByKeys::kRows, vectors);
    const auto d_keys = bf16::attention_d_keys_bf16<width>;
    allow_shared_memory(d_keys, ByKeys::kBytes);
    d_keys<<<attention_blocks(shape, key_sizes), bf16::kThreads, ByKeys::kBytes, stream>>>(
        key_sizes, qkv, log_sum_exp, d_out, scratch, d_qkv);
  });
  launched("attention_backward");
}

}  // namespace minichilla::cuda
