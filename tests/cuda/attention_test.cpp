#include "kernels/cuda/attention.h"

#include <limits>
#include <type_traits>

#include "ptxrun_counters.h"
#include "tests/cuda/device_array.h"
#include "tests/kernels/random_arrays.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla {
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

using Result = reference::Attention<float>;

template <class Real>
class CudaAttention : public testing::Test {
 protected:
  /// eps of the tolerance rule.
  static constexpr double kEps = sizeof(Real) == 2 ? 1.0 / 128 : std::numeric_limits<float>::epsilon();

  /// With `shift` the arrays of Real start so many elements behind an allocation.
  static Result forward(const AttentionShape& shape, const FloatArray& qkv, std::size_t shift = 0) {
    const DeviceArray<Real> device_qkv(shifted(qkv, shift)), out(shift + out_size(shape));
    const DeviceArray<float> log_sum_exp(rows(shape));
    cuda::attention(nullptr, shape, device_qkv.data() + shift, out.data() + shift, log_sum_exp.data());
    return {without_shift(out.floats(), shift), log_sum_exp.floats()};
  }

  static FloatArray backward(const AttentionShape& shape, const FloatArray& qkv, const Result& result,
                             const FloatArray& d_out, std::size_t shift = 0) {
    const DeviceArray<Real> device_qkv(shifted(qkv, shift)), out(shifted(result.out, shift)),
        device_d_out(shifted(d_out, shift)), d_qkv(shift + qkv.size());
    const DeviceArray<float> log_sum_exp(result.log_sum_exp),
        scratch(static_cast<std::size_t>(cuda::attention_backward_scratch(shape)));
    cuda::attention_backward(nullptr, shape, device_qkv.data() + shift, out.data() + shift,
                             log_sum_exp.data(), device_d_out.data() + shift, d_qkv.data() + shift,
                             scratch.data());
    return without_shift(d_qkv.floats(), shift);
  }

  static void check(const AttentionShape& shape, float deviation = 1, std::size_t shift = 0) {
    SCOPED_TRACE(testing::Message() << "B=" << shape.B << " T=" << shape.T << " H=" << shape.H
                                    << " D=" << shape.D << " W=" << shape.pattern.window()
                                    << " deviation=" << deviation << " shift=" << shift);
    const FloatArray qkv = rounded<Real>(random_array(3 * out_size(shape), 1, deviation)),
                     d_out = rounded<Real>(random_array(out_size(shape), 2));
    const Result actual = forward(shape, qkv, shift), naive = reference::attention(shape, qkv);
    const auto exact = reference::attention(shape, widen(qkv));
    expect_accurate("out", actual.out, exact.out, rounded<Real>(naive.out), kEps);
    expect_accurate("log_sum_exp", actual.log_sum_exp, exact.log_sum_exp, naive.log_sum_exp);
    expect_accurate("d_qkv", backward(shape, qkv, actual, d_out, shift),
                    reference::attention_backward(shape, widen(qkv), exact, widen(d_out)),
                    rounded<Real>(reference::attention_backward(shape, qkv, naive, d_out)), kEps);
  }

 private:
  static FloatArray shifted(const FloatArray& values, std::size_t shift) {
    FloatArray result(shift, kNaN);
    result.insert(result.end(), values.begin(), values.end());
    return result;
  }
  static FloatArray without_shift(const FloatArray& values, std::size_t shift) {
    return {values.begin() + static_cast<std::ptrdiff_t>(shift), values.end()};
  }
};

struct TypeNames {
  template <class Real>
  static std::string GetName(int) {
    return sizeof(Real) == 2 ? "bf16" : "fp32";
  }
};
using Types = testing::Types<float, __nv_bfloat16>;
TYPED_TEST_SUITE(CudaAttention, Types, TypeNames);

TYPED_TEST(CudaAttention, DenseAgreesWithTheReference) {
  for (const AttentionShape& shape :
       {dense(1, 1, 1, 1), dense(2, 13, 3, 5), dense(1, 140, 1, 16), dense(1, 31, 2, 24), dense(1, 67, 1, 64),
        dense(1, 37, 1, 80), dense(1, 33, 1, 96), dense(1, 70, 1, 128), dense(1, 9, 2, 127)}) {
    this->check(shape);
  }
}

TYPED_TEST(CudaAttention, BandedAgreesWithTheReference) {
  for (const AttentionShape& shape :
       {banded(1, 1, 1, 4, 1), banded(1, 67, 2, 3, 1), banded(1, 150, 1, 8, 7), banded(1, 131, 1, 16, 130),
        banded(1, 200, 1, 16, 64), banded(1, 97, 1, 64, 33), banded(1, 70, 1, 128, 20),
        banded(2, 41, 1, 2, 40)}) {
    this->check(shape);
  }
}

TYPED_TEST(CudaAttention, LargeScoresAgreeWithTheReference) {
  this->check(dense(1, 67, 1, 16), 6);
  this->check(banded(1, 67, 1, 16, 5), 6);
}

TYPED_TEST(CudaAttention, RowsNeedNotBeAligned) {
  this->check(banded(1, 39, 1, 32, 21), 1, 1);
}

TYPED_TEST(CudaAttention, AWindowOfAtLeastTIsDense) {
  const AttentionShape shape = dense(2, 39, 1, 8);
  const FloatArray qkv = random_array(3 * out_size(shape), 5), d_out = random_array(out_size(shape), 6);
  const Result expected = this->forward(shape, qkv);
  const FloatArray d_expected = this->backward(shape, qkv, expected, d_out);
  for (const int window : {39, 40, std::numeric_limits<int>::max()}) {
    const AttentionShape wide = banded(2, 39, 1, 8, window);
    const Result actual = this->forward(wide, qkv);
    EXPECT_EQ(actual.out, expected.out) << window;
    EXPECT_EQ(actual.log_sum_exp, expected.log_sum_exp) << window;
    EXPECT_EQ(this->backward(wide, qkv, actual, d_out), d_expected) << window;
  }
}

TYPED_TEST(CudaAttention, AWindowOfOneCopiesTheValues) {
  const AttentionShape shape = banded(1, 40, 2, 5, 1);
  const FloatArray qkv = rounded<TypeParam>(random_array(3 * out_size(shape), 7)),
                   d_out = rounded<TypeParam>(random_array(out_size(shape), 8));
  const Result result = this->forward(shape, qkv);
  const FloatArray d_qkv = this->backward(shape, qkv, result, d_out);
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

TYPED_TEST(CudaAttention, EqualScoresGiveTheMeanWhateverTheirSize) {
  const AttentionShape shape = dense(1, 50, 1, 8);
  for (const float magnitude : {0.0f, 1e15f}) {
    FloatArray qkv(3 * out_size(shape));
    for (int t = 0; t < shape.T; ++t) {
      for (int d = 0; d < shape.D; ++d) {
        qkv[reference::qkv_index(shape, 0, t, 0, 0, d)] = magnitude;
        qkv[reference::qkv_index(shape, 0, t, 1, 0, d)] = -magnitude;
        qkv[reference::qkv_index(shape, 0, t, 2, 0, d)] = static_cast<float>(t);
      }
    }
    const Result result = this->forward(shape, qkv);
    for (int t = 0; t < shape.T; ++t) {
      const float mean = static_cast<float>(t) / 2;
      EXPECT_NEAR(result.out[reference::out_index(shape, 0, t, 0, 3)], mean, 2 * this->kEps * mean) << t;
    }
    for (const float d : this->backward(shape, qkv, result, FloatArray(out_size(shape), 1.0f))) {
      EXPECT_TRUE(std::isfinite(d));
    }
  }
}

/// One key alone has a value, and one query alone a gradient: exactly the queries that see that key have
/// output and gradients, and exactly the keys that that query sees have gradients.
TYPED_TEST(CudaAttention, ThePatternDecidesAboutEachPair) {
  // The tiles' corners: pairs 126, 127 and 65 apart are the last in or the first out of one.
  for (const int window : {3, 66, 127}) {
    const AttentionShape shape = banded(1, 200, 1, 4, window);
    const auto fill = [&](FloatArray& qkv, int part, int t, float value) {
      for (int d = 0; d < 4; ++d) qkv[reference::qkv_index(shape, 0, t, part, 0, d)] = value;
    };
    for (const int chosen : {64, 127, 128}) {
      SCOPED_TRACE(testing::Message() << "W=" << window << " chosen=" << chosen);
      FloatArray qkv(3 * out_size(shape), 0.0f), d_out(out_size(shape), 1.0f), d_out_of_one(out_size(shape));
      for (int t = 0; t < shape.T; ++t) fill(qkv, 0, t, 0.25f);
      fill(qkv, 1, chosen, 1);
      fill(qkv, 2, chosen, 1);
      for (int d = 0; d < 4; ++d) d_out_of_one[reference::out_index(shape, 0, chosen, 0, d)] = 1;
      const Result result = this->forward(shape, qkv);
      const FloatArray d_queries = this->backward(shape, qkv, result, d_out),
                       d_keys = this->backward(shape, qkv, result, d_out_of_one);
      for (int t = 0; t < shape.T; ++t) {
        const bool seen = shape.pattern.allows(t, chosen), sees = shape.pattern.allows(chosen, t);
        EXPECT_EQ(result.out[reference::out_index(shape, 0, t, 0, 1)] != 0, seen) << t;
        EXPECT_EQ(d_queries[reference::qkv_index(shape, 0, t, 0, 0, 1)] != 0, seen) << t;
        EXPECT_EQ(d_keys[reference::qkv_index(shape, 0, t, 1, 0, 1)] != 0, sees) << t;
        EXPECT_EQ(d_keys[reference::qkv_index(shape, 0, t, 2, 0, 1)] != 0, sees) << t;
      }
    }
  }
}

/// Keys that no query of a block may see are not read for it: NaN there stays where it is.
TYPED_TEST(CudaAttention, WhatLiesOutsideTheBandIsNotTouched) {
  const AttentionShape shape = banded(1, 270, 2, 8, 20);
  const int tile = cuda::kAttentionQueries<TypeParam>, n_broken = 100;
  FloatArray qkv = random_array(3 * out_size(shape), 9);
  for (int t = 0; t < n_broken; ++t) {
    for (int d = 0; d < shape.D; ++d) {
      for (const int part : {1, 2}) qkv[reference::qkv_index(shape, 0, t, part, 1, d)] = kNaN;
    }
  }
  const Result result = this->forward(shape, qkv);
  const FloatArray d_qkv = this->backward(shape, qkv, result, random_array(out_size(shape), 10));
  for (int t = 0; t < shape.T; ++t) {
    const int block = t / tile * tile;
    const bool clean = shape.pattern.key_range(block, block + tile).begin >= n_broken;
    for (int d = 0; d < shape.D; ++d) {
      EXPECT_TRUE(std::isfinite(result.out[reference::out_index(shape, 0, t, 0, d)])) << "other head, " << t;
      const float out = result.out[reference::out_index(shape, 0, t, 1, d)];
      if (t < n_broken) {
        EXPECT_TRUE(std::isnan(out)) << t;
      }
      if (clean) {
        EXPECT_TRUE(std::isfinite(out)) << t;
      }
      for (const int part : {0, 1, 2}) {
        EXPECT_TRUE(std::isfinite(d_qkv[reference::qkv_index(shape, 0, t, part, 0, d)])) << t;
        if (t < 256) continue;
        EXPECT_TRUE(std::isfinite(d_qkv[reference::qkv_index(shape, 0, t, part, 1, d)])) << t;
      }
    }
  }
}

TYPED_TEST(CudaAttention, TwoLaunchesGiveTheSameBits) {
  const AttentionShape shape = banded(2, 75, 2, 24, 50);
  const FloatArray qkv = random_array(3 * out_size(shape), 11), d_out = random_array(out_size(shape), 12);
  const Result first = this->forward(shape, qkv), second = this->forward(shape, qkv);
  EXPECT_EQ(first.out, second.out);
  EXPECT_EQ(first.log_sum_exp, second.log_sum_exp);
  EXPECT_EQ(this->backward(shape, qkv, first, d_out), this->backward(shape, qkv, first, d_out));
}

/// Bytes that the forward kernel must load: of each tile the queries, and the keys and values they may see.
template <class Real>
std::int64_t forward_bytes(const AttentionShape& shape) {
  const int tile = cuda::kAttentionQueries<Real>;
  std::int64_t tokens = 0;
  for (int begin = 0; begin < shape.T; begin += tile) {
    const int end = std::min(begin + tile, shape.T);
    const KeyRange keys = shape.pattern.key_range(begin, end);
    tokens += (end - begin) + 2 * (keys.end - keys.begin);
  }
  return tokens * shape.B * shape.H * shape.D * static_cast<std::int64_t>(sizeof(Real));
}

TYPED_TEST(CudaAttention, LoadsWhatTheBandNeedsAndNothingElse) {
  if (!ptxrun::counters_available()) GTEST_SKIP() << "counts memory accesses under ptxrun";
  for (const AttentionShape& shape : {dense(1, 200, 1, 16), banded(1, 330, 1, 16, 40)}) {
    const FloatArray qkv = random_array(3 * out_size(shape), 13), d_out = random_array(out_size(shape), 14);
    ptxrun::reset_counters();
    const Result result = this->forward(shape, qkv);
    this->backward(shape, qkv, result, d_out);
    const ptxrun::Counters forward = ptxrun::read_counters("attention_forward");
    const double needed = static_cast<double>(forward_bytes<TypeParam>(shape));
    EXPECT_GE(static_cast<double>(forward.global_load.bytes), needed);
    EXPECT_LE(static_cast<double>(forward.global_load.bytes), 1.05 * needed);
    const ptxrun::Counters all = ptxrun::read_counters("attention");
    EXPECT_EQ(all.launches, 3u);
    EXPECT_EQ(all.local_load_bytes + all.local_store_bytes, 0u);
    if (sizeof(TypeParam) == 2) {
      EXPECT_EQ(all.shared_load.bank_conflicts, 0u);
      EXPECT_GT(all.cp_async_bytes, 0u);
    }
  }
}

TYPED_TEST(CudaAttention, ABandsBackwardPassIsLinearInT) {
  if (!ptxrun::counters_available()) GTEST_SKIP() << "counts memory accesses under ptxrun";
  const auto loaded = [&](int T) {
    const AttentionShape shape = banded(1, T, 1, 16, 20);
    const FloatArray qkv = random_array(3 * out_size(shape), 15);
    const Result result = this->forward(shape, qkv);
    ptxrun::reset_counters();
    this->backward(shape, qkv, result, random_array(out_size(shape), 16));
    return static_cast<double>(ptxrun::read_counters("attention_d_").global_load.bytes);
  };
  EXPECT_LE(loaded(512), 2.2 * loaded(256));
}

}  // namespace
}  // namespace minichilla
