// Device memory in tests of CUDA code: filled from a host array, read back into one.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace minichilla {

inline void cuda_succeeds(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

/// Nearest values of type Real, and back.
template <class Real>
Real narrowed(float value) {
  if constexpr (std::is_same_v<Real, __nv_bfloat16>) {
    return __float2bfloat16(value);
  } else {
    return static_cast<Real>(value);
  }
}
template <class Real>
float widened(Real value) {
  if constexpr (std::is_same_v<Real, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else {
    return static_cast<float>(value);
  }
}

/// `count` values on the device, exactly as long as that: what reads or writes beyond is found. Fresh memory
/// is NaN under ptxrun.
template <class Real>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count) {
    cuda_succeeds(
        cudaMalloc(reinterpret_cast<void**>(&data_), std::max<std::size_t>(count, 1) * sizeof(Real)));
  }
  template <class Value>
  explicit DeviceArray(const std::vector<Value>& values) : DeviceArray(values.size()) {
    std::vector<Real> converted;
    for (const Value& value : values) {
      if constexpr (std::is_same_v<Value, float>) {
        converted.push_back(narrowed<Real>(value));
      } else {
        converted.push_back(value);
      }
    }
    cuda_succeeds(cudaMemcpy(data_, converted.data(), count_ * sizeof(Real), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  Real* data() const { return data_; }
  std::size_t size() const { return count_; }

  /// Waits for everything that was launched.
  std::vector<Real> values() const {
    cuda_succeeds(cudaDeviceSynchronize());
    std::vector<Real> host(count_);
    cuda_succeeds(cudaMemcpy(host.data(), data_, count_ * sizeof(Real), cudaMemcpyDeviceToHost));
    return host;
  }
  std::vector<float> floats() const {
    std::vector<float> converted;
    for (const Real& value : values()) converted.push_back(widened(value));
    return converted;
  }

 private:
  Real* data_ = nullptr;
  std::size_t count_;
};

/// The values of `host` after a round trip through Real: what the device computes with.
template <class Real>
std::vector<float> rounded(const std::vector<float>& host) {
  std::vector<float> result;
  for (const float value : host) result.push_back(widened(narrowed<Real>(value)));
  return result;
}

}  // namespace minichilla
