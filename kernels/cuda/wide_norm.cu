#include "kernels/cuda/launch.h"
#include "kernels/cuda/partial_sums.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vectors.cuh"
#include "kernels/cuda/wide_norm.h"

namespace minichilla::cuda {
namespace {

constexpr float kEpsilon = 1e-5f;

/// Calls work(c) for this thread's packs of kWidth columns.
template <int kWidth, class Work>
__device__ void for_each_pack(int C, const Work& work) {
  for (int c = static_cast<int>(threadIdx.x) * kWidth; c < C; c += kMostRowThreads * kWidth) work(c);
}

/// A block per row. Each thread reads again only what it wrote itself.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kMostRowThreads)
    wide_add_norm_kernel(int C, const Real* residual, const Real* branch, const float* __restrict__ weight,
                         const float* __restrict__ bias, Real* sum, Real* __restrict__ normed,
                         float* __restrict__ mean, float* __restrict__ rstd) {
  __shared__ float shared[kMostRowWarps];
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * C;
  const Real* stored = (branch != nullptr ? sum : residual) + row;
  const float share = 1.0f / static_cast<float>(C);
  float total[1] = {};
  for_each_pack<kWidth>(C, [&](int c) {
    float x[kWidth], added[kWidth] = {};
    load(residual + row + c, x);
    if (branch != nullptr) load(branch + row + c, added);
    for (int j = 0; j < kWidth; ++j) total[0] += x[j] = rounded_to<Real>(x[j] + added[j]);
    if (branch != nullptr) store(x, sum + row + c);
  });
  sum_in_rows(total, shared);
  const float mu = total[0] * share;
  total[0] = 0;
  for_each_pack<kWidth>(C, [&](int c) {
    float x[kWidth];
    load(stored + c, x);
    for (int j = 0; j < kWidth; ++j) total[0] = fmaf(x[j] - mu, x[j] - mu, total[0]);
  });
  sum_in_rows(total, shared);
  const float r = rsqrtf(fmaf(total[0], share, kEpsilon));
  for_each_pack<kWidth>(C, [&](int c) {
    float x[kWidth], w[kWidth], b[kWidth];
    load(stored + c, x);
    load(weight + c, w);
    load(bias + c, b);
    for (int j = 0; j < kWidth; ++j) x[j] = fmaf((x[j] - mu) * r, w[j], b[j]);
    store(x, normed + row + c);
  });
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = mu;
    rstd[blockIdx.x] = r;
  }
}

/// A block per row: d_sum_out.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kMostRowThreads)
    wide_input_gradient_kernel(int C, const Real* __restrict__ d_normed, const Real* d_sum_in,
                               const Real* __restrict__ sum, const float* __restrict__ mean,
                               const float* __restrict__ rstd, const float* __restrict__ weight,
                               Real* d_sum_out) {
  __shared__ float shared[2 * kMostRowWarps];
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * C;
  const float share = 1.0f / static_cast<float>(C), mu = mean[blockIdx.x], r = rstd[blockIdx.x];
  const auto load_row = [&](int c, float(&x)[kWidth], float(&g)[kWidth]) {
    float w[kWidth];
    load(sum + row + c, x);
    load(d_normed + row + c, g);
    load(weight + c, w);
    for (int j = 0; j < kWidth; ++j) x[j] = (x[j] - mu) * r, g[j] *= w[j];
  };
  float means[2] = {};  // of g and g · x
  for_each_pack<kWidth>(C, [&](int c) {
    float x[kWidth], g[kWidth];
    load_row(c, x, g);
    for (int j = 0; j < kWidth; ++j) means[0] += g[j], means[1] = fmaf(g[j], x[j], means[1]);
  });
  sum_in_rows(means, shared);
  const float mean_g = means[0] * share, mean_gx = means[1] * share;
  for_each_pack<kWidth>(C, [&](int c) {
    float x[kWidth], g[kWidth], d_sum[kWidth] = {};
    load_row(c, x, g);
    if (d_sum_in != nullptr) load(d_sum_in + row + c, d_sum);
    for (int j = 0; j < kWidth; ++j) d_sum[j] = fmaf(r, fmaf(-x[j], mean_gx, g[j] - mean_g), d_sum[j]);
    store(d_sum, d_sum_out + row + c);
  });
}

constexpr int kGradientThreads = 128;

/// Part blockIdx.y of the rows, a pack of columns per thread.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kGradientThreads)
    wide_weight_gradient_kernel(int M, int C, int rows_per_part, const Real* __restrict__ d_normed,
                                const Real* __restrict__ sum, const float* __restrict__ mean,
                                const float* __restrict__ rstd, float* __restrict__ partials) {
  const int c = static_cast<int>(blockIdx.x * kGradientThreads + threadIdx.x) * kWidth;
  if (c >= C) return;
  const int begin = static_cast<int>(blockIdx.y) * rows_per_part, end = min(begin + rows_per_part, M);
  float d_w[kWidth] = {}, d_b[kWidth] = {};
  for (int m = begin; m < end; ++m) {
    const std::int64_t place = static_cast<std::int64_t>(m) * C + c;
    float x[kWidth], d[kWidth];
    load(sum + place, x);
    load(d_normed + place, d);
    const float mu = mean[m], r = rstd[m];
    for (int j = 0; j < kWidth; ++j) d_w[j] = fmaf(d[j], (x[j] - mu) * r, d_w[j]), d_b[j] += d[j];
  }
  const std::int64_t part = blockIdx.y, parts = gridDim.y;
  store(d_w, partials + part * C + c);
  store(d_b, partials + (parts + part) * C + c);
}

}  // namespace

template <class Real>
void wide_add_norm(cudaStream_t stream, int M, int C, const Real* residual, const Real* branch,
                   const float* weight, const float* bias, Real* sum, Real* normed, float* mean,
                   float* rstd) {
  with_vector_width<Real>(C, all_aligned({residual, branch, weight, bias, sum, normed}), [&](auto width) {
    wide_add_norm_kernel<Real, width.value><<<static_cast<unsigned>(M), kMostRowThreads, 0, stream>>>(
        C, residual, branch, weight, bias, sum, normed, mean, rstd);
    launched("wide_add_norm");
  });
}

template <class Real>
void wide_add_norm_backward(cudaStream_t stream, int M, int C, const Real* d_normed, const Real* d_sum_in,
                            const Real* sum, const float* mean, const float* rstd, const float* weight,
                            Real* d_sum_out, float* partials) {
  const RowParts part = row_parts(M);
  const bool aligned = all_aligned({d_normed, d_sum_in, sum, weight, d_sum_out, partials});
  with_vector_width<Real>(C, aligned, [&](auto width) {
    const dim3 blocks(static_cast<unsigned>(ceil_div(C, kGradientThreads * width.value)),
                      static_cast<unsigned>(part.parts));
    wide_weight_gradient_kernel<Real, width.value><<<blocks, kGradientThreads, 0, stream>>>(
        M, C, part.rows_per_part, d_normed, sum, mean, rstd, partials);
    launched("wide_weight_gradient");
    wide_input_gradient_kernel<Real, width.value><<<static_cast<unsigned>(M), kMostRowThreads, 0, stream>>>(
        C, d_normed, d_sum_in, sum, mean, rstd, weight, d_sum_out);
    launched("wide_input_gradient");
  });
}

#define MINICHILLA_WIDE_NORM(Real)                                                                          \
  template void wide_add_norm(cudaStream_t, int, int, const Real*, const Real*, const float*, const float*, \
                              Real*, Real*, float*, float*);                                                \
  template void wide_add_norm_backward(cudaStream_t, int, int, const Real*, const Real*, const Real*,       \
                                       const float*, const float*, const float*, Real*, float*)
MINICHILLA_WIDE_NORM(float);
MINICHILLA_WIDE_NORM(__nv_bfloat16);

}  // namespace minichilla::cuda
