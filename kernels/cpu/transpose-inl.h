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
/// to (4, to_row) = the transpose of from (4, from_row) · scale
HWY_INLINE void transpose_4x4(const float* from, std::size_t from_row, float scale, float* to,
                              std::size_t to_row) {
  const hn::FixedTag<float, 4> four;
  const auto factor = hn::Set(four, scale);
  const auto row0 = hn::Mul(factor, hn::LoadU(four, from));
  const auto row1 = hn::Mul(factor, hn::LoadU(four, from + from_row));
  const auto row2 = hn::Mul(factor, hn::LoadU(four, from + 2 * from_row));
  const auto row3 = hn::Mul(factor, hn::LoadU(four, from + 3 * from_row));
  const auto low02 = hn::InterleaveLower(four, row0, row2), low13 = hn::InterleaveLower(four, row1, row3);
  const auto high02 = hn::InterleaveUpper(four, row0, row2), high13 = hn::InterleaveUpper(four, row1, row3);
  hn::StoreU(hn::InterleaveLower(four, low02, low13), four, to);
  hn::StoreU(hn::InterleaveUpper(four, low02, low13), four, to + to_row);
  hn::StoreU(hn::InterleaveLower(four, high02, high13), four, to + 2 * to_row);
  hn::StoreU(hn::InterleaveUpper(four, high02, high13), four, to + 3 * to_row);
}
#endif

/// to (columns, to_row)[c][r] = scale · from[r·from_row + c] for r < rows, and zero up to the next multiple
/// of kLanes.
HWY_INLINE void transpose(std::size_t rows, std::size_t columns, const float* from, std::size_t from_row,
                          float scale, float* to, std::size_t to_row) {
  std::size_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  for (; r + 4 <= rows; r += 4) {
    const float* row = from + r * from_row;
    std::size_t c = 0;
    for (; c + 4 <= columns; c += 4) transpose_4x4(row + c, from_row, scale, to + c * to_row + r, to_row);
    for (; c < columns; ++c) {
      for (std::size_t i = 0; i < 4; ++i) to[c * to_row + r + i] = scale * row[i * from_row + c];
    }
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
