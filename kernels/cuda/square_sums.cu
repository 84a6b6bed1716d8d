#include "kernels/cuda/launch.h"
#include "kernels/cuda/square_sums.h"
#include "kernels/cuda/vectors.cuh"

namespace minichilla::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = kVectorWidth<float>;

/// One block per partial sum: each thread adds every 256th group of four neighbours in ascending order, then
/// a fixed tree over the threads. How the four are loaded (`aligned`: the first one is at 16 bytes) does not
/// change the sum.
__global__ void square_sums_kernel(const float* __restrict__ gradient, ElementRange range, bool aligned,
                                   double* __restrict__ partials) {
  __shared__ double sums[kThreads];
  const std::int64_t begin = range.begin + blockIdx.x * Operations::kNormBlock;
  const std::int64_t end = min(begin + Operations::kNormBlock, range.end);
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x * kWidth; i < end; i += kThreads * kWidth) {
    float values[kWidth] = {};
    if (aligned && i + kWidth <= end) {
      load(gradient + i, values);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) values[j] = i + j < end ? gradient[i + j] : 0;
    }
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += static_cast<double>(values[j]) * values[j];
  }
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) partials[begin / Operations::kNormBlock] = sums[0];
}

}  // namespace

void square_sums(cudaStream_t stream, const float* gradient, ElementRange range, double* partials) {
  const std::int64_t blocks = ceil_div(range.end - range.begin, Operations::kNormBlock);
  if (blocks == 0) return;
  const bool aligned = all_aligned({gradient});  // blocks begin at multiples of kNormBlock
  square_sums_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(gradient, range, aligned,
                                                                             partials);
  launched("square_sums");
}

bool runs_here() {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, square_sums_kernel) == cudaSuccess;
}

}  // namespace minichilla::cuda
