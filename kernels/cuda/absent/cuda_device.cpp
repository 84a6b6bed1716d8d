// The CUDA device of a build without the CUDA toolkit.
#include "kernels/cuda_device.h"

#include "kernels/error.h"

namespace minichilla {

CudaSupport cuda_support() {
  return {.compiled_in = false,
          .architectures = "",
          .toolkit_version = 0,
          .driver_version = 0,
          .gpus = {},
          .problem = "this minichilla was built without CUDA: the build found no nvcc"};
}

std::unique_ptr<Device> make_cuda_device(int, Precision, CudaOptions) {
  throw InputError(cuda_support().problem);
}

}  // namespace minichilla
