// The operations of kernels/ops.h on a GPU: each enqueues its kernels on the lane's stream.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>

#include "kernels/device.h"
#include "kernels/ops.h"
#include "kernels/precision.h"

namespace minichilla::cuda {

struct CudaLane : Lane {
  explicit CudaLane(cudaStream_t enqueue_on) : Lane(0), stream(enqueue_on) {}
  cudaStream_t stream;
};

/// Of the current device; they belong to it and take CudaLanes alone.
std::unique_ptr<Operations> make_operations(Precision precision);
/// Device memory that they allocate for themselves.
std::size_t workspace_bytes();

}  // namespace minichilla::cuda
