// Tiles of bf16 attention on tensor cores: a block of 4 warps; a warp has 16 rows of a tile, or twice 16, and
// holds products as fragments (mma.cuh) of 16 × 8.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention_head.cuh"
#include "kernels/cuda/mma.cuh"

namespace minichilla::cuda::bf16 {

using Element = __nv_bfloat16;

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr float kLog2e = 1.4426950408889634f;

__device__ inline int warp() {
  return static_cast<int>(threadIdx.x / 32);
}
__device__ inline int lane() {
  return static_cast<int>(threadIdx.x % 32);
}
/// Row and column, within a fragment of 16 × 8, of a lane's element e.
__device__ inline int fragment_row(int e) {
  return lane() / 4 + 8 * (e / 2);
}
__device__ inline int fragment_column(int e) {
  return lane() % 4 * 2 + e % 2;
}

/// kRowTiles times 16 rows of products, 8 · kBlocks columns wide.
template <int kRowTiles, int kBlocks>
struct Products {
  float at[kRowTiles][kBlocks][4];

  __device__ void clear() {
    for_each_product([&](int r, int n, int e) { at[r][n][e] = 0; });
  }
  /// visit(r, n, e) for the indices of every product.
  template <class Visit>
  __device__ static void for_each_product(Visit visit) {
#pragma unroll
    for (int i = 0; i < kRowTiles * kBlocks * 4; ++i) visit(i / 4 / kBlocks, i / 4 % kBlocks, i % 4);
  }
};

/// kRowTiles times 16 rows, 16 deep: the left operand of a product.
template <int kRowTiles>
using LeftFragments = std::uint32_t[kRowTiles][4];

/// The 16 columns from 16 · step on, rounded to bf16.
template <int kRowTiles, int kBlocks>
__device__ void pack(const Products<kRowTiles, kBlocks>& products, int step,
                     LeftFragments<kRowTiles>& fragments) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&block)[4] = products.at[r][2 * step + i / 2];
      fragments[r][i] = pack_bf16(block[i % 2 * 2], block[i % 2 * 2 + 1]);
    }
  }
}

/// Shared memory for kRows tokens of a head up to kWidth wide, in chunks of 8 elements. Chunks of a row are
/// permuted so that the same chunk of 8 neighbouring rows lies in all 32 banks, as ldmatrix wants it.
template <int kRows, int kWidth>
struct Tile {
  static constexpr int kChunks = kWidth / 8;
  static constexpr int kElements = kRows * kWidth;
  static constexpr int kPermuted = kChunks % 8 == 0 ? 8 : kChunks & -kChunks;

  Element* data;

  /// Where a row has its chunk 0: the same for rows that differ by a multiple of 8.
  __device__ static int permutation(int row) { return row / (8 / kPermuted) % kPermuted; }
  __device__ Element* chunk(int row, int column) const {
    return data + row * kWidth + 8 * (column ^ permutation(row));
  }
  __device__ Element& element(int row, int column) const { return chunk(row, column / 8)[column % 8]; }
  /// What a lane passes to ldmatrix for the 16 rows from `row`, a multiple of 16, and two chunks from
  /// `column`, a multiple of 2, on. Lanes differ in what does not depend on either.
  __device__ const Element* square(int row, int column) const {
    const int lane_row = lane() % 16, lane_column = lane() / 16 ^ permutation(lane_row);
    return data + row * kWidth + (lane_row * kWidth + 8 * (column ^ lane_column));
  }

  /// Starts to load the tokens [begin, begin + kRows); those outside of `range`, and columns beyond the
  /// head's, become zeros.
  __device__ void load(const AttentionSizes& sizes, const HeadRows<const Element>& rows, int begin,
                       KeyRange range) const {
    if (sizes.vectors) {
      // A thread keeps to its column.
      constexpr int kStep = kThreads / kChunks;
      const int first_row = static_cast<int>(threadIdx.x) / kChunks;
      const int column = static_cast<int>(threadIdx.x) % kChunks;
      if (first_row >= kStep) return;
      const Element* from = rows.at(begin + first_row) + 8 * column;
      if (8 * column >= sizes.D) range.end = range.begin;
#pragma unroll
      for (int row = first_row; row < kRows; row += kStep, from += kStep * rows.stride) {
        const bool exists = begin + row >= range.begin && begin + row < range.end;
        cp_async_16(chunk(row, column), exists ? from : rows.first, exists ? 16 : 0);
      }
    } else {
#pragma unroll 1
      for (int i = static_cast<int>(threadIdx.x); i < kRows * kWidth; i += kThreads) {
        const int row = i / kWidth, column = i % kWidth, t = begin + row;
        const bool exists = t >= range.begin && t < range.end && column < sizes.D;
        element(row, column) = exists ? rows.at(t)[column] : __float2bfloat16(0);
      }
    }
  }

  /// Writes the rows [first, first + count), this warp's own, to the tokens from begin + first on that are
  /// before `end`.
  __device__ void store(const AttentionSizes& sizes, int first, int count, int begin, int end,
                        const HeadRows<Element>& rows) const {
    __syncwarp();
    if (sizes.vectors) {
      for (int i = lane(); i < count * kChunks; i += 32) {
        const int row = first + i / kChunks, column = i % kChunks;
        if (begin + row >= end || 8 * column >= sizes.D) continue;
        *reinterpret_cast<uint4*>(rows.at(begin + row) + 8 * column) =
            *reinterpret_cast<const uint4*>(chunk(row, column));
      }
    } else {
#pragma unroll 1
      for (int i = lane(); i < count * kWidth; i += 32) {
        const int row = first + i / kWidth, column = i % kWidth;
        if (begin + row < end && column < sizes.D) rows.at(begin + row)[column] = element(row, column);
      }
    }
  }

  /// The rows from `first` on, rounded: factors[r][half of the fragment] · sums.
  template <int kRowTiles>
  __device__ void put(int first, const Products<kRowTiles, kWidth / 8>& sums,
                      const float (&factors)[kRowTiles][2]) const {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 2 * (kWidth / 8); ++i) {
        const int column = i / 2, half = i % 2;
        const float factor = factors[r][half], *pair = sums.at[r][column] + 2 * half;
        Element* to = chunk(first + 16 * r + fragment_row(2 * half), column) + fragment_column(0);
        *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(factor * pair[0], factor * pair[1]);
      }
    }
  }
};

/// products = left's rows from first_row on · rightᵀ.
template <int kRowTiles, int kLeftRows, int kRightRows, int kWidth>
__device__ void row_products(Tile<kLeftRows, kWidth> left, int first_row, Tile<kRightRows, kWidth> right,
                             Products<kRowTiles, kRightRows / 8>& products) {
  products.clear();
#pragma unroll
  for (int depth = 0; depth < kWidth / 8; depth += 2) {
    LeftFragments<kRowTiles> a;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) ldmatrix_x4(a[r], left.square(first_row + 16 * r, depth));
#pragma unroll
    for (int n = 0; n < kRightRows / 8; n += 2) {
      std::uint32_t b[4];
      ldmatrix_x4(b, right.square(8 * n, depth));
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        mma_bf16_16x8x16(products.at[r][n], a[r], b[0], b[2]);
        mma_bf16_16x8x16(products.at[r][n + 1], a[r], b[1], b[3]);
      }
    }
  }
}

/// sums += weights · values, with weights rounded to bf16.
template <int kRowTiles, int kRows, int kWidth>
__device__ void add_weighted(const Products<kRowTiles, kRows / 8>& weights, Tile<kRows, kWidth> values,
                             Products<kRowTiles, kWidth / 8>& sums) {
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    LeftFragments<kRowTiles> a;
    pack(weights, step, a);
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 2) {
      std::uint32_t b[4];
      ldmatrix_x4_trans(b, values.square(16 * step, n));
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        mma_bf16_16x8x16(sums.at[r][n], a[r], b[0], b[1]);
        mma_bf16_16x8x16(sums.at[r][n + 1], a[r], b[2], b[3]);
      }
    }
  }
}

/// Over the four lanes that share a row of a fragment.
__device__ inline float row_sum(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
}
__device__ inline float row_maximum(float value) {
  value = fmaxf(value, __shfl_xor_sync(~0u, value, 1));
  return fmaxf(value, __shfl_xor_sync(~0u, value, 2));
}

/// use(stage, t) for t = begin, begin + kStep … below end, each after load(stage, t), which starts kStages −
/// 1 steps earlier. Copies that were started before belong to the first step.
template <int kStages, int kStep, class Load, class Use>
__device__ void pipeline(int begin, int end, Load load, Use use) {
  int next = begin;
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage, next += kStep) {
    if (next < end) load(stage, next);
    cp_async_commit();
  }
  int stage = 0, free_stage = kStages - 1;
#pragma unroll 1
  for (int t = begin; t < end; t += kStep, next += kStep) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // the step's tiles are there, and those of the step before are no longer read
    if (next < end) load(free_stage, next);
    cp_async_commit();
    use(stage, t);
    free_stage = stage;
    stage = stage + 1 == kStages ? 0 : stage + 1;
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
  } else if (D <= 96) {
    launch(std::integral_constant<int, 96>());
  } else {
    launch(std::integral_constant<int, 128>());
  }
}

}  // namespace minichilla::cuda::bf16
