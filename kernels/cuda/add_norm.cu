#include "kernels/cuda/add_norm.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/partial_sums.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vectors.cuh"
#include "kernels/cuda/wide_norm.h"

namespace minichilla::cuda {
namespace {

constexpr float kEpsilon = 1e-5f;

/// Elements of a row that a thread keeps in registers: few for narrow rows, so that many warps run at a time,
/// and for rows without packs, whose addresses need registers too.
constexpr int kFewValues = 8, kManyValues = 16;

/// The kPacks · kWidth elements of a row that a thread has: every blockDim.x-th pack of kWidth neighbours.
template <int kWidth, int kPacks>
using RowPart = float[kPacks][kWidth];

/// The first column of a pack.
template <int kWidth>
__device__ int pack_column(int pack) {
  return (pack * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kWidth;
}

/// part = this thread's elements of the row, 0 beyond column C. C = 0 loads nothing.
template <int kWidth, int kPacks, class Real>
__device__ void load_part(int C, const Real* row, RowPart<kWidth, kPacks>& part) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = pack_column<kWidth>(p);
    if (c < C) {
      load(row + c, part[p]);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) part[p][j] = 0;
    }
  }
}

template <int kWidth, int kPacks, class Real>
__device__ void store_part(int C, const RowPart<kWidth, kPacks>& part, Real* row) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = pack_column<kWidth>(p);
    if (c < C) store(part[p], row + c);
  }
}

/// Calls work(p, j) for the elements of a part.
template <int kWidth, int kPacks, class Work>
__device__ void for_each_in_part(const Work& work) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) work(p, j);
  }
}

/// A row per threadIdx.y. It is read once; its sum, mean and variance are computed in registers.
template <class Real, int kWidth, int kPacks>
__global__ void __launch_bounds__(kMostRowThreads)
    add_norm_kernel(int M, int C, const Real* residual, const Real* branch, const float* __restrict__ weight,
                    const float* __restrict__ bias, Real* sum, Real* __restrict__ normed,
                    float* __restrict__ mean, float* __restrict__ rstd) {
  __shared__ float shared[kMostRowWarps];
  const int m = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  const int columns = m < M ? C : 0;  // rows beyond the last only take part in barriers
  const std::int64_t row = static_cast<std::int64_t>(m) * C;
  const float share = 1.0f / static_cast<float>(C);
  float x[kPacks][kWidth];
  load_part<kWidth, kPacks>(columns, residual + row, x);
  if (branch != nullptr) {
    float added[kPacks][kWidth];
    load_part<kWidth, kPacks>(columns, branch + row, added);
    for_each_in_part<kWidth, kPacks>(
        [&](int p, int j) { x[p][j] = rounded_to<Real>(x[p][j] + added[p][j]); });
    store_part<kWidth, kPacks>(columns, x, sum + row);
  }
  float total[1] = {};
  for_each_in_part<kWidth, kPacks>([&](int p, int j) { total[0] += x[p][j]; });
  sum_in_rows(total, shared);
  const float mu = total[0] * share;
  // From centred values: the difference of the mean square and the squared mean would cancel.
  total[0] = 0;
  for_each_in_part<kWidth, kPacks>([&](int p, int j) {
    x[p][j] = pack_column<kWidth>(p) < columns ? x[p][j] - mu : 0;
    total[0] = fmaf(x[p][j], x[p][j], total[0]);
  });
  sum_in_rows(total, shared);
  const float r = rsqrtf(fmaf(total[0], share, kEpsilon));
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = pack_column<kWidth>(p);
    if (c >= columns) break;
    float w[kWidth], b[kWidth];
    load(weight + c, w);
    load(bias + c, b);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[p][j] = fmaf(x[p][j] * r, w[j], b[j]);
    store(x[p], normed + row + c);
  }
  if (columns != 0 && threadIdx.x == 0) {
    mean[m] = mu;
    rstd[m] = r;
  }
}

/// part of the threads with threadIdx.y = 0 += the parts of the others, in ascending order.
template <int kWidth, int kPacks>
__device__ void add_over_rows(RowPart<kWidth, kPacks>& part, float* shared) {
  const auto place = [&](int p, int j) { return (p * kWidth + j) * blockDim.x + threadIdx.x; };
  for (unsigned turn = 1; turn < blockDim.y; ++turn) {
    __syncthreads();
    if (threadIdx.y == turn) {
      for_each_in_part<kWidth, kPacks>([&](int p, int j) { shared[place(p, j)] = part[p][j]; });
    }
    __syncthreads();
    if (threadIdx.y == 0) {
      for_each_in_part<kWidth, kPacks>([&](int p, int j) { part[p][j] += shared[place(p, j)]; });
    }
  }
}

/// A block per part of the rows, blockDim.y rows at a time. With x the normed row before weight and bias and
/// g = d_normed · weight, the gradient of the sum is rstd · (g − mean(g) − x · mean(g · x)). partials (2,
/// parts, C) = sums over the part's rows for d_weight and d_bias.
template <class Real, int kWidth, int kPacks>
__global__ void __launch_bounds__(kMostRowThreads)
    add_norm_backward_kernel(int M, int C, int rows_per_part, const Real* d_normed, const Real* d_sum_in,
                             const Real* __restrict__ sum, const float* __restrict__ mean,
                             const float* __restrict__ rstd, const float* __restrict__ weight,
                             Real* d_sum_out, float* __restrict__ partials) {
  __shared__ float sums_shared[2 * kMostRowWarps];
  extern __shared__ float part_shared[];
  const int begin = static_cast<int>(blockIdx.x) * rows_per_part, end = min(begin + rows_per_part, M);
  const float share = 1.0f / static_cast<float>(C);
  float w[kPacks][kWidth], d_w[kPacks][kWidth] = {}, d_b[kPacks][kWidth] = {};
  load_part<kWidth, kPacks>(C, weight, w);
  for (int first = begin; first < end; first += static_cast<int>(blockDim.y)) {
    const int m = first + static_cast<int>(threadIdx.y);
    const int columns = m < end ? C : 0;
    const std::int64_t row = static_cast<std::int64_t>(m) * C;
    const float mu = m < end ? mean[m] : 0, r = m < end ? rstd[m] : 0;
    float x[kPacks][kWidth], d[kPacks][kWidth], d_sum[kPacks][kWidth];
    load_part<kWidth, kPacks>(columns, sum + row, x);
    load_part<kWidth, kPacks>(columns, d_normed + row, d);
    load_part<kWidth, kPacks>(d_sum_in != nullptr ? columns : 0, d_sum_in + row, d_sum);
    float means[2] = {};  // of g and g · x
    for_each_in_part<kWidth, kPacks>([&](int p, int j) {
      x[p][j] = (x[p][j] - mu) * r;
      const float g = d[p][j] * w[p][j];
      means[0] += g;
      means[1] = fmaf(g, x[p][j], means[1]);
      d_w[p][j] = fmaf(d[p][j], x[p][j], d_w[p][j]);
      d_b[p][j] += d[p][j];
    });
    sum_in_rows(means, sums_shared);
    means[0] *= share;
    means[1] *= share;
    for_each_in_part<kWidth, kPacks>([&](int p, int j) {
      const float centred = fmaf(-x[p][j], means[1], d[p][j] * w[p][j] - means[0]);
      d_sum[p][j] = fmaf(r, centred, d_sum[p][j]);
    });
    store_part<kWidth, kPacks>(columns, d_sum, d_sum_out + row);
  }
  add_over_rows<kWidth, kPacks>(d_w, part_shared);
  add_over_rows<kWidth, kPacks>(d_b, part_shared);
  if (threadIdx.y != 0) return;
  const std::int64_t part = blockIdx.x, parts = gridDim.x;
  store_part<kWidth, kPacks>(C, d_w, partials + part * C);
  store_part<kWidth, kPacks>(C, d_b, partials + (parts + part) * C);
}

/// Calls launch(width, packs, threads of a block) with what suits rows of C columns; false: they are too
/// wide.
template <class Real, class Launch>
bool with_row_shape(int C, bool aligned, const Launch& launch) {
  constexpr int kWidth = kVectorWidth<Real>;
  const bool packed = aligned && C % kWidth == 0;
  if (C > (packed ? kManyValues : kFewValues) * kMostRowThreads) return false;
  const auto call = [&](auto width, auto values) {
    launch(width, std::integral_constant<int, values.value / width.value>(), row_block(C, values.value));
  };
  const std::integral_constant<int, kFewValues> few;
  if (!packed) {
    call(std::integral_constant<int, 1>(), few);
  } else if (C <= kFewValues * kWarp) {
    call(std::integral_constant<int, kWidth>(), few);
  } else {
    call(std::integral_constant<int, kWidth>(), std::integral_constant<int, kManyValues>());
  }
  return true;
}

}  // namespace

template <class Real>
void add_norm(cudaStream_t stream, int M, int C, const Real* residual, const Real* branch,
              const float* weight, const float* bias, Real* sum, Real* normed, float* mean, float* rstd) {
  const bool aligned = all_aligned({residual, branch, weight, bias, sum, normed});
  const bool fits = with_row_shape<Real>(C, aligned, [&](auto width, auto packs, dim3 threads) {
    const unsigned blocks = ceil_div(static_cast<unsigned>(M), threads.y);
    add_norm_kernel<Real, width.value, packs.value>
        <<<blocks, threads, 0, stream>>>(M, C, residual, branch, weight, bias, sum, normed, mean, rstd);
    launched("add_norm");
  });
  if (!fits) wide_add_norm(stream, M, C, residual, branch, weight, bias, sum, normed, mean, rstd);
}

std::int64_t add_norm_backward_scratch(int M, int C) {
  return 2 * static_cast<std::int64_t>(row_parts(M).parts) * C;
}

template <class Real>
void add_norm_backward(cudaStream_t stream, int M, int C, const Real* d_normed, const Real* d_sum_in,
                       const Real* sum, const float* mean, const float* rstd, const float* weight,
                       Real* d_sum_out, float* d_weight, float* d_bias, float* scratch) {
  const RowParts part = row_parts(M);
  const bool aligned = all_aligned({d_normed, d_sum_in, sum, weight, d_sum_out, scratch});
  const bool fits = with_row_shape<Real>(C, aligned, [&](auto width, auto packs, dim3 threads) {
    const std::size_t part_bytes = threads.y > 1 ? width.value * packs.value * threads.x * sizeof(float) : 0;
    add_norm_backward_kernel<Real, width.value, packs.value>
        <<<static_cast<unsigned>(part.parts), threads, part_bytes, stream>>>(
            M, C, part.rows_per_part, d_normed, d_sum_in, sum, mean, rstd, weight, d_sum_out, scratch);
    launched("add_norm_backward");
  });
  if (!fits) {
    wide_add_norm_backward(stream, M, C, d_normed, d_sum_in, sum, mean, rstd, weight, d_sum_out, scratch);
  }
  add_partial_sums(stream, part.parts, C, scratch, d_weight, d_bias);
}

#define MINICHILLA_ADD_NORM(Real)                                                                      \
  template void add_norm(cudaStream_t, int, int, const Real*, const Real*, const float*, const float*, \
                         Real*, Real*, float*, float*);                                                \
  template void add_norm_backward(cudaStream_t, int, int, const Real*, const Real*, const Real*,       \
                                  const float*, const float*, const float*, Real*, float*, float*, float*)
MINICHILLA_ADD_NORM(float);
MINICHILLA_ADD_NORM(__nv_bfloat16);

}  // namespace minichilla::cuda
