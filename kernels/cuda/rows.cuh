// Blocks in which threadIdx.y is a row of a matrix and the threads in x share its columns.
#pragma once

#include <algorithm>

#include "kernels/cuda/launch.h"

namespace minichilla::cuda {

constexpr int kWarp = 32;
constexpr int kMostRowThreads = 512, kMostRowWarps = kMostRowThreads / kWarp;

/// A warp to a row or, where a thread would get more than `values_per_thread` of the columns, several warps
/// (as far as kMostRowThreads go); as many rows as make about 256 threads.
inline dim3 row_block(int columns, int values_per_thread) {
  const int warps = std::clamp(ceil_div(columns, values_per_thread * kWarp), 1, kMostRowWarps);
  return dim3(static_cast<unsigned>(warps * kWarp), static_cast<unsigned>(std::max(1, 8 / warps)));
}

/// Combines each of the values over the threads of a row in a fixed order; all of them receive the results.
/// Every thread of the block calls it. `shared` has kCount · kMostRowWarps floats.
template <int kCount, class Combine>
__device__ inline void combine_in_rows(float (&values)[kCount], const Combine& combine, float* shared) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    for (float& value : values) value = combine(value, __shfl_xor_sync(~0u, value, offset));
  }
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return;
  float* row = shared + threadIdx.y * warps * kCount;
  __syncthreads();  // until nobody reads what was combined before
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) row[threadIdx.x / kWarp * kCount + k] = values[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    values[k] = row[k];
    for (int warp = 1; warp < warps; ++warp) values[k] = combine(values[k], row[warp * kCount + k]);
  }
}

/// combine_in_rows with sums.
template <int kCount>
__device__ inline void sum_in_rows(float (&values)[kCount], float* shared) {
  combine_in_rows(
      values, [](float a, float b) { return a + b; }, shared);
}

}  // namespace minichilla::cuda
