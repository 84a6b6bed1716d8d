// Matrix products on the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace minichilla {

/// The shapes for which one pass over k, its operands in the first-level cache, is enough. There a product in
/// registers was measured to be 1.1 to 2 times as fast as oneDNN, which repacks both operands; beyond, oneDNN
/// is level or ahead.
struct SmallProducts {
  static constexpr std::size_t kDepth = 96;
  static constexpr std::size_t kNarrow = 32, kNarrowDepth = 320;
  /// c (m,n) = op(a) (m,k) · op(b) (k,n): shape alone decides, so that results have the same bits everywhere.
  static constexpr bool contain(bool transpose_a, std::int64_t n, std::int64_t k) {
    const std::size_t columns = static_cast<std::size_t>(n), depth = static_cast<std::size_t>(k);
    return depth <= kDepth || (!transpose_a && columns <= kNarrow && depth <= kNarrowDepth);
  }
};

enum class Transpose : bool { no, yes };

/// Whether a product replaces its output or adds to it.
enum class Output : bool { replace, add };

/// c (m,n) = or += op(a) (m,k) · op(b) (k,n), row-major with leading dimensions lda, ldb, ldc; op(x) is x or,
/// with Transpose::yes, xᵀ (then a is stored as (k,m), b as (n,k)). c aliases neither a nor b. Throws
/// std::runtime_error when the library refuses.
void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
          const float* a, std::int64_t lda, const float* b, std::int64_t ldb, Output output, float* c,
          std::int64_t ldc);

}  // namespace minichilla
