#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cpp"

#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/gemm_packing-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// Columns of c that are complete before they are handed on: with kGemmRows rows they fit the cache.
constexpr std::size_t kGroupColumns = 128;
/// Up to so many columns of c, repacking aᵀ costs more than reading it where it is.
constexpr std::size_t kNarrowColumns = 64;

/// A panel of b (k, n ≤ kTileColumns) with the rows of a block of a, which is packed when `packed`.
template <int kVectors>
HWY_NOINLINE void multiply_panel(bool packed, std::size_t rows, std::size_t n, std::size_t k, Broadcasts a,
                                 const float* b, Output output, float* c, std::size_t ldc) {
  const Panels panel{b, kTileColumns};
  if (packed) {
    // Strides that the compiler knows.
    product_block<kTileRows, kVectors>(rows, n, k, {a.data, 1, kTileRows}, kTileRows * k, panel, output, c,
                                       ldc);
  } else {
    product_block<kTileRows, kVectors>(rows, n, k, a, kTileRows * a.row, panel, output, c, ldc);
  }
}

/// Terms [first, first + depth) of the sums.
struct Terms {
  std::size_t first, depth;
};

/// Rows and columns of `block` += the products of `terms`, b's columns in `right`.
void multiply_block(const Product& product, const ProductBlock& block, Terms terms, float* left,
                    const float* right, const BlockDone& done) {
  const bool turned = product.transpose_a == Transpose::yes;
  Broadcasts a{
      product.a + (turned ? terms.first * product.lda + block.row : block.row * product.lda + terms.first),
      turned ? 1 : product.lda, turned ? product.lda : 1};
  const bool packed = turned && product.n > kNarrowColumns;
  if (packed) {
    pack_left(block.rows, terms.depth, a.data, product.lda, left);
    a.data = left;
  }
  const Output output = terms.first == 0 ? product.output : Output::add;
  float* const c = product.c + block.row * product.ldc + block.column;
  for (std::size_t group = 0; group < block.columns; group += kGroupColumns) {
    const std::size_t end = std::min(block.columns, group + kGroupColumns);
    for (std::size_t j = group; j < end; j += kTileColumns) {
      const std::size_t width = std::min(kTileColumns, end - j);
      const auto multiply = width > kLanes ? &multiply_panel<2> : &multiply_panel<1>;
      multiply(packed, block.rows, width, terms.depth, a, right + j * terms.depth, output, c + j,
               product.ldc);
    }
    if (terms.first + terms.depth == product.k) {
      done({block.row, block.rows, block.column + group, end - group});
    }
  }
}

void multiply(const Product& product, float* workspace, const BlockDone& done) {
  float* const right = workspace;
  float* const left = workspace + kGemmDepth * kGemmColumns;
  const std::size_t rounds = (product.k + kGemmDepth - 1) / kGemmDepth;
  const std::size_t step = round_up((product.k + rounds - 1) / rounds, 8);
  for (std::size_t column = 0; column < product.n; column += kGemmColumns) {
    const std::size_t columns = std::min(kGemmColumns, product.n - column);
    for (std::size_t first = 0; first < product.k; first += step) {
      const Terms terms{first, std::min(step, product.k - first)};
      pack_right(product, column, columns, terms.first, terms.depth, right);
      for (std::size_t row = 0; row < product.m; row += kBlockRows) {
        const std::size_t rows = std::min(kBlockRows, product.m - row);
        multiply_block(product, {row, rows, column, columns}, terms, left, right, done);
      }
    }
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(multiply);

}  // namespace

void gemm(const Product& product, float* workspace, BlockDone done) {
  HWY_DYNAMIC_DISPATCH(multiply)(product, workspace, done);
}

}  // namespace minichilla
#endif
