// Matrix products and what follows them: the interface of the tensor-core product (tensor_core_gemm.h) and of
// cuBLASLt's (cublaslt_gemm.h). Everything is row-major.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace minichilla::cuda {

/// C (rows,columns) = op(A) · op(B), where op(A) is (rows,depth) and op(B) is (depth,columns); op(X) is X or,
/// transposed, Xᵀ. At most one of them is transposed. A layer y = x · weightᵀ with M rows needs:
///   y (M,out)       {M, out, in, false, true}    A = x (M,in), B = weight (out,in)
///   d_x (M,in)      {M, in, out, false, false}   A = d_y (M,out), B = weight
///   d_weight (out,in) {out, in, M, true, false}  A = d_y, B = x
/// Sizes may be 0; a depth of 0 gives zeros.
struct Product {
  int rows, columns, depth;
  bool transpose_a = false, transpose_b = false;
};

/// Row i begins at data + i · leading_dimension, which is in elements and at least the row's length.
template <class Element>
struct Matrix {
  Element* data;
  std::int64_t leading_dimension;
};

/// What becomes of the sums before they are written to C.
template <class Real>
struct Epilogue {
  enum class Kind {
    kNone,            ///< C = sums
    kBias,            ///< C = sums + bias
    kBiasGelu,        ///< gelu_input = sums + bias, C = gelu(sums + bias)
    kGeluDerivative,  ///< C = sums · gelu'(gelu_input)
  };
  Kind kind = Kind::kNone;
  const float* bias = nullptr;  ///< (columns)
  Real* gelu_input = nullptr;   ///< (rows,columns) with C's leading dimension; read only by kGeluDerivative

  static Epilogue add_bias(const float* bias) { return {Kind::kBias, bias, nullptr}; }
  static Epilogue add_bias_and_gelu(const float* bias, Real* gelu_input) {
    return {Kind::kBiasGelu, bias, gelu_input};
  }
  static Epilogue times_gelu_derivative(const Real* gelu_input) {
    return {Kind::kGeluDerivative, nullptr, const_cast<Real*>(gelu_input)};
  }
};

/// Products of matrices of type Real, summed in fp32 and rounded once. gelu is the tanh form. Nothing may
/// overlap what is written. Both functions only enqueue, and their bits depend on the shape, the alignment
/// and the device alone.
template <class Real>
class Matmul {
 public:
  virtual ~Matmul() = default;

  /// c = epilogue(op(a) · op(b))
  virtual void multiply(cudaStream_t stream, const Product& product, Matrix<const Real> a,
                        Matrix<const Real> b, Matrix<Real> c, const Epilogue<Real>& epilogue) = 0;

  /// For gradients and logits: c = op(a) · op(b), or += when `accumulate`. With `row_sums` (rows) not nullptr
  /// also row_sums += the sums of op(a)'s rows, which is d_bias beside d_weight; only with transpose_a.
  virtual void multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const Real> a,
                             Matrix<const Real> b, Matrix<float> c, bool accumulate, float* row_sums) = 0;
};

}  // namespace minichilla::cuda
