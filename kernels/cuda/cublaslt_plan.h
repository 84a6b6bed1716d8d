// How cuBLASLt is to compute one kind of product: its descriptors and the chosen algorithm.
#pragma once

#include <cublasLt.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "kernels/cuda/matmul.h"

namespace minichilla::cuda {

/// Throws std::runtime_error that names the function.
void cublas_succeeds(const char* function, cublasStatus_t status);

/// All that an algorithm depends on. Sizes and operands are ours; the library's matrices are column-major, so
/// it computes Cᵀ = op(B)ᵀ · op(A)ᵀ.
struct ProductKey {
  cublasComputeType_t compute;
  cudaDataType_t input, output;
  int rows, columns, depth;
  bool transpose_a, transpose_b;
  std::int64_t leading_a, leading_b, leading_c;
  cublasLtEpilogue_t epilogue;
  bool accumulate;
  unsigned matrix_alignment;  ///< of every matrix, in bytes; at most 256
  unsigned vector_alignment;  ///< of the bias or of row sums; 0 without

  auto operator<=>(const ProductKey&) const = default;
  /// One line of words.
  std::string text() const;
};

/// The largest power of two, at most 256, that divides all the addresses.
unsigned alignment_of(std::initializer_list<const void*> addresses);

/// Of an epilogue; nullptr without.
struct EpiloguePointers {
  void* vector;  ///< bias (columns) or row sums (rows), of the output's type
  void* aux;     ///< GELU's input, with C's leading dimension
};

using AlgorithmWords = std::array<std::uint64_t, 8>;

class ProductPlan {
 public:
  /// Describes the product, without an algorithm.
  ProductPlan(const ProductKey& key, EpiloguePointers pointers);
  ProductPlan(const ProductPlan&) = delete;
  ProductPlan& operator=(const ProductPlan&) = delete;

  /// Takes the library's first choice; false if it has none for this product with this epilogue.
  bool search(cublasLtHandle_t handle, std::size_t workspace_bytes);
  /// Takes an algorithm that was chosen before; throws std::runtime_error where it does not run.
  void use(cublasLtHandle_t handle, const AlgorithmWords& words, std::size_t workspace_bytes);
  AlgorithmWords algorithm() const;

  void run(cudaStream_t stream, cublasLtHandle_t handle, const void* a, const void* b, void* c,
           EpiloguePointers pointers, void* workspace, std::size_t workspace_bytes);

 private:
  void set_pointers(EpiloguePointers pointers);

  ProductKey key_;
  cublasLtMatmulDescOpaque_t operation_;
  cublasLtMatrixLayoutOpaque_t a_, b_, c_;  ///< ours: the library's first operand is b_
  cublasLtMatmulAlgo_t algorithm_;
};

}  // namespace minichilla::cuda
