// Square sums of a flat gradient on the GPU.
#pragma once

#include <cuda_runtime.h>

#include "kernels/ops.h"

namespace minichilla::cuda {

/// As Operations::square_sums.
void square_sums(cudaStream_t stream, const float* gradient, ElementRange range, double* partials);

/// Whether the current device can run this file's kernel, and so all of this build's.
bool runs_here();

}  // namespace minichilla::cuda
