#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"

namespace minichilla::gemm_test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

class Gemm : public EveryTarget {
 protected:
  Gemm() { std::fill_n(workspace_, kGemmWorkspace, kNaN); }

  using Multiply = std::function<void(const Product&, BlockDone)>;

  void expect_agreement_with_plain_loops(const Multiply& multiply, bool bf16);

  /// gemm in fp32.
  Multiply in_fp32() {
    return
        [this](const Product& product, BlockDone done) { gemm(Precision::fp32, product, workspace_, done); };
  }
  /// gemm in bf16, in each way that this processor and path have.
  std::vector<Multiply> in_bf16() {
    std::vector<Multiply> ways;
    for (const Bf16Products way :
         {Bf16Products::fp32_arithmetic, Bf16Products::dot_products, Bf16Products::tiles}) {
      if (way > cpu_bf16_products()) break;
      ways.push_back(
          [this, way](const Product& product, BlockDone done) { gemm_bf16(way, product, workspace_, done); });
    }
    return ways;
  }

  /// A device's memory is aligned as a product wants it.
  Buffer memory_ = device_->allocate(kGemmWorkspace * sizeof(float));
  float* workspace_ = memory_.as<float>();
};

std::size_t size(int n) {
  return static_cast<std::size_t>(n);
}

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

/// Shapes on both sides of every limit (k of 256, m of 96, n of 64, 128 and 1024), prime and tiny ones; rows
/// are longer than needed, and what lies between them is NaN in the operands and must stay as it is in the
/// result. With bf16 the loops multiply rounded operands.
void Gemm::expect_agreement_with_plain_loops(const Multiply& multiply, bool bf16) {
  struct Shape {
    int m, n, k;
  };
  for (const auto& [m, n, k] : {Shape{1, 1, 1},
                                {5, 3, 2},
                                {64, 48, 16},
                                {13, 257, 24},
                                {96, 64, 256},
                                {97, 65, 257},
                                {193, 130, 30},
                                {5, 1027, 9},
                                {100, 17, 515},
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
      const FloatArray a_read = bf16 ? rounded_to_bf16(a) : a, b_read = bf16 ? rounded_to_bf16(b) : b;
      const FloatArray before = random_array(static_cast<std::size_t>(m * ldc), 3);
      FloatArray actual = before, naive = before;
      const FloatArray bias = random_array(size(n), 4);
      if (!add) {
        for (std::size_t i = 0; i < naive.size(); ++i) {
          const std::size_t column = i % size(ldc);
          if (column < size(n)) naive[i] = bias[column];
        }
      }
      DoubleArray exact = widen(naive);
      add_product(turn_a, turn_b, m, n, k, a_read, lda, b_read, ldb, naive, ldc);
      add_product(turn_a, turn_b, m, n, k, widen(a_read), lda, widen(b_read), ldb, exact, ldc);
      multiply({turn_a ? Transpose::yes : Transpose::no, turn_b ? Transpose::yes : Transpose::no, size(m),
                size(n), size(k), a.data(), size(lda), b.data(), size(ldb),
                add ? Output::add : Output::replace, actual.data(), size(ldc), add ? nullptr : bias.data()},
               {});
      expect_accurate("product", actual, exact, naive);
      for (std::size_t i = 0; i < actual.size(); ++i) {
        if (static_cast<int>(i) % ldc >= n) {
          ASSERT_EQ(actual[i], before[i]) << i;
        }
      }
    }
  }
}

TEST_P(Gemm, AgreesWithPlainLoopsInEveryForm) {
  expect_agreement_with_plain_loops(in_fp32(), false);
}

TEST_P(Gemm, InBf16AgreesWithPlainLoopsOverRoundedOperands) {
  for (const Multiply& multiply : in_bf16()) expect_agreement_with_plain_loops(multiply, true);
}

/// Halfway between two bf16 numbers, beside it, the largest fp32 number, and what is no number.
TEST_P(Gemm, RoundsToBf16ToNearestWithTiesToEven) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  FloatArray values;
  for (const std::uint32_t bits : {0x3f808000U, 0x3f818000U, 0x3f808001U, 0x3f807fffU, 0xbf818000U,
                                   0x7f7f7fffU, 0x7f7fffffU, 0x00800000U, 0x00818000U, 0U}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  const FloatArray expected = rounded_to_bf16(values);
  EXPECT_EQ(expected[6], kInfinity);
  values.insert(values.end(), {kInfinity, -kInfinity});
  for (const std::uint32_t bits : {0x7f800001U, 0x7fffffffU, 0xffffffffU}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  const FloatArray one(1, 1.0f);
  for (const Multiply& multiply : in_bf16()) {
    for (int form = 0; form < 8; ++form) {
      const bool left = (form & 1) != 0;
      const Transpose turn_a = (form & 2) != 0 ? Transpose::yes : Transpose::no,
                      turn_b = (form & 4) != 0 ? Transpose::yes : Transpose::no;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float *const a = left ? &values[i] : one.data(), *const b = left ? one.data() : &values[i];
        float c = 7;
        multiply({turn_a, turn_b, 1, 1, 1, a, 1, b, 1, Output::replace, &c, 1}, {});
        SCOPED_TRACE(testing::Message() << i << " form " << form);
        if (i < expected.size()) {
          EXPECT_EQ(c, expected[i]);
        } else if (i < expected.size() + 2) {
          EXPECT_EQ(c, values[i]);
        } else {
          EXPECT_TRUE(std::isnan(c)) << c;
        }
      }
    }
  }
}

/// Each block is handed on once, and complete: what is done with it then is not overwritten.
TEST_P(Gemm, HandsOnEachBlockWhenItIsComplete) {
  const std::size_t m = 200, n = 1100, k = 300;
  const FloatArray a(m * k, 1.0f), b(k * n, 0.5f);
  FloatArray c(m * n, 7.0f);
  const auto negate = [&](const ProductBlock& block) {
    for (std::size_t i = block.row; i < block.row + block.rows; ++i) {
      for (std::size_t j = block.column; j < block.column + block.columns; ++j) c[i * n + j] *= -1;
    }
  };
  std::vector<Multiply> ways = in_bf16();
  ways.push_back(in_fp32());
  for (const Multiply& multiply : ways) {
    multiply({Transpose::no, Transpose::no, m, n, k, a.data(), k, b.data(), n, Output::replace, c.data(), n},
             BlockDone(negate));
    EXPECT_EQ(c, FloatArray(m * n, -150.0f));
  }
}

MINICHILLA_ON_EVERY_TARGET(Gemm);

}  // namespace
}  // namespace minichilla::gemm_test
