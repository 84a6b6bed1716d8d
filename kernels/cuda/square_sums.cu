#include "kernels/cuda/launch.h"
#include "kernels/cuda/square_sums.h"

namespace minichilla::cuda {
namespace {

constexpr int kThreads = 256;

/// One block per partial sum: each thread adds its elements in ascending order, then a fixed tree over the
/// threads.
__global__ void square_sums_kernel(const float* __restrict__ gradient, ElementRange range,
                                   double* __restrict__ partials) {
  __shared__ double sums[kThreads];
  const std::int64_t begin = range.begin + blockIdx.x * Operations::kNormBlock;
  const std::int64_t end = min(begin + Operations::kNormBlock, range.end);
  double sum = 0;
  for (std::int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const double value = gradient[i];
    sum += value * value;
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
  square_sums_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(gradient, range, partials);
  launched("square_sums");
}

bool runs_here() {
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, square_sums_kernel) == cudaSuccess;
}

}  // namespace minichilla::cuda
