#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "trainer/interval_clock.h"

namespace minichilla::schedule_test {
namespace {

LearningRateSchedule schedule(double warmup, double final, std::int64_t steps) {
  ScheduleConfig config;
  config.warmup = warmup;
  config.final = final;
  return LearningRateSchedule(config, 0.5, steps);
}

TEST(Schedule, WarmsUpLinearlyToThePeak) {
  const LearningRateSchedule s = schedule(0.1, 0.1, 100);
  EXPECT_EQ(s.warmup_steps(), 10);
  EXPECT_DOUBLE_EQ(s.rate(1), 0.05);
  EXPECT_DOUBLE_EQ(s.rate(5), 0.25);
  EXPECT_DOUBLE_EQ(s.rate(10), 0.5);
}

TEST(Schedule, CosineEndsExactlyAtTheFinalRate) {
  const LearningRateSchedule s = schedule(0.1, 0.1, 110);  // 11 of warmup, 99 of cosine
  EXPECT_DOUBLE_EQ(s.rate(11), 0.5);
  EXPECT_DOUBLE_EQ(s.rate(44), 0.05 + 0.45 * 0.75);  // a third of the way: cos 60° = 1/2
  EXPECT_DOUBLE_EQ(s.rate(77), 0.05 + 0.45 * 0.25);
  EXPECT_DOUBLE_EQ(s.rate(110), 0.05);
  for (std::int64_t step = 12; step <= 110; ++step) EXPECT_LT(s.rate(step), s.rate(step - 1)) << step;
}

TEST(Schedule, LengthIsMatchedToTheRun) {
  for (const std::int64_t steps : {2, 3, 7, 50, 99, 1000}) {
    const LearningRateSchedule s = schedule(0.02, 0.25, steps);
    EXPECT_DOUBLE_EQ(s.rate(s.warmup_steps()), 0.5) << steps;
    EXPECT_DOUBLE_EQ(s.rate(steps), 0.125) << steps;
  }
}

TEST(Schedule, WithoutWarmupTheFirstStepHasThePeak) {
  const LearningRateSchedule s = schedule(0, 0, 11);
  EXPECT_EQ(s.warmup_steps(), 1);
  EXPECT_DOUBLE_EQ(s.rate(1), 0.5);
  EXPECT_DOUBLE_EQ(s.rate(6), 0.25);
  EXPECT_NEAR(s.rate(11), 0.0, 1e-17);
}

TEST(Schedule, ShortestRunsAndWarmupAllTheWay) {
  EXPECT_DOUBLE_EQ(schedule(0.02, 0.1, 1).rate(1), 0.5);
  const LearningRateSchedule s = schedule(1, 0.1, 4);
  EXPECT_DOUBLE_EQ(s.rate(1), 0.125);
  EXPECT_DOUBLE_EQ(s.rate(4), 0.5);
}

int times_due(const Interval& interval, std::int64_t steps) {
  IntervalClock clock(interval, steps, 0);
  int times = 0;
  for (std::int64_t step = 1; step <= steps; ++step) times += clock.due(step, 0);
  return times;
}

TEST(IntervalClock, FractionsComeAsOftenAsTheySay) {
  EXPECT_EQ(times_due({Interval::Unit::fraction, 0.05}, 1000), 20);
  EXPECT_EQ(times_due({Interval::Unit::fraction, 0.1}, 10), 10);
  EXPECT_EQ(times_due({Interval::Unit::fraction, 0.05}, 77), 20);
  EXPECT_EQ(times_due({Interval::Unit::fraction, 0.05}, 7), 7);  // at most once a step
  EXPECT_EQ(times_due({Interval::Unit::fraction, 1}, 7), 1);
}

TEST(IntervalClock, StepsAreMultiples) {
  IntervalClock clock({Interval::Unit::steps, 3}, 10, 0);
  for (std::int64_t step = 1; step <= 10; ++step) EXPECT_EQ(clock.due(step, 0), step % 3 == 0) << step;
}

TEST(IntervalClock, StepsDoNotDependOnWhereAnAttemptBegan) {
  IntervalClock whole({Interval::Unit::fraction, 0.07}, 100, 0), resumed = whole;
  for (std::int64_t step = 1; step <= 100; ++step) {
    const bool due = whole.due(step, 0);
    if (step > 40) {
      EXPECT_EQ(resumed.due(step, 0), due) << step;
    }
  }
}

TEST(IntervalClock, SecondsCountFromTheLastTime) {
  IntervalClock clock({Interval::Unit::seconds, 10}, 100, 1000);
  EXPECT_FALSE(clock.due(1, 1009.9));
  EXPECT_TRUE(clock.due(2, 1012));
  EXPECT_FALSE(clock.due(3, 1021));
  EXPECT_TRUE(clock.due(4, 1022));
}

}  // namespace
}  // namespace minichilla::schedule_test
