#include "kernels/cuda/gelu.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/separate_epilogue.h"

namespace minichilla::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSumColumns = 32, kSumRows = 16;  ///< threads of a block that adds up columns

/// One block per row.
template <class Real>
__global__ void apply_epilogue_kernel(int columns, Matrix<Real> c, Epilogue<Real> epilogue) {
  using Kind = typename Epilogue<Real>::Kind;
  const std::int64_t row = blockIdx.x * c.leading_dimension;
  for (int column = static_cast<int>(threadIdx.x); column < columns; column += kThreads) {
    const std::int64_t at = row + column;
    float value = to_float(c.data[at]);
    if (epilogue.kind == Kind::kGeluDerivative) {
      value *= gelu_derivative(to_float(epilogue.gelu_input[at]));
    } else {
      value += epilogue.bias[column];
      if (epilogue.kind == Kind::kBiasGelu) {
        epilogue.gelu_input[at] = from_float<Real>(value);
        value = gelu(value);
      }
    }
    c.data[at] = from_float<Real>(value);
  }
}

/// One block per kSumColumns columns: each thread takes every kSumRows-th row, then a fixed tree over them.
template <class Real>
__global__ void add_column_sums_kernel(int rows, int columns, Matrix<const Real> x,
                                       float* __restrict__ sums) {
  __shared__ float partial[kSumRows][kSumColumns];
  const int column = static_cast<int>(blockIdx.x) * kSumColumns + static_cast<int>(threadIdx.x);
  float sum = 0;
  if (column < columns) {
    for (int row = static_cast<int>(threadIdx.y); row < rows; row += kSumRows) {
      sum += to_float(x.data[row * x.leading_dimension + column]);
    }
  }
  partial[threadIdx.y][threadIdx.x] = sum;
  for (unsigned half = kSumRows / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) partial[threadIdx.y][threadIdx.x] += partial[threadIdx.y + half][threadIdx.x];
  }
  if (threadIdx.y == 0 && column < columns) sums[column] += partial[0][threadIdx.x];
}

__global__ void add_floats_kernel(int count, const float* __restrict__ from, float* __restrict__ to) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (i < count) to[i] += from[i];
}

__global__ void round_floats_kernel(int count, const float* __restrict__ from,
                                    __nv_bfloat16* __restrict__ to) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (i < count) to[i] = __float2bfloat16(from[i]);
}

}  // namespace

template <class Real>
void apply_epilogue(cudaStream_t stream, int rows, int columns, Matrix<Real> c,
                    const Epilogue<Real>& epilogue) {
  if (rows == 0 || columns == 0 || epilogue.kind == Epilogue<Real>::Kind::kNone) return;
  apply_epilogue_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(columns, c, epilogue);
  launched("apply_epilogue");
}

template <class Real>
void add_column_sums(cudaStream_t stream, int rows, int columns, Matrix<const Real> x, float* sums) {
  if (columns == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_div(columns, kSumColumns));
  add_column_sums_kernel<<<blocks, dim3(kSumColumns, kSumRows), 0, stream>>>(rows, columns, x, sums);
  launched("add_column_sums");
}

void add_floats(cudaStream_t stream, int count, const float* from, float* to) {
  if (count == 0) return;
  add_floats_kernel<<<static_cast<unsigned>(ceil_div(count, kThreads)), kThreads, 0, stream>>>(count, from,
                                                                                               to);
  launched("add_floats");
}

void round_floats(cudaStream_t stream, int count, const float* from, __nv_bfloat16* to) {
  if (count == 0) return;
  round_floats_kernel<<<static_cast<unsigned>(ceil_div(count, kThreads)), kThreads, 0, stream>>>(count, from,
                                                                                                 to);
  launched("round_floats");
}

template void apply_epilogue<float>(cudaStream_t, int, int, Matrix<float>, const Epilogue<float>&);
template void apply_epilogue<__nv_bfloat16>(cudaStream_t, int, int, Matrix<__nv_bfloat16>,
                                            const Epilogue<__nv_bfloat16>&);
template void add_column_sums<float>(cudaStream_t, int, int, Matrix<const float>, float*);
template void add_column_sums<__nv_bfloat16>(cudaStream_t, int, int, Matrix<const __nv_bfloat16>, float*);

}  // namespace minichilla::cuda
