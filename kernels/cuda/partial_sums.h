// The second stage of sums over rows: parts of the rows were summed by different blocks.
#pragma once

#include <cuda_runtime.h>

namespace minichilla::cuda {

/// first (columns) += the sum over the parts of partials (parts, columns), in a fixed order. With `second`
/// (columns) not nullptr, partials is (2, parts, columns), and its second half is summed there.
void add_partial_sums(cudaStream_t stream, int parts, int columns, const float* partials, float* first,
                      float* second);

/// How M rows are cut into parts: into few enough that partials cost little, enough to keep a GPU busy.
struct RowParts {
  int parts, rows_per_part;
};
RowParts row_parts(int M);

}  // namespace minichilla::cuda
