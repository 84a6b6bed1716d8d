// A thread of the CPU device with what its operations need beside their arguments.
#pragma once

#include <exception>
#include <utility>

#include "kernels/device.h"

namespace minichilla {

/// Every lane of a CPU device is one.
struct CpuLane : Lane {
  CpuLane(int index, Buffer memory) : Lane(index), workspace(std::move(memory)) {}

  Buffer workspace;  ///< kGemmWorkspace floats
  std::exception_ptr failure;
};

/// Where matrix products of an operation on `lane` repack their operands.
inline float* gemm_workspace(Lane& lane) {
  return static_cast<CpuLane&>(lane).workspace.as<float>();
}

}  // namespace minichilla
