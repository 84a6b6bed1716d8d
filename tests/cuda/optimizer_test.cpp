#include "kernels/cuda/optimizer.h"

#include <cstring>
#include <memory>

#include "tests/cuda/device_array.h"
#include "tests/kernels/random_arrays.h"
#include "tests/kernels/reference_ops.h"

namespace minichilla {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(),
                 kInfinity = std::numeric_limits<double>::infinity();

bool same_bits(const FloatArray& a, const FloatArray& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

FloatArray squares(FloatArray values) {
  for (float& value : values) value *= value;
  return values;
}

StepState some_state(std::int64_t step) {
  StepState state;
  state.learning_rate = 0.01f;
  state.step = step;
  state.gradient_scale = 0.37f;
  return state;
}

constexpr AdamWSettings kSettings{0.9f, 0.95f, 1e-8f, 0.1f};

/// Two of three blocks are decayed.
std::vector<std::uint8_t> decay_mask(std::size_t elements) {
  std::vector<std::uint8_t> mask(elements / Operations::kDecayBlock + 1);
  for (std::size_t block = 0; block < mask.size(); ++block) mask[block] = block % 3 != 1;
  return mask;
}

struct AdamWResult {
  reference::AdamW<float> state;
  FloatArray weights_bf16;
};

/// One step on arrays whose element 0 is `offset` elements behind an aligned address.
AdamWResult device_adamw(const StepState& state, ElementRange range, const FloatArray& gradient,
                         const reference::AdamW<float>& before, std::size_t offset) {
  const auto shifted = [&](const FloatArray& values) {
    FloatArray longer(offset);
    longer.insert(longer.end(), values.begin(), values.end());
    return longer;
  };
  const DeviceArray<StepState> device_state(std::vector<StepState>{state});
  const DeviceArray<float> g(shifted(gradient)), w(shifted(before.weights)), m(shifted(before.first_moment)),
      v(shifted(before.second_moment));
  const DeviceArray<__nv_bfloat16> copy(FloatArray(g.size(), -7.0f));
  const DeviceArray<std::uint8_t> decayed(decay_mask(gradient.size()));
  cuda::adamw(nullptr, kSettings, range, device_state.data(), decayed.data(), g.data() + offset,
              w.data() + offset, m.data() + offset, v.data() + offset, copy.data() + offset);
  const auto result = [&](const auto& array) {
    const FloatArray values = array.floats();
    return FloatArray(values.begin() + static_cast<std::ptrdiff_t>(offset), values.end());
  };
  return {{result(w), result(m), result(v)}, result(copy)};
}

void check_adamw(std::int64_t step, std::size_t size, ElementRange range, std::size_t offset) {
  SCOPED_TRACE(testing::Message() << "step " << step << ", [" << range.begin << ", " << range.end << ") at "
                                  << offset);
  const FloatArray gradient = random_array(size, 1);
  const reference::AdamW<float> before{random_array(size, 2), random_array(size, 3, 0.1f),
                                       squares(random_array(size, 4))};
  const StepState state = some_state(step);
  const AdamWResult actual = device_adamw(state, range, gradient, before, offset);
  auto exact =
      reference::adamw(kSettings, state, decay_mask(size), widen(gradient),
                       {widen(before.weights), widen(before.first_moment), widen(before.second_moment)});
  auto naive = reference::adamw(kSettings, state, decay_mask(size), gradient, before);
  FloatArray copy = rounded<__nv_bfloat16>(actual.state.weights);
  for (std::size_t i = 0; i < size; ++i) {
    const auto place = static_cast<std::int64_t>(i);
    if (place >= range.begin && place < range.end) continue;
    exact.weights[i] = naive.weights[i] = before.weights[i];
    exact.first_moment[i] = naive.first_moment[i] = before.first_moment[i];
    exact.second_moment[i] = naive.second_moment[i] = before.second_moment[i];
    copy[i] = -7;
    EXPECT_EQ(actual.state.weights[i], before.weights[i]) << i;
    EXPECT_EQ(actual.state.first_moment[i], before.first_moment[i]) << i;
    EXPECT_EQ(actual.state.second_moment[i], before.second_moment[i]) << i;
  }
  expect_accurate("weights", actual.state.weights, exact.weights, naive.weights);
  expect_accurate("first_moment", actual.state.first_moment, exact.first_moment, naive.first_moment);
  expect_accurate("second_moment", actual.state.second_moment, exact.second_moment, naive.second_moment);
  EXPECT_EQ(actual.weights_bf16, copy);
}

TEST(CudaOptimizer, AdamWAgreesWithTheReferenceInsideItsRangeAndLeavesTheRest) {
  for (const std::int64_t step : {1, 2, 1000, 1000000}) check_adamw(step, 77, {5, 70}, 0);
  check_adamw(3, 77, {5, 70}, 1);
  check_adamw(3, 8, {4, 8}, 0);
  check_adamw(3, 3, {1, 2}, 0);
  check_adamw(3, 3, {2, 2}, 0);
  check_adamw(7, 2000, {0, 2000}, 0);
}

TEST(CudaOptimizer, AdamWWorksWithoutABf16Copy) {
  const DeviceArray<StepState> state(std::vector<StepState>{some_state(1)});
  const DeviceArray<float> gradient(FloatArray{3, -1e-3f, 0}), weights(FloatArray(3)), first(FloatArray(3)),
      second(FloatArray(3));
  const DeviceArray<std::uint8_t> decayed(std::vector<std::uint8_t>{0});
  cuda::adamw(nullptr, {0.9f, 0.999f, 1e-12f, 0.1f}, {0, 3}, state.data(), decayed.data(), gradient.data(),
              weights.data(), first.data(), second.data(), nullptr);
  const FloatArray moved = weights.floats();  // the first step moves by the learning rate
  EXPECT_NEAR(moved[0], -0.01f, 1e-8f);
  EXPECT_NEAR(moved[1], 0.01f, 1e-8f);
  EXPECT_EQ(moved[2], 0);
}

TEST(CudaOptimizer, ANonFiniteStepLeavesEveryBit) {
  StepState state = some_state(1);
  state.finite = 0;
  const reference::AdamW<float> before{random_array(33, 1), random_array(33, 2), FloatArray(33, 4.0f)};
  const AdamWResult after = device_adamw(state, {0, 33}, FloatArray(33, static_cast<float>(kNaN)), before, 0);
  EXPECT_TRUE(same_bits(after.state.weights, before.weights));
  EXPECT_TRUE(same_bits(after.state.first_moment, before.first_moment));
  EXPECT_TRUE(same_bits(after.state.second_moment, before.second_moment));
  EXPECT_EQ(after.weights_bf16, FloatArray(33, -7.0f));
}

/// The documented tree: the left subtree has the largest power of two of slots that leaves some for the right
/// one.
float tree_sum(const float* slots, std::size_t count) {
  if (count == 1) return slots[0];
  std::size_t left = 1;
  while (2 * left < count) left *= 2;
  return tree_sum(slots, left) + tree_sum(slots + left, count - left);
}

TEST(CudaOptimizer, SumSlotsIsTheDocumentedTree) {
  const std::size_t size = 29;
  for (const unsigned K : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 13u, 64u, 65u, 200u}) {
    for (const std::size_t offset : {0u, 1u}) {
      std::vector<FloatArray> before;
      std::vector<std::unique_ptr<DeviceArray<float>>> slots;
      std::vector<float*> pointers;
      for (unsigned k = 0; k < K; ++k) {
        before.push_back(random_array(size, k + 1, k % 2 == 0 ? 1.0f : 1e4f));
        slots.push_back(std::make_unique<DeviceArray<float>>(before.back()));
        pointers.push_back(slots.back()->data() + offset);
      }
      cuda::sum_slots(nullptr, pointers, {3, 27});
      FloatArray expected = before[0];
      for (std::size_t i = 3 + offset; i < 27 + offset; ++i) {
        FloatArray addends;
        for (const FloatArray& slot : before) addends.push_back(slot[i]);
        expected[i] = tree_sum(addends.data(), addends.size());
      }
      EXPECT_TRUE(same_bits(slots[0]->floats(), expected)) << "K = " << K;
      for (unsigned k = 1; k < K; ++k) {
        if (k % 64 == 0) continue;
        EXPECT_TRUE(same_bits(slots[k]->floats(), before[k])) << "slot " << k << " of " << K;
      }
    }
  }
}

StepState finish(const DoubleArray& partials, const DoubleArray& losses, float clip,
                 const StepState& before = some_state(7)) {
  const DeviceArray<StepState> state(std::vector<StepState>{before});
  const DeviceArray<double> device_partials(partials), device_losses(losses);
  cuda::finish_gradient(nullptr, {device_partials.data(), partials.size()},
                        {device_losses.data(), losses.size()}, clip, state.data());
  const StepState after = state.values()[0];
  EXPECT_EQ(after.learning_rate, before.learning_rate);
  EXPECT_EQ(after.step, before.step);
  return after;
}

TEST(CudaOptimizer, FinishGradientClipsAtTheNorm) {
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

TEST(CudaOptimizer, FinishGradientAddsInOrder) {
  DoubleArray partials, losses;
  for (const float value : squares(random_array(2500, 1, 1e3f))) partials.push_back(value);
  for (const float value : random_array(1100, 2)) losses.push_back(value);
  double squares_sum = 0, loss = 0;
  for (const double partial : partials) squares_sum += partial;
  for (const double slot_loss : losses) loss += slot_loss;
  const StepState state = finish(partials, losses, 1);
  EXPECT_EQ(state.gradient_norm, std::sqrt(squares_sum));
  EXPECT_EQ(state.loss_sum, loss);
  EXPECT_EQ(state.gradient_scale, static_cast<float>(1 / std::sqrt(squares_sum)));
}

TEST(CudaOptimizer, NonFiniteLossOrGradientIsNoticed) {
  EXPECT_EQ(finish({1}, {kNaN}, 1).finite, 0);
  EXPECT_EQ(finish({1}, {1, kInfinity}, 1).finite, 0);
  EXPECT_EQ(finish({1}, {kInfinity, -kInfinity}, 1).finite, 0);
  EXPECT_EQ(finish({kNaN}, {1}, 1).finite, 0);
  EXPECT_EQ(finish({kInfinity}, {1}, 1).finite, 0);
}

TEST(CudaOptimizer, WhatWasNotFiniteStaysSo) {
  StepState failed = some_state(7);
  failed.finite = 0;
  EXPECT_EQ(finish({4}, {1}, 1, failed).finite, 0);
}

TEST(CudaOptimizer, CastToBf16RoundsToNearest) {
  for (const std::size_t size : {1u, 7u, 8u, 300u}) {
    for (const std::size_t offset : {0u, 1u}) {
      FloatArray values = random_array(size + offset, 1);
      values.back() = 1 + 0x1p-8f;  // halfway: to the even neighbour
      const DeviceArray<float> from(values);
      const DeviceArray<__nv_bfloat16> to(FloatArray(size + offset, -7.0f));
      cuda::cast_to_bf16(nullptr, static_cast<std::int64_t>(size), from.data() + offset, to.data() + offset);
      FloatArray expected = rounded<__nv_bfloat16>(values);
      EXPECT_EQ(expected.back(), 1);
      if (offset == 1) expected[0] = -7;
      EXPECT_EQ(to.floats(), expected) << size;
    }
  }
}

}  // namespace
}  // namespace minichilla
