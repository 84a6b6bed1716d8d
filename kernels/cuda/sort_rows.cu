// A radix sort, least significant digit first. Each pass counts the digits of every tile of rows, then each
// tile writes its rows where they belong: behind all rows of smaller digits, and behind those of the same
// digit in earlier tiles, in earlier warps and in the warp itself. No atomics, so the order is that of the
// rows.
#include <utility>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sort_rows.h"

namespace minichilla::cuda {
namespace {

constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kThreads = kDigits, kWarp = 32, kWarps = kThreads / kWarp;
constexpr int kRowsPerLane = 4, kWarpRows = kRowsPerLane * kWarp, kTileRows = kWarps * kWarpRows;

/// A pass's input: rows (M), or 0 … M − 1 if nullptr, and the digit of their tokens that is `shift` bits up.
struct Digits {
  int M, shift;
  const std::int32_t *tokens, *rows;
};

/// Calls work(row, digit, peers) for a warp's rows in order, a lane each; peers are the lanes with the same
/// digit. A lane without a row has a digit of its own kind, kDigits. All lanes call it.
template <class Work>
__device__ void for_each_row(const Digits& digits, const Work& work) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = static_cast<int>(blockIdx.x) * kTileRows + warp * kWarpRows + lane;
#pragma unroll
  for (int k = 0; k < kRowsPerLane; ++k) {
    const int i = first + k * kWarp;
    const int row = i < digits.M && digits.rows != nullptr ? digits.rows[i] : i;
    const int digit = i < digits.M ? digits.tokens[row] >> digits.shift & (kDigits - 1) : kDigits;
    work(row, digit, __match_any_sync(~0u, digit));
  }
}

/// The first of the peers adds all of them to the warp's count of their digit.
__device__ void count_peers(int digit, unsigned peers, int (&counts)[kDigits]) {
  __syncwarp();  // the count may have been read, or changed by another lane
  const int leader = __ffs(static_cast<int>(peers)) - 1;
  if (digit < kDigits && leader == static_cast<int>(threadIdx.x) % kWarp) counts[digit] += __popc(peers);
  __syncwarp();
}

/// counts[w][d] = rows of warp w with digit d.
__device__ void count_in_warps(const Digits& digits, int (&counts)[kWarps][kDigits]) {
  for (int warp = 0; warp < kWarps; ++warp) counts[warp][threadIdx.x] = 0;
  __syncthreads();
  for_each_row(digits, [&](int, int digit, unsigned peers) {
    count_peers(digit, peers, counts[threadIdx.x / kWarp]);
  });
  __syncthreads();
}

/// tile_counts (tiles, kDigits)
__global__ void __launch_bounds__(kThreads)
    count_digits_kernel(Digits digits, std::int32_t* __restrict__ tile_counts) {
  __shared__ int counts[kWarps][kDigits];
  count_in_warps(digits, counts);
  int sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += counts[warp][threadIdx.x];
  tile_counts[blockIdx.x * kDigits + threadIdx.x] = sum;
}

/// The sum of `value` over the threads before this one.
__device__ int sum_before(int value, int (&warp_sums)[kWarps]) {
  const unsigned warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  int sum = value;
#pragma unroll
  for (unsigned offset = 1; offset < kWarp; offset *= 2) {
    const int lower = __shfl_up_sync(~0u, sum, offset);
    if (lane >= offset) sum += lower;
  }
  if (lane == kWarp - 1) warp_sums[warp] = sum;
  __syncthreads();
  for (unsigned lower = 0; lower < warp; ++lower) sum += warp_sums[lower];
  return sum - value;
}

__global__ void __launch_bounds__(kThreads)
    move_rows_kernel(Digits digits, const std::int32_t* __restrict__ tile_counts,
                     std::int32_t* __restrict__ sorted) {
  __shared__ int places[kWarps][kDigits], warp_sums[kWarps];
  count_in_warps(digits, places);
  // A thread per digit: where each warp's first row of it goes.
  int all = 0, before = 0;
#pragma unroll 8
  for (unsigned tile = 0; tile < gridDim.x; ++tile) {
    const int count = tile_counts[tile * kDigits + threadIdx.x];
    all += count;
    if (tile < blockIdx.x) before += count;
  }
  int place = sum_before(all, warp_sums) + before;
  for (int warp = 0; warp < kWarps; ++warp) {
    const int count = places[warp][threadIdx.x];
    places[warp][threadIdx.x] = place;
    place += count;
  }
  __syncthreads();
  const unsigned lower_lanes = (1u << threadIdx.x % kWarp) - 1;
  for_each_row(digits, [&](int row, int digit, unsigned peers) {
    int(&next)[kDigits] = places[threadIdx.x / kWarp];
    if (digit < kDigits) sorted[next[digit] + __popc(peers & lower_lanes)] = row;
    count_peers(digit, peers, next);
  });
}

}  // namespace

std::int64_t sort_rows_scratch(int M) {
  return 2 * static_cast<std::int64_t>(M) + static_cast<std::int64_t>(ceil_div(M, kTileRows)) * kDigits;
}

const std::int32_t* sort_rows(cudaStream_t stream, int M, int V, const std::int32_t* tokens,
                              std::int32_t* scratch) {
  const unsigned tiles = static_cast<unsigned>(ceil_div(M, kTileRows));
  std::int32_t *sorted = scratch, *other = scratch + M, *tile_counts = other + M;
  Digits digits{M, 0, tokens, nullptr};
  do {
    count_digits_kernel<<<tiles, kThreads, 0, stream>>>(digits, tile_counts);
    launched("count_digits");
    move_rows_kernel<<<tiles, kThreads, 0, stream>>>(digits, tile_counts, sorted);
    launched("move_rows");
    digits.rows = sorted;
    std::swap(sorted, other);
    digits.shift += kDigitBits;
  } while (digits.shift < 31 && V - 1 >> digits.shift != 0);
  return digits.rows;
}

}  // namespace minichilla::cuda
