// Blocks of a product's operands repacked so that a tile reads them in order. Compiled once per
// instruction-set path.
#if defined(MINICHILLA_KERNELS_CPU_GEMM_PACKING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_GEMM_PACKING_INL_H_
#undef MINICHILLA_KERNELS_CPU_GEMM_PACKING_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_GEMM_PACKING_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/product-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

// A tile's sums fill the registers.
constexpr std::size_t kTileRows = kRegisters == 32 ? 14 : 6;
constexpr std::size_t kTileColumns = 2 * kLanes;
/// Rows of a block: whole tiles.
constexpr std::size_t kBlockRows = kGemmRows / kTileRows * kTileRows;
static_assert(kGemmColumns % kTileColumns == 0);

/// Rows that are read at a time. Rows that are a power of two apart lie in the same few sets of a cache: of
/// so few, all that is read stays there until it is used.
constexpr std::size_t kRowsAtOnce = 4;

/// to (kTileRows floats) = from
HWY_INLINE void copy_tile_row(const float* from, float* to) {
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t i = 0; i < kTileRows; ++i) to[i] = from[i];
#else
  const hn::FixedTag<float, 4> four;
  const hn::FixedTag<float, 2> two;
  static_assert(kTileRows % 4 == 2);
  for (std::size_t i = 0; i + 4 <= kTileRows; i += 4) hn::StoreU(hn::LoadU(four, from + i), four, to + i);
  hn::StoreU(hn::LoadU(two, from + kTileRows - 2), two, to + kTileRows - 2);
#endif
}

/// packed, for each kTileRows columns of a (depth, columns): (depth, kTileRows)
HWY_INLINE void pack_left(std::size_t columns, std::size_t depth, const float* a, std::size_t lda,
                          float* packed) {
  for (std::size_t first = 0; first < depth; first += kRowsAtOnce) {
    const std::size_t end = std::min(depth, first + kRowsAtOnce);
    float* to = packed;
    std::size_t i = 0;
    for (; i + kTileRows <= columns; i += kTileRows, to += kTileRows * depth) {
      for (std::size_t p = first; p < end; ++p) copy_tile_row(a + p * lda + i, to + p * kTileRows);
    }
    for (std::size_t p = first; p < end; ++p)
      std::copy(a + p * lda + i, a + p * lda + columns, to + p * kTileRows);
  }
}

/// packed, for each kTileColumns columns of b (depth, columns): (depth, kTileColumns), with zeros after the
/// last column up to a whole vector.
HWY_INLINE void pack_right_rows(std::size_t columns, std::size_t depth, const float* b, std::size_t ldb,
                                float* packed) {
  for (std::size_t first = 0; first < depth; first += kRowsAtOnce) {
    const std::size_t end = std::min(depth, first + kRowsAtOnce);
    float* to = packed;
    std::size_t j = 0;
    for (; j + kTileColumns <= columns; j += kTileColumns, to += kTileColumns * depth) {
      for (std::size_t p = first; p < end; ++p) {
        const float* from = b + p * ldb + j;
        hn::StoreU(hn::LoadU(kFloat, from), kFloat, to + p * kTileColumns);
        hn::StoreU(hn::LoadU(kFloat, from + kLanes), kFloat, to + p * kTileColumns + kLanes);
      }
    }
    if (j < columns) {
      copy_rows(end - first, columns - j, b + first * ldb + j, ldb, to + first * kTileColumns, kTileColumns);
    }
  }
}

/// packed, for each kTileColumns of the columns [column, column + columns) of op(b), its rows [first, first +
/// depth): (depth, kTileColumns).
HWY_INLINE void pack_right(const Product& product, std::size_t column, std::size_t columns, std::size_t first,
                           std::size_t depth, float* packed) {
  if (product.transpose_b == Transpose::no) {
    pack_right_rows(columns, depth, product.b + first * product.ldb + column, product.ldb, packed);
    return;
  }
  for (std::size_t j = 0; j < columns; j += kTileColumns, packed += kTileColumns * depth) {
    transpose(std::min(kTileColumns, columns - j), depth, product.b + (column + j) * product.ldb + first,
              product.ldb, 1.0f, packed, kTileColumns);
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
