// What every file that launches kernels shares.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace minichilla::cuda {

/// Throws std::runtime_error with CUDA's message when the last launch could not be made.
inline void launched(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA kernel ") + kernel + ": " + cudaGetErrorString(error));
  }
}

/// Kernels that need more than 48 KB of shared memory must be told so; costs nothing worth keeping a record
/// of.
template <class Kernel>
void allow_shared_memory(Kernel kernel, int bytes) {
  if (bytes <= 48 * 1024) return;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) {
    throw std::runtime_error("CUDA kernel with " + std::to_string(bytes) +
                             " bytes of shared memory: " + cudaGetErrorString(error));
  }
}

template <class Integer>
__host__ __device__ constexpr Integer ceil_div(Integer a, Integer b) {
  return (a + b - 1) / b;
}

__host__ __device__ inline float to_float(float value) {
  return value;
}
__host__ __device__ inline float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
template <class Real>
__host__ __device__ inline Real from_float(float value) {
  if constexpr (sizeof(Real) == 2) {
    return __float2bfloat16(value);
  } else {
    return value;
  }
}

}  // namespace minichilla::cuda
