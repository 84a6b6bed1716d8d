// Matrix products on the calling thread, with Goto's blocks (Goto & van de Geijn 2008): panels of b that stay
// in the first-level cache, blocks of a in the second, and tiles of c in registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu_bf16.h"
#include "kernels/precision.h"

namespace minichilla {

enum class Transpose : bool { no, yes };

/// Whether a product replaces its output or adds to it.
enum class Output : bool { replace, add };

/// c (m,n) = or += op(a) (m,k) · op(b) (k,n), row-major with leading dimensions lda, ldb, ldc; op(x) is x or,
/// with Transpose::yes, xᵀ (then a is stored as (k,m), b as (n,k)). c aliases neither a nor b.
struct Product {
  Transpose transpose_a, transpose_b;
  std::size_t m, n, k;
  const float* a;
  std::size_t lda;
  const float* b;
  std::size_t ldb;
  Output output;
  float* c;
  std::size_t ldc;
  const float* bias = nullptr;  ///< (n), with Output::replace: added to each row
};

/// Rows [row, row + rows) and columns [column, column + columns) of c.
struct ProductBlock {
  std::size_t row, rows, column, columns;
};

/// What is to be done with each block of c as soon as it is complete, while it is in cache. Refers to a
/// function object that outlives the product.
class BlockDone {
 public:
  BlockDone() = default;
  template <class Work>
  explicit BlockDone(const Work& work)
      : work_(&work),
        call_([](const void* of, const ProductBlock& block) { (*static_cast<const Work*>(of))(block); }) {}
  void operator()(const ProductBlock& block) const {
    if (call_ != nullptr) call_(work_, block);
  }

 private:
  const void* work_ = nullptr;
  void (*call_)(const void*, const ProductBlock&) = nullptr;
};

/// Of a block: terms of a sum (a panel of b fills half of a first-level cache), rows of a, columns of b (of
/// bf16 twice as many, in the same room).
constexpr std::size_t kGemmDepth = 256, kGemmRows = 96, kGemmColumns = 512;
/// Floats, 64-byte aligned, into which gemm repacks blocks of its operands.
constexpr std::size_t kGemmWorkspace = kGemmDepth * (kGemmColumns + kGemmRows);

/// Each element is the sum, in ascending order of k, of sums of at most kGemmDepth terms (by tiles one sum,
/// in pieces of 32 terms): its bits depend on k and on the instruction-set path alone. k ≥ 1. With
/// Precision::bf16 a and b are rounded to bf16 before they are multiplied, and sums are fp32; tf32 is fp32
/// here.
void gemm(Precision precision, const Product& product, float* workspace, BlockDone done = {});

/// gemm with Precision::bf16 in one of the ways that this processor and instruction-set path have
/// (cpu_bf16_products()), which differ in how they add up.
void gemm_bf16(Bf16Products products, const Product& product, float* workspace, BlockDone done = {});

}  // namespace minichilla
