// Tiles of fp32 attention: 32 × 32 pairs for 128 threads, which stand as 8 groups of 16 members. A group has
// four rows of the tile, a member of it two columns of the pairs and every 16th column of the head.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_head.cuh"

namespace minichilla::cuda::fp32 {

constexpr int kThreads = 128;
constexpr int kTile = kAttentionQueries<float>;
constexpr int kMembers = 16;
constexpr int kGroupRows = 4;
constexpr int kPairs = kTile / kMembers;  // of a row, for one member
constexpr int kWeightRow = kTile + 4;     // floats; keeps rows of a group in different banks

__device__ inline int member() {
  return static_cast<int>(threadIdx.x) % kMembers;
}
/// The first of this thread's rows.
__device__ inline int first_row() {
  return static_cast<int>(threadIdx.x) / kMembers * kGroupRows;
}
/// The column of this thread's j-th pair of a row.
__device__ inline int pair_column(int j) {
  return member() + kMembers * j;
}

/// One value per pair of this thread.
using Pairs = float[kGroupRows][kPairs];

/// Four neighbours of a row of which `rest` exist; zeros for what does not.
__device__ inline float4 load_four(const float* row, int rest, bool vectors) {
  if (vectors) return rest > 0 ? *reinterpret_cast<const float4*>(row) : float4{0, 0, 0, 0};
  return {rest > 0 ? row[0] : 0, rest > 1 ? row[1] : 0, rest > 2 ? row[2] : 0, rest > 3 ? row[3] : 0};
}

/// Rows and columns of shared memory for kTile tokens of a head up to kWidth wide.
template <int kWidth>
struct Tile {
  static constexpr int kColumns = kWidth / kMembers;  // per thread
  static constexpr int kRow = kWidth + 4;             // floats; neighbouring rows start in different banks
  static constexpr int kFloats = kTile * kRow;
  using Sums = float[kGroupRows][kColumns];

  float* data;

  /// The tokens [begin, begin + kTile); those outside of `range`, and columns beyond the head's, are zeros.
  __device__ void load(const AttentionSizes& sizes, const HeadRows<const float>& rows, int begin,
                       KeyRange range) const {
    for (int i = static_cast<int>(threadIdx.x); i < kTile * (kWidth / 4); i += kThreads) {
      const int row = i / (kWidth / 4), column = i % (kWidth / 4) * 4, t = begin + row;
      const int rest = t >= range.begin && t < range.end ? sizes.D - column : 0;
      const float4 four = load_four(rest > 0 ? rows.at(t) + column : nullptr, rest, sizes.vectors);
      *reinterpret_cast<float4*>(data + row * kRow + column) = four;
    }
  }
};

/// products = left · rightᵀ.
template <int kWidth>
__device__ void row_products(Tile<kWidth> left, Tile<kWidth> right, Pairs& products) {
  constexpr int kRow = Tile<kWidth>::kRow;
  for (int i = 0; i < kGroupRows; ++i) {
    for (int j = 0; j < kPairs; ++j) products[i][j] = 0;
  }
  for (int d = 0; d < kWidth; d += 4) {
    float4 columns[kPairs];
    for (int j = 0; j < kPairs; ++j) {
      columns[j] = *reinterpret_cast<const float4*>(right.data + pair_column(j) * kRow + d);
    }
    for (int i = 0; i < kGroupRows; ++i) {
      const float4 row = *reinterpret_cast<const float4*>(left.data + (first_row() + i) * kRow + d);
      for (int j = 0; j < kPairs; ++j) {
        float& sum = products[i][j];
        sum += row.x * columns[j].x;
        sum += row.y * columns[j].y;
        sum += row.z * columns[j].z;
        sum += row.w * columns[j].w;
      }
    }
  }
}

/// sums += pairs · values. `weights` (kTile, kWeightRow) is memory for the pairs: a group reads only what it
/// wrote, so its warp need not wait for others.
template <int kWidth>
__device__ void add_weighted(const Pairs& pairs, Tile<kWidth> values, float* weights,
                             typename Tile<kWidth>::Sums& sums) {
  __syncwarp();
  for (int i = 0; i < kGroupRows; ++i) {
    for (int j = 0; j < kPairs; ++j) weights[(first_row() + i) * kWeightRow + pair_column(j)] = pairs[i][j];
  }
  __syncwarp();
  for (int j = 0; j < kTile; ++j) {
    float weight[kGroupRows];
    for (int i = 0; i < kGroupRows; ++i) weight[i] = weights[(first_row() + i) * kWeightRow + j];
    for (int c = 0; c < Tile<kWidth>::kColumns; ++c) {
      const float value = values.data[j * Tile<kWidth>::kRow + member() + kMembers * c];
      for (int i = 0; i < kGroupRows; ++i) sums[i][c] += weight[i] * value;
    }
  }
}

/// Over the members of a group.
__device__ inline float group_sum(float value) {
  for (int step = kMembers / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}
__device__ inline float group_maximum(float value) {
  for (int step = kMembers / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, step));
  return value;
}

/// rows[begin + row] = factors[row] · sums, for the tokens before `end`.
template <int kWidth>
__device__ void store(const AttentionSizes& sizes, const typename Tile<kWidth>::Sums& sums,
                      const float (&factors)[kGroupRows], int begin, int end, const HeadRows<float>& rows) {
  for (int i = 0; i < kGroupRows; ++i) {
    const int t = begin + first_row() + i;
    for (int c = 0; c < Tile<kWidth>::kColumns; ++c) {
      const int column = member() + kMembers * c;
      if (t < end && column < sizes.D) rows.at(t)[column] = factors[i] * sums[i][c];
    }
  }
}

/// launch(std::integral_constant<int, width>) with the smallest width of a tile that holds heads D wide.
template <class Launch>
void with_width(int D, Launch launch) {
  if (D <= 16) {
    launch(std::integral_constant<int, 16>());
  } else if (D <= 32) {
    launch(std::integral_constant<int, 32>());
  } else if (D <= 64) {
    launch(std::integral_constant<int, 64>());
  } else {
    launch(std::integral_constant<int, 128>());
  }
}

}  // namespace minichilla::cuda::fp32
