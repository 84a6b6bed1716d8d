#include "kernels/cpu/gemm.h"

#include <limits>

#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"

namespace minichilla {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

class Gemm : public EveryTarget {};

/// c += op(a)·op(b) in plain loops.
template <class Real>
void add_product(bool turn_a, bool turn_b, int m, int n, int k, const std::vector<Real>& a, int lda,
                 const std::vector<Real>& b, int ldb, std::vector<Real>& c, int ldc) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      Real sum = 0;
      for (int p = 0; p < k; ++p) {
        sum += a[static_cast<std::size_t>(turn_a ? p * lda + i : i * lda + p)] *
               b[static_cast<std::size_t>(turn_b ? j * ldb + p : p * ldb + j)];
      }
      c[static_cast<std::size_t>(i * ldc + j)] += sum;
    }
  }
}

/// Shapes on both sides of every limit (k = 96, n = 32, k = 320), prime and tiny ones; rows are longer than
/// needed, and what lies between them is NaN in the operands and must stay as it is in the result.
TEST_P(Gemm, AgreesWithPlainLoopsInEveryForm) {
  struct Shape {
    int m, n, k;
  };
  for (const auto& [m, n, k] : {Shape{1, 1, 1},
                                {5, 3, 2},
                                {64, 48, 16},
                                {13, 257, 24},
                                {67, 16, 96},
                                {31, 17, 97},
                                {9, 32, 257},
                                {10, 33, 257},
                                {7, 24, 321},
                                {257, 24, 120},
                                {8, 8, 8},
                                {23, 49, 95}}) {
    for (int form = 0; form < 8; ++form) {
      const bool turn_a = (form & 1) != 0, turn_b = (form & 2) != 0, add = (form & 4) != 0;
      SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << " form " << form);
      const int a_columns = turn_a ? m : k, b_columns = turn_b ? k : n;
      const int lda = a_columns + 3, ldb = b_columns + 5, ldc = n + 7;
      FloatArray a = random_array(static_cast<std::size_t>((turn_a ? k : m) * lda), 1);
      FloatArray b = random_array(static_cast<std::size_t>((turn_b ? n : k) * ldb), 2);
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (static_cast<int>(i) % lda >= a_columns) a[i] = kNaN;
      }
      for (std::size_t i = 0; i < b.size(); ++i) {
        if (static_cast<int>(i) % ldb >= b_columns) b[i] = kNaN;
      }
      const FloatArray before = random_array(static_cast<std::size_t>(m * ldc), 3);
      FloatArray actual = before, naive = before;
      if (!add) {
        for (std::size_t i = 0; i < naive.size(); ++i) {
          if (static_cast<int>(i) % ldc < n) naive[i] = 0;
        }
      }
      DoubleArray exact = widen(naive);
      add_product(turn_a, turn_b, m, n, k, a, lda, b, ldb, naive, ldc);
      add_product(turn_a, turn_b, m, n, k, widen(a), lda, widen(b), ldb, exact, ldc);
      on_lane([&](Lane&) {
        gemm(turn_a ? Transpose::yes : Transpose::no, turn_b ? Transpose::yes : Transpose::no, m, n, k,
             a.data(), lda, b.data(), ldb, add ? Output::add : Output::replace, actual.data(), ldc);
      });
      expect_accurate("product", actual, exact, naive);
      for (std::size_t i = 0; i < actual.size(); ++i) {
        if (static_cast<int>(i) % ldc >= n) {
          ASSERT_EQ(actual[i], before[i]) << i;
        }
      }
    }
  }
}

MINICHILLA_ON_EVERY_TARGET(Gemm);

}  // namespace
}  // namespace minichilla
