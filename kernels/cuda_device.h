// NVIDIA GPUs: what this build and this machine can do, and the device.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/precision.h"

namespace minichilla {

struct GpuInfo {
  std::string name;  ///< as the driver calls it
  int major, minor;  ///< compute capability
  std::size_t memory_bytes, free_bytes;
  std::string problem;  ///< why it cannot train; empty: it can
};

struct CudaSupport {
  bool compiled_in;
  std::string architectures;  ///< compiled for, for instance "80 90"
  int toolkit_version;        ///< 13000 is 13.0; 0: not compiled in
  int driver_version;         ///< the newest CUDA that the driver serves; 0: no driver
  std::vector<GpuInfo> gpus;  ///< in the driver's order: CUDA_VISIBLE_DEVICES applies
  std::string problem;        ///< why no GPU can train here, in plain words; empty: one can
};

/// Never throws: what cannot be asked becomes the problem.
CudaSupport cuda_support();

/// Whose matrix products.
enum class MatrixProducts {
  library,  ///< cuBLASLt's
  own,      ///< ours on tensor cores: bf16 alone
};

struct CudaOptions {
  MatrixProducts products = MatrixProducts::library;
  /// A recording is captured as a graph and replayed; false: what it does is enqueued anew each time, as
  /// debuggers and profilers like it. The bits are the same.
  bool graphs = true;
};

/// The GPU `ordinal` of cuda_support().gpus, with one lane: a stream. InputError says what prevents it.
std::unique_ptr<Device> make_cuda_device(int ordinal, Precision precision, CudaOptions options = {});

}  // namespace minichilla
