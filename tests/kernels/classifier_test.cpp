#include <limits>

#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla::classifier_test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

class Classifier : public EveryTarget {
 protected:
  struct Result {
    double loss;
    FloatArray d_hidden, d_weight;
  };

  /// The loss starts at 1.5 and d_weight at 0.25: both are added to.
  Result run(ClassifierShape shape, const FloatArray& hidden, const FloatArray& weight,
             const std::vector<std::int32_t>& targets, float loss_scale, bool gradients = true) {
    Result result{1.5, FloatArray(hidden.size(), kNaN), FloatArray(weight.size(), 0.25f)};
    FloatArray scratch(ops().classifier_scratch(shape) / sizeof(float), kNaN);
    on_lane([&](Lane& lane) {
      ops().classifier(lane, shape, hidden.data(), weight.data(), targets.data(), loss_scale, &result.loss,
                       gradients ? result.d_hidden.data() : nullptr,
                       gradients ? result.d_weight.data() : nullptr, scratch.data());
    });
    return result;
  }

  void check(ClassifierShape shape, float deviation) {
    SCOPED_TRACE(testing::Message() << "M=" << shape.M << " C=" << shape.C << " V=" << shape.V);
    const std::size_t M = static_cast<std::size_t>(shape.M), C = static_cast<std::size_t>(shape.C),
                      V = static_cast<std::size_t>(shape.V);
    const FloatArray hidden = random_array(M * C, 1, deviation), weight = random_array(V * C, 2);
    const auto targets = random_tokens(M, shape.V, 3);
    const float scale = 1 / static_cast<float>(shape.M);
    const Result actual = run(shape, hidden, weight, targets, scale);
    auto exact =
        reference::classifier(shape, widen(hidden), widen(weight), targets, static_cast<double>(scale));
    auto naive = reference::classifier(shape, hidden, weight, targets, scale);
    for (double& d : exact.d_weight) d += 0.25;
    for (float& d : naive.d_weight) d += 0.25f;
    const double naive_error = std::abs(static_cast<double>(naive.loss_sum) - exact.loss_sum);
    EXPECT_NEAR(actual.loss, exact.loss_sum + 1.5, 2 * naive_error + 1e-6 * exact.loss_sum + 1e-6);
    expect_accurate("d_hidden", actual.d_hidden, exact.d_hidden, naive.d_hidden);
    expect_accurate("d_weight", actual.d_weight, exact.d_weight, naive.d_weight);
    EXPECT_EQ(run(shape, hidden, weight, targets, scale, false).loss, actual.loss) << "without gradients";
  }
};

TEST_P(Classifier, AgreesWithTheReference) {
  check({1, 16, 257}, 1);
  check({13, 1, 257}, 1);
  check({5, 7, 2}, 1);
  check({3, 4, 1}, 1);
  check({64, 24, 257}, 1);
  check({29, 33, 259}, 2);
}

TEST_P(Classifier, AgreesWithTheReferenceBeyondOneChunk) {
  const ClassifierShape many_rows{1043, 8, 257}, many_words{521, 5, 4099};
  ASSERT_LT(ops().classifier_scratch(many_rows), 1043 * 257 * sizeof(float));
  ASSERT_LT(ops().classifier_scratch(many_words), 521 * 4099 * sizeof(float));
  check(many_rows, 1);
  check(many_words, 1);
}

TEST_P(Classifier, EqualLogitsCostLogV) {
  for (const float bias : {0.0f, 1.0f, -1e30f, 1e30f}) {
    const Result result = run({3, 1, 257}, {bias, bias, bias}, FloatArray(257, 1.0f), {0, 100, 256}, 1);
    EXPECT_NEAR(result.loss - 1.5, 3 * std::log(257.0), 1e-5) << bias;
    EXPECT_NEAR(result.d_weight[1], 0.25f + 3 * bias / 257, 1e-6f * std::abs(bias) + 1e-6f) << bias;
  }
}

TEST_P(Classifier, ACertainAnswerCostsNothingAndAWrongOneItsMargin) {
  FloatArray weight(257, -500.0f);
  weight[7] = 500;
  const Result right = run({1, 1, 257}, {1}, weight, {7}, 1);
  EXPECT_EQ(right.loss, 1.5);
  EXPECT_EQ(right.d_hidden[0], 0);
  EXPECT_NEAR(run({1, 1, 257}, {1}, weight, {8}, 1).loss, 1001.5, 1e-9);
}

/// Logits all below zero: lanes beyond V must not stand in as zeros.
TEST_P(Classifier, NegativeLogitsAreNotShadowedByPadding) {
  const Result result = run({1, 1, 3}, {1}, {-200, -201, -202}, {0}, 1);
  EXPECT_NEAR(result.loss - 1.5, std::log(1 + std::exp(-1.0) + std::exp(-2.0)), 1e-6);
}

TEST_P(Classifier, NaNReachesTheLoss) {
  EXPECT_TRUE(std::isnan(run({2, 1, 257}, {1, kNaN}, FloatArray(257, 1.0f), {3, 4}, 1).loss));
  FloatArray weight(257, 1.0f);
  weight[256] = kNaN;
  EXPECT_TRUE(std::isnan(run({1, 1, 257}, {1}, weight, {0}, 1).loss));
  weight[256] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(std::isfinite(run({1, 1, 257}, {1}, weight, {0}, 1).loss));
}

MINICHILLA_ON_EVERY_TARGET(Classifier);

}  // namespace
}  // namespace minichilla::classifier_test
