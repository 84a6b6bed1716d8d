#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/partial_sums.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vectors.cuh"
#include "kernels/cuda/wide_norm.h"

namespace minichilla::cuda {
namespace {

constexpr float kEpsilon = 1e-5f;

/// Columns of a row that a block keeps: each thread so many values.
constexpr int kHeldValues = 24, kHeldColumns = kHeldValues * kMostRowThreads;

/// At least, on a multiprocessor. Left to itself ptxas wants two, and spills.
constexpr int kBlocks = 1;

/// Calls work(pack, c) for this thread's packs of kWidth columns among those that the block keeps.
template <int kWidth, class Work>
__device__ void for_each_held(int C, const Work& work) {
#pragma unroll
  for (int p = 0; p < kHeldValues / kWidth; ++p) {
    const int c = (p * kMostRowThreads + static_cast<int>(threadIdx.x)) * kWidth;
    if (c < C) work(p, c);
  }
}

/// Calls work(c) for this thread's packs among the columns that are too many to keep.
template <int kWidth, class Work>
__device__ void for_each_beyond(int C, const Work& work) {
  const int first = kHeldColumns + static_cast<int>(threadIdx.x) * kWidth;
  for (int c = first; c < C; c += kMostRowThreads * kWidth) work(c);
}

/// A block per row, which keeps it in registers. Beyond kHeldColumns each thread reads again what it wrote
/// itself.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kMostRowThreads, kBlocks)
    wide_add_norm_kernel(int C, const Real* residual, const Real* branch, const float* __restrict__ weight,
                         const float* __restrict__ bias, Real* sum, Real* __restrict__ normed,
                         float* __restrict__ mean, float* __restrict__ rstd) {
  __shared__ float shared[kMostRowWarps];
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * C;
  const Real* stored = (branch != nullptr ? sum : residual) + row;
  const float share = 1.0f / static_cast<float>(C);
  float held[kHeldValues / kWidth][kWidth], total[1] = {};
  const auto add_branch = [&](int c, float(&x)[kWidth]) {
    float added[kWidth] = {};
    load(residual + row + c, x);
    if (branch != nullptr) load(branch + row + c, added);
    for (int j = 0; j < kWidth; ++j) total[0] += x[j] = rounded_to<Real>(x[j] + added[j]);
    if (branch != nullptr) store(x, sum + row + c);
  };
  for_each_held<kWidth>(C, [&](int p, int c) { add_branch(c, held[p]); });
  for_each_beyond<kWidth>(C, [&](int c) {
    float x[kWidth];
    add_branch(c, x);
  });
  sum_in_rows(total, shared);
  const float mu = total[0] * share;
  total[0] = 0;
  const auto add_square = [&](float(&x)[kWidth]) {
    for (int j = 0; j < kWidth; ++j) x[j] -= mu, total[0] = fmaf(x[j], x[j], total[0]);
  };
  for_each_held<kWidth>(C, [&](int p, int) { add_square(held[p]); });
  for_each_beyond<kWidth>(C, [&](int c) {
    float x[kWidth];
    load(stored + c, x);
    add_square(x);
  });
  sum_in_rows(total, shared);
  const float r = rsqrtf(fmaf(total[0], share, kEpsilon));
  const auto write_normed = [&](int c, const float(&centred)[kWidth]) {
    float y[kWidth], w[kWidth], b[kWidth];
    load(weight + c, w);
    load(bias + c, b);
    for (int j = 0; j < kWidth; ++j) y[j] = fmaf(centred[j] * r, w[j], b[j]);
    store(y, normed + row + c);
  };
  for_each_held<kWidth>(C, [&](int p, int c) { write_normed(c, held[p]); });
  for_each_beyond<kWidth>(C, [&](int c) {
    float x[kWidth];
    load(stored + c, x);
    for (int j = 0; j < kWidth; ++j) x[j] -= mu;
    write_normed(c, x);
  });
  if (threadIdx.x == 0) {
    mean[blockIdx.x] = mu;
    rstd[blockIdx.x] = r;
  }
}

/// A thread's pack of a row in the backward pass. With x the normed value before weight and bias and
/// g = d_normed · weight:
template <int kWidth>
struct Pack {
  float sum[kWidth], d_normed[kWidth], weight[kWidth];

  template <class Real>
  __device__ Pack(const Real* from_sum, const Real* from_d_normed, const float* from_weight) {
    load(from_sum, sum);
    load(from_d_normed, d_normed);
    load(from_weight, weight);
  }

  /// totals += g and g · x, d_w += d_normed · x, d_b += d_normed.
  __device__ void add_up(float mu, float r, float (&totals)[2], float (&d_w)[kWidth],
                         float (&d_b)[kWidth]) const {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float x = (sum[j] - mu) * r, g = d_normed[j] * weight[j];
      totals[0] += g;
      totals[1] = fmaf(g, x, totals[1]);
      d_w[j] = fmaf(d_normed[j], x, d_w[j]);
      d_b[j] += d_normed[j];
    }
  }

  /// d_sum_out = d_sum_in (nullptr: 0) + r · (g − mean(g) − x · mean(g · x))
  template <class Real>
  __device__ void write_d_sum(float mu, float r, const float (&means)[2], const Real* d_sum_in,
                              Real* d_sum_out) const {
    float d_sum[kWidth] = {};
    if (d_sum_in != nullptr) load(d_sum_in, d_sum);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float x = (sum[j] - mu) * r, g = d_normed[j] * weight[j];
      d_sum[j] = fmaf(r, fmaf(-x, means[1], g - means[0]), d_sum[j]);
    }
    store(d_sum, d_sum_out);
  }
};

constexpr int kSharedTotals = 2 * kMostRowWarps;

/// Bytes of shared memory that wide_add_norm_backward_kernel needs, all of them dynamic.
template <class Real>
int backward_shared_bytes(int C) {
  return kSharedTotals * static_cast<int>(sizeof(float)) +
         2 * std::min(C, kHeldColumns) * static_cast<int>(sizeof(Real));
}

/// A block per part of the rows, one row after the other. The row's sum and d_normed stay in shared memory,
/// of which each thread reads only what it wrote; what it adds up for d_weight and d_bias stays in registers.
/// Beyond kHeldColumns the row is read again, and the sums are kept in `partials`.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kMostRowThreads, kBlocks)
    wide_add_norm_backward_kernel(int M, int C, int rows_per_part, const Real* __restrict__ d_normed,
                                  const Real* d_sum_in, const Real* __restrict__ sum,
                                  const float* __restrict__ mean, const float* __restrict__ rstd,
                                  const float* __restrict__ weight, Real* d_sum_out, float* partials) {
  extern __shared__ uint4 shared[];
  float* const shared_totals = reinterpret_cast<float*>(shared);
  Real* const held_sum = reinterpret_cast<Real*>(shared_totals + kSharedTotals);
  Real* const held_d = held_sum + min(C, kHeldColumns);
  float d_w[kHeldValues / kWidth][kWidth] = {}, d_b[kHeldValues / kWidth][kWidth] = {};
  float* const d_w_out = partials + static_cast<std::int64_t>(blockIdx.x) * C;
  float* const d_b_out = d_w_out + static_cast<std::int64_t>(gridDim.x) * C;
  const int begin = static_cast<int>(blockIdx.x) * rows_per_part, end = min(begin + rows_per_part, M);
  const float share = 1.0f / static_cast<float>(C);
  for (int m = begin; m < end; ++m) {
    const std::int64_t row = static_cast<std::int64_t>(m) * C;
    const float mu = mean[m], r = rstd[m];
    float means[2] = {};
    for_each_held<kWidth>(C, [&](int p, int c) {
      const Pack<kWidth> pack(sum + row + c, d_normed + row + c, weight + c);
      store(pack.sum, held_sum + c);
      store(pack.d_normed, held_d + c);
      pack.add_up(mu, r, means, d_w[p], d_b[p]);
    });
    for_each_beyond<kWidth>(C, [&](int c) {
      float so_far_w[kWidth] = {}, so_far_b[kWidth] = {};
      if (m != begin) load(d_w_out + c, so_far_w), load(d_b_out + c, so_far_b);
      Pack<kWidth>(sum + row + c, d_normed + row + c, weight + c).add_up(mu, r, means, so_far_w, so_far_b);
      store(so_far_w, d_w_out + c);
      store(so_far_b, d_b_out + c);
    });
    sum_in_rows(means, shared_totals);
    for (float& total : means) total *= share;
    const auto write_d_sum = [&](int c, const Pack<kWidth>& pack) {
      pack.write_d_sum(mu, r, means, d_sum_in != nullptr ? d_sum_in + row + c : nullptr, d_sum_out + row + c);
    };
    for_each_held<kWidth>(
        C, [&](int, int c) { write_d_sum(c, Pack<kWidth>(held_sum + c, held_d + c, weight + c)); });
    for_each_beyond<kWidth>(
        C, [&](int c) { write_d_sum(c, Pack<kWidth>(sum + row + c, d_normed + row + c, weight + c)); });
  }
  for_each_held<kWidth>(C, [&](int p, int c) {
    store(d_w[p], d_w_out + c);
    store(d_b[p], d_b_out + c);
  });
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
  const int shared_bytes = backward_shared_bytes<Real>(C);
  const bool aligned = all_aligned({d_normed, d_sum_in, sum, weight, d_sum_out, partials});
  with_vector_width<Real>(C, aligned, [&](auto width) {
    const auto kernel = wide_add_norm_backward_kernel<Real, width.value>;
    allow_shared_memory(kernel, shared_bytes);
    kernel<<<static_cast<unsigned>(part.parts), kMostRowThreads, shared_bytes, stream>>>(
        M, C, part.rows_per_part, d_normed, d_sum_in, sum, mean, rstd, weight, d_sum_out, partials);
    launched("wide_add_norm_backward");
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
