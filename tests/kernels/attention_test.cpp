#include <limits>

#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla::attention_test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

AttentionShape dense(int B, int T, int H, int D) {
  return {B, T, H, D, AttentionPattern::dense()};
}
AttentionShape banded(int B, int T, int H, int D, int window) {
  return {B, T, H, D, AttentionPattern::banded(window)};
}

std::size_t out_size(const AttentionShape& s) {
  return static_cast<std::size_t>(s.B * s.T * s.H * s.D);
}
std::size_t rows(const AttentionShape& s) {
  return static_cast<std::size_t>(s.B * s.H * s.T);
}

class Attention : public EveryTarget {
 protected:
  /// Scratch starts as NaN and is exactly as long as was asked for, with a guard behind it.
  FloatArray scratch(const AttentionShape& shape) const {
    FloatArray memory(ops().attention_scratch(shape) / sizeof(float), kNaN);
    memory.insert(memory.end(), 16, 42.0f);
    return memory;
  }

  void expect_guard(const FloatArray& memory) const {
    for (std::size_t i = memory.size() - 16; i < memory.size(); ++i) EXPECT_EQ(memory[i], 42.0f);
  }

  reference::Attention<float> forward(const AttentionShape& shape, const FloatArray& qkv) {
    reference::Attention<float> result{FloatArray(out_size(shape), kNaN), FloatArray(rows(shape), kNaN)};
    FloatArray memory = scratch(shape);
    on_lane([&](Lane& lane) {
      ops().attention(lane, shape, qkv.data(), result.out.data(), result.log_sum_exp.data(), memory.data());
    });
    expect_guard(memory);
    return result;
  }

  FloatArray backward(const AttentionShape& shape, const FloatArray& qkv,
                      const reference::Attention<float>& result, const FloatArray& d_out) {
    FloatArray d_qkv(qkv.size(), kNaN), memory = scratch(shape);
    on_lane([&](Lane& lane) {
      ops().attention_backward(lane, shape, qkv.data(), result.out.data(), result.log_sum_exp.data(),
                               d_out.data(), d_qkv.data(), memory.data());
    });
    expect_guard(memory);
    return d_qkv;
  }

  void check(const AttentionShape& shape, float deviation = 1) {
    SCOPED_TRACE(testing::Message() << "B=" << shape.B << " T=" << shape.T << " H=" << shape.H
                                    << " D=" << shape.D << " W=" << shape.pattern.window()
                                    << " deviation=" << deviation);
    const FloatArray qkv = random_array(3 * out_size(shape), 1, deviation),
                     d_out = random_array(out_size(shape), 2);
    const auto actual = forward(shape, qkv);
    const auto exact = reference::attention(shape, widen(qkv));
    const auto naive = reference::attention(shape, qkv);
    expect_accurate("out", actual.out, exact.out, naive.out);
    expect_accurate("log_sum_exp", actual.log_sum_exp, exact.log_sum_exp, naive.log_sum_exp);
    expect_accurate("d_qkv", backward(shape, qkv, actual, d_out),
                    reference::attention_backward(shape, widen(qkv), exact, widen(d_out)),
                    reference::attention_backward(shape, qkv, naive, d_out));
  }
};

TEST_P(Attention, DenseAgreesWithTheReference) {
  for (const AttentionShape& shape :
       {dense(1, 1, 1, 1), dense(2, 13, 3, 5), dense(1, 31, 1, 24), dense(2, 64, 2, 8), dense(1, 67, 2, 12),
        dense(1, 97, 1, 16), dense(1, 40, 2, 64), dense(1, 33, 1, 127), dense(3, 7, 4, 3),
        dense(1, 8, 1, 40)}) {
    check(shape);
  }
}

TEST_P(Attention, BandedAgreesWithTheReference) {
  for (const AttentionShape& shape :
       {banded(1, 1, 1, 4, 1), banded(2, 67, 2, 12, 1), banded(1, 64, 2, 8, 16), banded(1, 97, 3, 7, 13),
        banded(1, 70, 1, 33, 9), banded(1, 128, 2, 16, 32), banded(2, 41, 1, 24, 40),
        banded(1, 131, 1, 8, 2)}) {
    check(shape);
  }
}

TEST_P(Attention, LargeScoresAgreeWithTheReference) {
  check(dense(4, 67, 4, 16), 6);
  check(banded(4, 67, 4, 16, 5), 6);
}

TEST_P(Attention, AWindowOfAtLeastTIsDense) {
  const FloatArray qkv = random_array(3 * 2 * 29 * 3 * 8, 5), d_out = random_array(2 * 29 * 3 * 8, 6);
  const auto expected = forward(dense(2, 29, 3, 8), qkv);
  const FloatArray d_expected = backward(dense(2, 29, 3, 8), qkv, expected, d_out);
  for (const int window : {29, 30, 1000, std::numeric_limits<int>::max()}) {
    const auto actual = forward(banded(2, 29, 3, 8, window), qkv);
    EXPECT_EQ(actual.out, expected.out) << window;
    EXPECT_EQ(actual.log_sum_exp, expected.log_sum_exp) << window;
    EXPECT_EQ(backward(banded(2, 29, 3, 8, window), qkv, actual, d_out), d_expected) << window;
  }
}

TEST_P(Attention, AWindowOfOneCopiesTheValues) {
  const AttentionShape shape = banded(1, 19, 2, 5, 1);
  const FloatArray qkv = random_array(3 * out_size(shape), 7), d_out = random_array(out_size(shape), 8);
  const auto result = forward(shape, qkv);
  const FloatArray d_qkv = backward(shape, qkv, result, d_out);
  for (int t = 0; t < shape.T; ++t) {
    for (int h = 0; h < shape.H; ++h) {
      for (int d = 0; d < shape.D; ++d) {
        const std::size_t i = reference::out_index(shape, 0, t, h, d);
        EXPECT_EQ(result.out[i], qkv[reference::qkv_index(shape, 0, t, 2, h, d)]);
        EXPECT_NEAR(d_qkv[reference::qkv_index(shape, 0, t, 2, h, d)], d_out[i], 1e-6f * std::abs(d_out[i]));
        EXPECT_NEAR(d_qkv[reference::qkv_index(shape, 0, t, 0, h, d)], 0, 1e-5f);
      }
    }
  }
}

TEST_P(Attention, EqualScoresGiveTheMeanWhateverTheirSize) {
  for (const float magnitude : {0.0f, 1.0f, 1e15f}) {
    const AttentionShape shape = dense(1, 50, 1, 8);
    FloatArray qkv(3 * out_size(shape));
    for (int t = 0; t < shape.T; ++t) {
      for (int d = 0; d < shape.D; ++d) {
        qkv[reference::qkv_index(shape, 0, t, 0, 0, d)] =
            magnitude;  // scores of −1e30 · sqrt(8) at the largest
        qkv[reference::qkv_index(shape, 0, t, 1, 0, d)] = -magnitude;
        qkv[reference::qkv_index(shape, 0, t, 2, 0, d)] = static_cast<float>(t);
      }
    }
    const auto result = forward(shape, qkv);
    for (int t = 0; t < shape.T; ++t) {
      EXPECT_NEAR(result.out[reference::out_index(shape, 0, t, 0, 3)], static_cast<float>(t) / 2, 2e-5f)
          << magnitude;
    }
    for (const float d : backward(shape, qkv, result, FloatArray(out_size(shape), 1.0f))) {
      EXPECT_TRUE(std::isfinite(d));
    }
  }
}

TEST_P(Attention, OneDominantKeyTakesAll) {
  const AttentionShape shape = dense(1, 20, 1, 4);
  FloatArray qkv(3 * out_size(shape), 0.0f);
  for (int t = 0; t < shape.T; ++t) {
    qkv[reference::qkv_index(shape, 0, t, 0, 0, 0)] = 1e4f;
    qkv[reference::qkv_index(shape, 0, t, 1, 0, 0)] = t == 3 ? 1e4f : -1e4f;
    qkv[reference::qkv_index(shape, 0, t, 2, 0, 1)] = static_cast<float>(t + 1);
  }
  const auto result = forward(shape, qkv);
  for (int t = 3; t < shape.T; ++t) EXPECT_EQ(result.out[reference::out_index(shape, 0, t, 0, 1)], 4.0f) << t;
}

/// Keys and values that no query of a later tile may see are not touched for it: NaN there stays where it is.
TEST_P(Attention, WhatLiesOutsideTheBandIsNotTouched) {
  const AttentionShape shape = banded(1, 256, 2, 12, 16);
  FloatArray qkv = random_array(3 * out_size(shape), 9);
  for (int t = 0; t < 40; ++t) {
    for (int d = 0; d < shape.D; ++d) {
      qkv[reference::qkv_index(shape, 0, t, 1, 1, d)] = kNaN;
      qkv[reference::qkv_index(shape, 0, t, 2, 1, d)] = kNaN;
    }
  }
  const auto result = forward(shape, qkv);
  const FloatArray d_qkv = backward(shape, qkv, result, random_array(out_size(shape), 10));
  for (int t = 0; t < shape.T; ++t) {
    for (int d = 0; d < shape.D; ++d) {
      EXPECT_TRUE(std::isfinite(result.out[reference::out_index(shape, 0, t, 0, d)]))
          << "other head, query " << t;
      if (t < 40) {
        EXPECT_TRUE(std::isnan(result.out[reference::out_index(shape, 0, t, 1, d)])) << t;
      }
      if (t < 96) continue;
      EXPECT_TRUE(std::isfinite(result.out[reference::out_index(shape, 0, t, 1, d)])) << t;
      for (int part = 0; part < 3; ++part) {
        EXPECT_TRUE(std::isfinite(d_qkv[reference::qkv_index(shape, 0, t, part, 1, d)])) << t;
      }
    }
  }
}

TEST_P(Attention, AFutureKeyDoesNotReachEarlierTiles) {
  const AttentionShape shape = dense(1, 128, 1, 8);
  FloatArray qkv = random_array(3 * out_size(shape), 11);
  const auto before = forward(shape, qkv);
  for (int part = 0; part < 3; ++part) qkv[reference::qkv_index(shape, 0, 100, part, 0, 0)] = kNaN;
  const auto after = forward(shape, qkv);
  for (std::size_t i = 0; i < 96 * 8; ++i) EXPECT_EQ(after.out[i], before.out[i]) << i;
  for (std::size_t i = 100 * 8; i < 128 * 8; ++i) EXPECT_TRUE(std::isnan(after.out[i])) << i;
}

TEST_P(Attention, ScratchGrowsWithTAndNotWithItsSquare) {
  const std::size_t one = ops().attention_scratch(dense(1, 1024, 4, 64));
  EXPECT_LE(ops().attention_scratch(dense(1, 2048, 4, 64)), 2 * one);
  EXPECT_EQ(ops().attention_scratch(dense(8, 1024, 16, 64)), one);
}

MINICHILLA_ON_EVERY_TARGET(Attention);

}  // namespace
}  // namespace minichilla::attention_test
