// The operations between backward pass and next step: sum_slots, square_sums, finish_gradient, adamw.
#include <cstring>
#include <limits>

#include "kernels/cpu/simd_target.h"
#include "tests/kernels/comparison.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla::optimizer_test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool same_bits(const FloatArray& a, const FloatArray& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Optimizer : public EveryTarget {
 protected:
  StepState finish(const DoubleArray& partials, const DoubleArray& losses, float clip) {
    StepState state;
    state.learning_rate = 0.125f;
    state.step = 7;
    on_lane([&](Lane& lane) { ops().finish_gradient(lane, partials, losses, clip, &state); });
    EXPECT_EQ(state.learning_rate, 0.125f);
    EXPECT_EQ(state.step, 7);
    return state;
  }
};

/// The documented tree written out for each K.
float tree_sum(const FloatArray& x) {
  switch (x.size()) {
    case 1:
      return x[0];
    case 2:
      return x[0] + x[1];
    case 3:
      return (x[0] + x[1]) + x[2];
    case 4:
      return (x[0] + x[1]) + (x[2] + x[3]);
    case 5:
      return ((x[0] + x[1]) + (x[2] + x[3])) + x[4];
    case 6:
      return ((x[0] + x[1]) + (x[2] + x[3])) + (x[4] + x[5]);
    case 7:
      return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + x[6]);
    case 8:
      return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
    default:
      ADD_FAILURE() << "no tree for " << x.size();
      return 0;
  }
}

TEST_P(Optimizer, SumSlotsIsTheDocumentedTree) {
  const std::size_t size = 1500;
  const ElementRange range{3, 1490};
  for (unsigned K = 1; K <= 8; ++K) {
    std::vector<FloatArray> slots, before;
    for (unsigned k = 0; k < K; ++k) slots.push_back(random_array(size, k + 1, k % 2 == 0 ? 1.0f : 1e4f));
    before = slots;
    std::vector<float*> pointers;
    for (FloatArray& slot : slots) pointers.push_back(slot.data());
    on_lane([&](Lane& lane) { ops().sum_slots(lane, pointers, range); });
    FloatArray expected = before[0];
    for (std::size_t i = 3; i < 1490; ++i) {
      FloatArray addends;
      for (const FloatArray& slot : before) addends.push_back(slot[i]);
      expected[i] = tree_sum(addends);
    }
    EXPECT_TRUE(same_bits(slots[0], expected)) << "K = " << K;
    for (unsigned k = 1; k < K; ++k)
      EXPECT_TRUE(same_bits(slots[k], before[k])) << "slot " << k << " of " << K;
  }
}

TEST_P(Optimizer, SquareSumsCoverTheirBlocks) {
  const std::int64_t block = Operations::kNormBlock;
  const FloatArray gradient = random_array(static_cast<std::size_t>(3 * block + 5), 1, 100);
  DoubleArray partials(5, -1);
  on_lane([&](Lane& lane) {
    ops().square_sums(lane, gradient.data(), {block, 3 * block + 5}, partials.data());
  });
  EXPECT_EQ(partials[0], -1);
  EXPECT_EQ(partials[4], -1);
  for (std::int64_t b = 1; b <= 3; ++b) {
    double expected = 0;
    for (std::int64_t i = b * block; i < std::min((b + 1) * block, 3 * block + 5); ++i) {
      const double g = static_cast<double>(gradient[static_cast<std::size_t>(i)]);
      expected += g * g;
    }
    EXPECT_NEAR(partials[static_cast<std::size_t>(b)], expected, 1e-12 * expected) << b;
  }
}

TEST_P(Optimizer, SquareSumsNeitherOverflowNorUnderflow) {
  const FloatArray large(static_cast<std::size_t>(Operations::kNormBlock), 1e30f), small(17, 1e-30f);
  double partial = 0;
  on_lane([&](Lane& lane) { ops().square_sums(lane, large.data(), {0, Operations::kNormBlock}, &partial); });
  EXPECT_NEAR(partial, 4096e60, 1e-6 * 4096e60);
  on_lane([&](Lane& lane) { ops().square_sums(lane, small.data(), {0, 17}, &partial); });
  EXPECT_NEAR(partial, 17e-60, 1e-6 * 17e-60);
}

TEST_P(Optimizer, FinishGradientClipsAtTheNorm) {
  const StepState state = finish({9, 16}, {1, 2, 4}, 1);
  EXPECT_EQ(state.gradient_norm, 5);
  EXPECT_EQ(state.loss_sum, 7);
  EXPECT_EQ(state.gradient_scale, 0.2f);
  EXPECT_EQ(state.finite, 1);
  EXPECT_EQ(finish({9, 16}, {0}, 5).gradient_scale, 1) << "at the limit";
  EXPECT_EQ(finish({9, 16}, {0}, 6).gradient_scale, 1) << "below the limit";
  EXPECT_EQ(finish({9, 16}, {0}, 0).gradient_scale, 1) << "clip 0 never clips";
  EXPECT_EQ(finish({0}, {0}, 1).gradient_scale, 1) << "no gradient at all";
}

TEST_P(Optimizer, NonFiniteLossOrGradientIsNoticed) {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(finish({1}, {nan}, 1).finite, 0);
  EXPECT_EQ(finish({1}, {1, infinity}, 1).finite, 0);
  EXPECT_EQ(finish({1}, {infinity, -infinity}, 1).finite, 0);
  EXPECT_EQ(finish({nan}, {1}, 1).finite, 0);
  EXPECT_EQ(finish({infinity}, {1}, 1).finite, 0);
  StepState state = finish({nan}, {1}, 1);
  on_lane([&](Lane& lane) { ops().finish_gradient(lane, DoubleArray{4}, DoubleArray{1}, 0, &state); });
  EXPECT_EQ(state.finite, 0) << "only the host ends it";
}

TEST_P(Optimizer, ANonFiniteElementMakesTheStepNonFinite) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for (const std::size_t place : {0u, 37u, 4095u, 5000u}) {
      FloatArray gradient(5001, 1e-3f);
      gradient[place] = bad;
      DoubleArray partials(2);
      on_lane([&](Lane& lane) { ops().square_sums(lane, gradient.data(), {0, 5001}, partials.data()); });
      EXPECT_EQ(finish(partials, {1}, 1).finite, 0) << bad << " at " << place;
    }
  }
}

TEST_P(Optimizer, AdamWAgreesWithTheReference) {
  const AdamWSettings settings{0.9f, 0.95f, 1e-8f, 0.1f};
  const std::vector<std::uint8_t> decayed{1, 0, 0, 1, 1};  // each of 16 elements
  for (const std::int64_t step : {1, 2, 1000, 1000000}) {
    const FloatArray gradient = random_array(77, 1);
    const FloatArray weights = random_array(77, 2), first = random_array(77, 3, 0.1f);
    FloatArray second = random_array(77, 4);
    for (float& v : second) v *= v;
    StepState state;
    state.learning_rate = 0.01f;
    state.step = step;
    state.gradient_scale = 0.37f;
    reference::AdamW<float> actual{weights, first, second};
    const ElementRange range{5, 70};
    on_lane([&](Lane& lane) {
      ops().adamw(lane, settings, range, &state, decayed.data(), gradient.data(), actual.weights.data(),
                  actual.first_moment.data(), actual.second_moment.data());
    });
    auto exact = reference::adamw(settings, state, decayed, widen(gradient),
                                  {widen(weights), widen(first), widen(second)});
    auto naive = reference::adamw(settings, state, decayed, gradient, {weights, first, second});
    for (std::size_t i = 0; i < 77; ++i) {
      if (i >= 5 && i < 70) continue;  // outside the range nothing changes
      exact.weights[i] = static_cast<double>(naive.weights[i] = weights[i]);
      exact.first_moment[i] = static_cast<double>(naive.first_moment[i] = first[i]);
      exact.second_moment[i] = static_cast<double>(naive.second_moment[i] = second[i]);
      EXPECT_EQ(actual.weights[i], weights[i]) << i;
    }
    expect_accurate("weights", actual.weights, exact.weights, naive.weights);
    expect_accurate("first_moment", actual.first_moment, exact.first_moment, naive.first_moment);
    expect_accurate("second_moment", actual.second_moment, exact.second_moment, naive.second_moment);
  }
}

TEST_P(Optimizer, TheFirstAdamWStepMovesByTheLearningRate) {
  StepState state;
  state.learning_rate = 0.5f;
  state.step = 1;
  const FloatArray gradient{3, -1e-3f, 0};
  FloatArray weights(3), first(3), second(3);
  on_lane([&](Lane& lane) {
    const std::uint8_t decayed = 0;
    ops().adamw(lane, {0.9f, 0.999f, 1e-12f, 0.1f}, {0, 3}, &state, &decayed, gradient.data(), weights.data(),
                first.data(), second.data());
  });
  EXPECT_NEAR(weights[0], -0.5f, 1e-6f);
  EXPECT_NEAR(weights[1], 0.5f, 1e-6f);
  EXPECT_EQ(weights[2], 0);
}

TEST_P(Optimizer, ANonFiniteStepLeavesEveryBit) {
  StepState state = finish({std::numeric_limits<double>::quiet_NaN()}, {1}, 1);
  state.learning_rate = 1;
  const FloatArray gradient(33, kNaN), weights = random_array(33, 1), first = random_array(33, 2),
                                       second(33, 4.0f);
  FloatArray w = weights, m = first, v = second;
  on_lane([&](Lane& lane) {
    ops().adamw(lane, {0.9f, 0.95f, 1e-8f, 0.1f}, {0, 33}, &state, std::vector<std::uint8_t>(3, 1).data(),
                gradient.data(), w.data(), m.data(), v.data());
  });
  EXPECT_TRUE(same_bits(w, weights) && same_bits(m, first) && same_bits(v, second));
}

MINICHILLA_ON_EVERY_TARGET(Optimizer);

}  // namespace
}  // namespace minichilla::optimizer_test
