// What follows a matrix product, in kernels of its own: for products by a library that cannot do it.
#pragma once

#include "kernels/cuda/matmul.h"

namespace minichilla::cuda {

/// c (rows,columns) = epilogue(c), and gelu_input is written if it is an output.
template <class Real>
void apply_epilogue(cudaStream_t stream, int rows, int columns, Matrix<Real> c,
                    const Epilogue<Real>& epilogue);

/// sums (columns) += the column sums of x (rows,columns), added up in an order that depends on the shape
/// alone.
template <class Real>
void add_column_sums(cudaStream_t stream, int rows, int columns, Matrix<const Real> x, float* sums);

/// to (count) += from (count)
void add_floats(cudaStream_t stream, int count, const float* from, float* to);

}  // namespace minichilla::cuda
