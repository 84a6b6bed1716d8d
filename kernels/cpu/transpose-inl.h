// Repacking of matrices for vector access. Compiled once per instruction-set path.
#if defined(MINICHILLA_KERNELS_CPU_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MINICHILLA_KERNELS_CPU_TRANSPOSE_INL_H_
#undef MINICHILLA_KERNELS_CPU_TRANSPOSE_INL_H_
#else
#define MINICHILLA_KERNELS_CPU_TRANSPOSE_INL_H_
#endif

#include <cstddef>

#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
/// Rows that transpose_rows takes at a time: as many as a vector has lanes, of 4 and 8.
constexpr std::size_t kTransposeRows = kLanes >= 8 ? 8 : 4;

/// to (columns, to_row) = the transpose of from (kRows, from_row) · scale; kRows is 4 or 8.
template <std::size_t kRows>
HWY_INLINE void transpose_rows(std::size_t columns, const float* from, std::size_t from_row, float scale,
                               float* to, std::size_t to_row) {
  const hn::FixedTag<float, kRows> rows;
  const hn::FixedTag<float, 4> four;
  const auto factor = hn::Set(rows, scale);
  // Four columns of row i and, of 8 rows, of row i + 4.
  const auto load = [&](const float* at, std::size_t i) HWY_ATTR {
    const auto row = hn::LoadU(four, at + i * from_row);
    if constexpr (kRows == 4) {
      return hn::Mul(factor, row);
    } else {
      return hn::Mul(factor, hn::Combine(rows, hn::LoadU(four, at + (i + 4) * from_row), row));
    }
  };
  std::size_t c = 0;
  for (; c + 4 <= columns; c += 4) {
    const auto row0 = load(from + c, 0), row1 = load(from + c, 1), row2 = load(from + c, 2),
               row3 = load(from + c, 3);
    // Both work in each half of 8 rows.
    const auto low02 = hn::InterleaveLower(rows, row0, row2), low13 = hn::InterleaveLower(rows, row1, row3);
    const auto high02 = hn::InterleaveUpper(rows, row0, row2), high13 = hn::InterleaveUpper(rows, row1, row3);
    hn::StoreU(hn::InterleaveLower(rows, low02, low13), rows, to + c * to_row);
    hn::StoreU(hn::InterleaveUpper(rows, low02, low13), rows, to + (c + 1) * to_row);
    hn::StoreU(hn::InterleaveLower(rows, high02, high13), rows, to + (c + 2) * to_row);
    hn::StoreU(hn::InterleaveUpper(rows, high02, high13), rows, to + (c + 3) * to_row);
  }
  for (; c < columns; ++c) {
    for (std::size_t i = 0; i < kRows; ++i) to[c * to_row + i] = scale * from[i * from_row + c];
  }
}
#endif

/// to (columns, to_row)[c][r] = scale · from[r·from_row + c] for r < rows, and zero up to the next multiple
/// of kLanes.
HWY_INLINE void transpose(std::size_t rows, std::size_t columns, const float* from, std::size_t from_row,
                          float scale, float* to, std::size_t to_row) {
  std::size_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; r + kTransposeRows <= rows; r += kTransposeRows) {
    transpose_rows<kTransposeRows>(columns, from + r * from_row, from_row, scale, to + r, to_row);
  }
  for (; r + 4 <= rows; r += 4) {
    transpose_rows<4>(columns, from + r * from_row, from_row, scale, to + r, to_row);
  }
#endif
  for (; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) to[c * to_row + r] = scale * from[r * from_row + c];
  }
  for (; r % kLanes != 0; ++r) {
    for (std::size_t c = 0; c < columns; ++c) to[c * to_row + r] = 0;
  }
}

/// to (rows, to_row) = from (rows, columns), rows from_row apart; zero from `columns` to the next multiple of
/// kLanes.
HWY_INLINE void copy_rows(std::size_t rows, std::size_t columns, const float* from, std::size_t from_row,
                          float* to, std::size_t to_row) {
  for (std::size_t r = 0; r < rows; ++r, from += from_row, to += to_row) {
    for_each_vector(columns, [&](auto access, std::size_t c)
                                 HWY_ATTR { hn::StoreU(access.load(from + c), kFloat, to + c); });
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
