// The operations of kernels/ops.h on a GPU: each enqueues its kernels on the lane's stream.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/cuda_device.h"
#include "kernels/ops.h"

namespace minichilla::cuda {

struct CudaLane : Lane {
  explicit CudaLane(cudaStream_t enqueue_on) : Lane(0), stream(enqueue_on) {}
  cudaStream_t stream;
};

/// Operations that take CudaLanes alone.
class CudaOperations : public Operations {
 public:
  /// As Device::algorithms and Device::pin_algorithms.
  virtual std::string algorithms() const = 0;
  virtual void pin_algorithms(const std::string& text) = 0;
  /// Device memory that they allocated for themselves.
  virtual std::size_t workspace_bytes() const = 0;
};

/// Of the current device; they belong to it. InputError where there are no such products.
std::unique_ptr<CudaOperations> make_operations(Precision precision, MatrixProducts products);

}  // namespace minichilla::cuda
