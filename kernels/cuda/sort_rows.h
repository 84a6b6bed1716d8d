// Rows in the order of their tokens.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace minichilla::cuda {

/// std::int32_t elements of scratch that sort_rows needs for M rows.
std::int64_t sort_rows_scratch(int M);

/// The row numbers 0 … M − 1 sorted by tokens (M), each in [0, V), and rows of the same token in ascending
/// order. Returns where they are in `scratch`.
const std::int32_t* sort_rows(cudaStream_t stream, int M, int V, const std::int32_t* tokens,
                              std::int32_t* scratch);

}  // namespace minichilla::cuda
