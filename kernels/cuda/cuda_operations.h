// The operations of kernels/ops.h on a GPU: each enqueues its kernels on the lane's stream.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
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

/// 64 MiB of bf16.
constexpr std::int64_t kLogitsInChunk = std::int64_t{32} << 20;

/// Of the current device; they belong to it. The classifier takes as many rows at a time as have
/// `logits_in_chunk` logits, in multiples of 128 and never less than that. InputError where there are no such
/// products.
std::unique_ptr<CudaOperations> make_operations(Precision precision, MatrixProducts products,
                                                std::int64_t logits_in_chunk = kLogitsInChunk);

}  // namespace minichilla::cuda
