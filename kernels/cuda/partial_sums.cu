#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/partial_sums.h"

namespace minichilla::cuda {
namespace {

constexpr int kColumns = 32, kGroups = 8;

/// Each group of threads adds every eighth part in ascending order, then the groups are added in order.
__global__ void __launch_bounds__(kColumns* kGroups)
    add_partial_sums_kernel(int parts, int columns, const float* __restrict__ partials,
                            float* __restrict__ first, float* __restrict__ second) {
  __shared__ float sums[kGroups][kColumns];
  const int column = static_cast<int>(blockIdx.x) * kColumns + static_cast<int>(threadIdx.x);
  const float* half = partials + static_cast<std::int64_t>(blockIdx.y) * parts * columns;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int part = static_cast<int>(threadIdx.y); part < parts; part += kGroups) {
      sum += half[static_cast<std::int64_t>(part) * columns + column];
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int group = 1; group < kGroups; ++group) sum += sums[group][threadIdx.x];
  (blockIdx.y == 0 ? first : second)[column] += sum;
}

}  // namespace

void add_partial_sums(cudaStream_t stream, int parts, int columns, const float* partials, float* first,
                      float* second) {
  const dim3 blocks(static_cast<unsigned>(ceil_div(columns, kColumns)), second != nullptr ? 2 : 1);
  add_partial_sums_kernel<<<blocks, dim3(kColumns, kGroups), 0, stream>>>(parts, columns, partials, first,
                                                                          second);
  launched("add_partial_sums");
}

RowParts row_parts(int M) {
  constexpr int kFewestRows = 32, kMostParts = 512;
  const int rows = std::max(kFewestRows, ceil_div(M, kMostParts));
  return {ceil_div(M, rows), rows};
}

}  // namespace minichilla::cuda
