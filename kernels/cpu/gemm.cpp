// Small products in registers, the others by oneDNN.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cpp"

#include "kernels/cpu/gemm.h"

#include <dnnl.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "kernels/cpu/simd_target.h"
// Highway's order: what is compiled once per target follows foreach_target.h.
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "kernels/cpu/product-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace minichilla::HWY_NAMESPACE {

/// Columns of b that are repacked at a time, and floats for them on the stack (40 KB).
constexpr std::size_t kPackedColumns = 48;
constexpr std::size_t kPackedFloats =
    std::max(SmallProducts::kDepth * kPackedColumns, SmallProducts::kNarrowDepth* SmallProducts::kNarrow);

/// op(b)'s columns are repacked where they are not vectors already; a is read where it is.
void small_gemm(bool transpose_a, bool transpose_b, std::size_t m, std::size_t n, std::size_t k,
                const float* a, std::size_t lda, const float* b, std::size_t ldb, Output output, float* c,
                std::size_t ldc) {
  const Broadcasts left{a, transpose_a ? 1 : lda, transpose_a ? lda : 1};
  if (!transpose_b && n % kLanes == 0) {
    product(m, n, k, left, {b, ldb}, output, c, ldc);
    return;
  }
  HWY_ALIGN float packed[kPackedFloats];
  for (std::size_t j = 0; j < n; j += kPackedColumns) {
    const std::size_t columns = std::min(kPackedColumns, n - j), row = round_up(columns, kLanes);
    if (transpose_b) {
      transpose(columns, k, b + j * ldb, ldb, 1.0f, packed, row);
    } else {
      copy_rows(k, columns, b + j, ldb, packed, row);
    }
    product(m, columns, k, left, {packed, row}, output, c + j, ldc);
  }
}

}  // namespace minichilla::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace minichilla {
namespace {

HWY_EXPORT(small_gemm);

}  // namespace

void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, Output output, float* c,
          std::int64_t ldc) {
  const bool turn_a = transpose_a == Transpose::yes, turn_b = transpose_b == Transpose::yes;
  if (SmallProducts::contain(turn_a, n, k)) {
    HWY_DYNAMIC_DISPATCH(small_gemm)
    (turn_a, turn_b, static_cast<std::size_t>(m), static_cast<std::size_t>(n), static_cast<std::size_t>(k), a,
     static_cast<std::size_t>(lda), b, static_cast<std::size_t>(ldb), output, c,
     static_cast<std::size_t>(ldc));
    return;
  }
  const dnnl_status_t status = dnnl_sgemm(turn_a ? 'T' : 'N', turn_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b,
                                          ldb, output == Output::add ? 1.0f : 0.0f, c, ldc);
  if (status != dnnl_success) {
    throw std::runtime_error("dnnl_sgemm refused a product of " + std::to_string(m) + " x " +
                             std::to_string(n) + " x " + std::to_string(k) + ", status " +
                             std::to_string(static_cast<int>(status)));
  }
}

}  // namespace minichilla
#endif
