// Square sums of a flat gradient on the GPU.
#pragma once

#include <cuda_runtime.h>

#include "kernels/ops.h"

namespace minichilla::cuda {

/// As Operations::square_sums.
void square_sums(cudaStream_t stream, const float* gradient, ElementRange range, double* partials);

}  // namespace minichilla::cuda
