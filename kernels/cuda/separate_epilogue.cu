#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/separate_epilogue.h"
#include "kernels/cuda/vectors.cuh"

namespace minichilla::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSumColumns = 32;  ///< of a block that adds up columns
constexpr int kSumRows = 16;     ///< that it adds at a time

/// A row per threadIdx.y.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kMostRowThreads)
    apply_epilogue_kernel(int rows, int columns, Matrix<Real> c, Epilogue<Real> epilogue) {
  using Kind = typename Epilogue<Real>::Kind;
  const std::int64_t row = blockIdx.x * static_cast<std::int64_t>(blockDim.y) + threadIdx.y;
  if (row >= rows) return;
  const int step = static_cast<int>(blockDim.x) * kWidth;
  for (int column = static_cast<int>(threadIdx.x) * kWidth; column < columns; column += step) {
    const std::int64_t at = row * c.leading_dimension + column;
    float values[kWidth], others[kWidth];  // GELU's input or the bias
    load(c.data + at, values);
    if (epilogue.kind == Kind::kGeluDerivative) {
      load(epilogue.gelu_input + at, others);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) values[j] *= gelu_derivative(others[j]);
    } else {
      load(epilogue.bias + column, others);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) values[j] += others[j];
      if (epilogue.kind == Kind::kBiasGelu) {
        store(values, epilogue.gelu_input + at);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) values[j] = gelu(values[j]);
      }
    }
    store(values, c.data + at);
  }
}

/// One block per kSumColumns columns: each thread takes every kSumRows-th row, then a fixed tree over them.
/// The order does not depend on kWidth.
template <class Real, int kWidth>
__global__ void __launch_bounds__(kSumColumns / kWidth * kSumRows)
    add_column_sums_kernel(int rows, int columns, Matrix<const Real> x, float* __restrict__ sums) {
  __shared__ __align__(16) float partial[kSumRows][kSumColumns];
  const int first = static_cast<int>(threadIdx.x) * kWidth;
  const int column = static_cast<int>(blockIdx.x) * kSumColumns + first;
  float sum[kWidth] = {};
  if (column < columns) {
#pragma unroll 4
    for (int row = static_cast<int>(threadIdx.y); row < rows; row += kSumRows) {
      float values[kWidth];
      load(x.data + row * x.leading_dimension + column, values);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum[j] += values[j];
    }
  }
  store(sum, partial[threadIdx.y] + first);
  for (unsigned half = kSumRows / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y >= half) continue;
    float values[kWidth];
    load(partial[threadIdx.y + half] + first, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum[j] += values[j];
    store(sum, partial[threadIdx.y] + first);
  }
  if (threadIdx.y != 0 || column >= columns) return;
  float before[kWidth];
  load(sums + column, before);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) sum[j] += before[j];
  store(sum, sums + column);
}

constexpr int kFloatWidth = kVectorWidth<float>;

__global__ void __launch_bounds__(kThreads)
    add_floats_kernel(ElementRange range, bool aligned, const float* __restrict__ from,
                      float* __restrict__ to) {
  for_each_vector<kFloatWidth>(range, aligned, [&](auto width, std::int64_t i) {
    float added[width.value], values[width.value];
    load(from + i, added);
    load(to + i, values);
#pragma unroll
    for (int j = 0; j < width.value; ++j) values[j] += added[j];
    store(values, to + i);
  });
}

/// Whether every row begins at a multiple of 16 bytes.
template <class Element>
bool rows_aligned(Matrix<Element> matrix) {
  return all_aligned({matrix.data}) && matrix.leading_dimension % kVectorWidth<Element> == 0;
}

}  // namespace

template <class Real>
void apply_epilogue(cudaStream_t stream, int rows, int columns, Matrix<Real> c,
                    const Epilogue<Real>& epilogue) {
  if (rows == 0 || columns == 0 || epilogue.kind == Epilogue<Real>::Kind::kNone) return;
  const bool aligned = rows_aligned(c) && all_aligned({epilogue.bias, epilogue.gelu_input});
  with_vector_width<Real>(columns, aligned, [&](auto width) {
    const dim3 threads = row_block(columns, width.value);
    const unsigned blocks = ceil_div(static_cast<unsigned>(rows), threads.y);
    apply_epilogue_kernel<Real, width.value><<<blocks, threads, 0, stream>>>(rows, columns, c, epilogue);
    launched("apply_epilogue");
  });
}

template <class Real>
void add_column_sums(cudaStream_t stream, int rows, int columns, Matrix<const Real> x, float* sums) {
  if (columns == 0) return;
  with_vector_width<Real>(columns, rows_aligned(x) && all_aligned({sums}), [&](auto width) {
    const auto blocks = static_cast<unsigned>(ceil_div(columns, kSumColumns));
    add_column_sums_kernel<Real, width.value>
        <<<blocks, dim3(kSumColumns / width.value, kSumRows), 0, stream>>>(rows, columns, x, sums);
    launched("add_column_sums");
  });
}

void add_floats(cudaStream_t stream, int count, const float* from, float* to) {
  if (count == 0) return;
  const ElementRange range{0, count};
  add_floats_kernel<<<vector_blocks(range, kFloatWidth, kThreads), kThreads, 0, stream>>>(
      range, all_aligned({from, to}), from, to);
  launched("add_floats");
}

template void apply_epilogue<float>(cudaStream_t, int, int, Matrix<float>, const Epilogue<float>&);
template void apply_epilogue<__nv_bfloat16>(cudaStream_t, int, int, Matrix<__nv_bfloat16>,
                                            const Epilogue<__nv_bfloat16>&);
template void add_column_sums<float>(cudaStream_t, int, int, Matrix<const float>, float*);
template void add_column_sums<__nv_bfloat16>(cudaStream_t, int, int, Matrix<const __nv_bfloat16>, float*);

}  // namespace minichilla::cuda
