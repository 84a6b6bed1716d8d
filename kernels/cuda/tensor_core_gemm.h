// Matrix products of bf16 on tensor cores.
#pragma once

#include "kernels/cuda/matmul.h"

namespace minichilla::cuda {

/// C is computed in square tiles, one by each block. The bits of the sums do not depend on the tile.
enum class ProductTile {
  kFitting,  ///< the large one if that makes enough blocks to fill a GPU
  kSmall,    ///< 64 × 64
  kLarge,    ///< 128 × 128
};

/// mma.sync with fp32 accumulators: every sum is added up in order of depth. Any leading dimension is right;
/// those of a and b with 16-byte aligned rows are fast (the others are loaded element by element). Product
/// may not be transposed on both sides (std::invalid_argument).
class TensorCoreGemm final : public Matmul<__nv_bfloat16> {
 public:
  explicit TensorCoreGemm(ProductTile tile = ProductTile::kFitting) : tile_(tile) {}

  void multiply(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                Matrix<const __nv_bfloat16> b, Matrix<__nv_bfloat16> c,
                const Epilogue<__nv_bfloat16>& epilogue) override;
  void multiply_fp32(cudaStream_t stream, const Product& product, Matrix<const __nv_bfloat16> a,
                     Matrix<const __nv_bfloat16> b, Matrix<float> c, bool accumulate,
                     float* row_sums) override;

 private:
  ProductTile tile_;
};

}  // namespace minichilla::cuda
