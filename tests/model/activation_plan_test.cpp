#include "model/activation_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

namespace minichilla::activation_plan_test {
namespace {

bool share_bytes(const ActivationPlan::Tensor& a, const ActivationPlan::Tensor& b) {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

bool live_together(const ActivationPlan::Tensor& a, const ActivationPlan::Tensor& b) {
  return std::max(a.first_use, b.first_use) <= std::min(a.last_use, b.last_use);
}

ActivationPlan random_plan(unsigned seed) {
  std::mt19937 engine(seed);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); };
  ActivationPlan plan;
  const int tensors = draw(0, 60);
  for (int i = 0; i < tensors; ++i) {
    const int first = draw(0, 40);
    plan.declare("tensor" + std::to_string(i),
                 static_cast<std::size_t>(draw(0, 5) == 0 ? 64 * draw(0, 4) : draw(0, 5000)), first,
                 first + draw(0, 20));
  }
  plan.assign();
  return plan;
}

class ActivationPlanTest : public testing::TestWithParam<unsigned> {};

TEST_P(ActivationPlanTest, LiveTensorsNeverShareBytes) {
  const ActivationPlan plan = random_plan(GetParam());
  for (const ActivationPlan::Tensor& a : plan.tensors()) {
    EXPECT_EQ(a.offset % 64, 0u) << a.name;
    EXPECT_LE(a.offset + a.bytes, plan.bytes()) << a.name;
    for (const ActivationPlan::Tensor& b : plan.tensors()) {
      if (&a != &b && live_together(a, b)) {
        EXPECT_FALSE(share_bytes(a, b)) << a.name << " " << b.name;
      }
    }
  }
}

TEST_P(ActivationPlanTest, ArenaLiesBetweenThePeakAndTheSum) {
  const ActivationPlan plan = random_plan(GetParam());
  std::size_t peak = 0;
  for (int moment = 0; moment <= 60; ++moment) {
    std::size_t live = 0;
    for (const ActivationPlan::Tensor& tensor : plan.tensors()) {
      if (tensor.first_use <= moment && moment <= tensor.last_use) live += tensor.bytes;
    }
    peak = std::max(peak, live);
  }
  EXPECT_GE(plan.bytes(), peak);
  EXPECT_LE(plan.bytes(), plan.bytes_without_sharing());
  EXPECT_EQ(plan.bytes() % 64, 0u);
}

TEST_P(ActivationPlanTest, PlansAgainTheSame) {
  ActivationPlan plan = random_plan(GetParam());
  const ActivationPlan other = random_plan(GetParam());
  plan.assign();
  EXPECT_EQ(plan.bytes(), other.bytes());
  for (std::size_t i = 0; i < plan.tensors().size(); ++i) {
    EXPECT_EQ(plan.offset(static_cast<int>(i)), other.offset(static_cast<int>(i)));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ActivationPlanTest, testing::Range(0u, 100u));

TEST(ActivationPlan, ReusesWhatIsDead) {
  ActivationPlan plan;
  const auto first = plan.declare("first", 1000, 0, 1);
  const auto second = plan.declare("second", 1000, 2, 3);
  const auto whole = plan.declare("whole", 64, 0, 3);
  plan.assign();
  EXPECT_EQ(plan.offset(first), 0u);
  EXPECT_EQ(plan.offset(second), 0u);
  EXPECT_EQ(plan.offset(whole), 1024u);
  EXPECT_EQ(plan.bytes(), 1088u);
  EXPECT_EQ(plan.bytes_without_sharing(), 2112u);
}

TEST(ActivationPlan, TensorsThatTouchInOneMomentDoNotShare) {
  ActivationPlan plan;
  plan.declare("first", 64, 0, 1);
  plan.declare("second", 64, 1, 2);
  plan.assign();
  EXPECT_EQ(plan.bytes(), 128u);
}

TEST(ActivationPlan, FillsHoles) {
  ActivationPlan plan;
  plan.declare("low", 1024, 0, 9);
  plan.declare("hole", 512, 0, 1);
  plan.declare("high", 256, 0, 9);
  const auto late = plan.declare("late", 128, 5, 9);
  plan.assign();
  EXPECT_EQ(plan.offset(late), 1024u);
  EXPECT_EQ(plan.bytes(), 1024u + 512 + 256);
}

TEST(ActivationPlan, AnEmptyPlanNeedsNothing) {
  ActivationPlan plan;
  plan.assign();
  EXPECT_EQ(plan.bytes(), 0u);
}

TEST(ActivationPlan, RefusesLivesThatEndBeforeTheyBegin) {
  ActivationPlan plan;
  EXPECT_THROW(plan.declare("tensor", 1, 3, 2), std::logic_error);
}

}  // namespace
}  // namespace minichilla::activation_plan_test
