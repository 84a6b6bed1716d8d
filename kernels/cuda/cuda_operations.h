// The operations of kernels/ops.h on a GPU: each enqueues its kernels on the lane's stream.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

#include "kernels/device.h"
#include "kernels/ops.h"
#include "kernels/precision.h"

namespace minichilla::cuda {

struct CudaLane : Lane {
  explicit CudaLane(cudaStream_t enqueue_on) : Lane(0), stream(enqueue_on) {}
  cudaStream_t stream;
};

/// 64 MiB of bf16.
constexpr std::int64_t kLogitsInChunk = std::int64_t{32} << 20;

/// Of the current device; they belong to it and take CudaLanes alone. The classifier takes as many rows at a
/// time as have `logits_in_chunk` logits, in multiples of 128 and never less than that.
std::unique_ptr<Operations> make_operations(Precision precision,
                                            std::int64_t logits_in_chunk = kLogitsInChunk);

}  // namespace minichilla::cuda
