#include <cfloat>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/softmax_cross_entropy.h"
#include "kernels/cuda/vectors.cuh"

namespace minichilla::cuda {
namespace {

constexpr int kValues = 32;  ///< of a row, per thread, before it gets another warp

/// The largest of some logits, and the sum of exp(logit − top) over them.
struct RunningSum {
  float top = -FLT_MAX;  // not −∞: the difference of two of these is 0
  float total = 0;

  /// Adds logits[j] for j < count.
  template <int kWidth>
  __device__ void add(const float (&logits)[kWidth], int count) {
    float new_top = top;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (j < count) new_top = fmaxf(new_top, logits[j]);
    }
    total *= __expf(top - new_top);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (j < count) total += __expf(logits[j] - new_top);
    }
    top = new_top;
  }
};

/// The sum over all threads of the row.
__device__ RunningSum joined(RunningSum mine, float* shared) {
  float top[1] = {mine.top};
  combine_in_rows(
      top, [](float a, float b) { return fmaxf(a, b); }, shared);
  float total[1] = {mine.total * __expf(mine.top - top[0])};
  sum_in_rows(total, shared);
  return {top[0], total[0]};
}

/// A row per threadIdx.y. Each thread reads its logits once for the sum, and for the gradient again.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kMostRowThreads)
    softmax_cross_entropy_kernel(int rows, int V, int leading_dimension, Real* __restrict__ logits,
                                 const std::int32_t* __restrict__ targets, float loss_scale,
                                 float* __restrict__ row_losses, bool with_gradient) {
  __shared__ float shared[kMostRowWarps];
  const int m = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const bool inside = m < rows;  // rows beyond the last only take part in barriers
  const int target = inside ? targets[m] : -1;
  Real* row = logits + static_cast<std::int64_t>(m) * leading_dimension;
  const int first = static_cast<int>(threadIdx.x) * kWidth, step = static_cast<int>(blockDim.x) * kWidth;
  RunningSum sum;
  float target_logit = 0;
#pragma unroll 2
  for (int c = first; inside && c < V; c += step) {
    float x[kWidth];
    load(row + c, x);
    sum.add(x, V - c);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (c + j == target) target_logit = x[j];
    }
  }
  sum = joined(sum, shared);
  if (!inside) return;
  if (target / kWidth * kWidth % step == first) {  // this thread has seen the target
    row_losses[m] = logf(sum.total) + (sum.top - target_logit);
  }
  if (!with_gradient) return;
  const float scale = loss_scale / sum.total;
#pragma unroll 2
  for (int c = first; c < leading_dimension; c += step) {
    float x[kWidth];
    load(row + c, x);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      x[j] = c + j < V ? scale * __expf(x[j] - sum.top) - (c + j == target ? loss_scale : 0) : 0;
    }
    store(x, row + c);
  }
}

constexpr int kSumThreads = 256;

/// One block: each thread adds its losses in ascending order, then a fixed tree over the threads.
__global__ void __launch_bounds__(kSumThreads)
    add_row_losses_kernel(int rows, const float* __restrict__ row_losses, double* __restrict__ loss_sum) {
  __shared__ double sums[kSumThreads];
  double sum = 0;
#pragma unroll 4
  for (int m = static_cast<int>(threadIdx.x); m < rows; m += kSumThreads) sum += row_losses[m];
  sums[threadIdx.x] = sum;
  for (unsigned half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *loss_sum += sums[0];
}

}  // namespace

template <class Real>
void softmax_cross_entropy(cudaStream_t stream, int rows, int V, int leading_dimension, Real* logits,
                           const std::int32_t* targets, float loss_scale, float* row_losses,
                           bool with_gradient) {
  if (rows == 0) return;
  const dim3 threads = row_block(V, kValues);
  const unsigned blocks = ceil_div(static_cast<unsigned>(rows), threads.y);
  with_vector_width<Real>(leading_dimension, all_aligned({logits}), [&](auto width) {
    softmax_cross_entropy_kernel<Real, width.value><<<blocks, threads, 0, stream>>>(
        rows, V, leading_dimension, logits, targets, loss_scale, row_losses, with_gradient);
    launched("softmax_cross_entropy");
  });
}

void add_row_losses(cudaStream_t stream, int rows, const float* row_losses, double* loss_sum) {
  add_row_losses_kernel<<<1, kSumThreads, 0, stream>>>(rows, row_losses, loss_sum);
  launched("add_row_losses");
}

template void softmax_cross_entropy(cudaStream_t, int, int, int, float*, const std::int32_t*, float, float*,
                                    bool);
template void softmax_cross_entropy(cudaStream_t, int, int, int, __nv_bfloat16*, const std::int32_t*, float,
                                    float*, bool);

}  // namespace minichilla::cuda
