#include "sweeps/work_clock.h"

#include <gtest/gtest.h>

namespace minichilla::work_clock_test {
namespace {

TEST(WorkClock, KnowsNothingBeforeSomethingWasDone) {
  WorkClock clock(2);
  clock.add(10, 0);
  EXPECT_LT(clock.eta_s(), 0);
  EXPECT_EQ(clock.fraction(), 0);
}

TEST(WorkClock, ExtrapolatesTheMeasuredSpeedOverTheWorkers) {
  WorkClock clock(2);
  for (int job = 0; job < 4; ++job) clock.add(10, 0);
  clock.pass_seconds(5, 2);
  clock.set(0, 1);  // 10 units in 10 worker-seconds
  EXPECT_DOUBLE_EQ(clock.fraction(), 0.25);
  EXPECT_DOUBLE_EQ(clock.eta_s(), 15) << "30 units over 2 workers at 1 a second";
}

TEST(WorkClock, WaitsForTheLongestJob) {
  WorkClock clock(2);
  clock.add(10, 0);
  clock.add(10, 0);
  clock.pass_seconds(10, 2);
  clock.set(0, 1);
  clock.set(1, 0.5);  // 15 units in 20 worker-seconds
  EXPECT_NEAR(clock.eta_s(), 5 / 0.75, 1e-9) << "one worker has nothing left to do";
}

TEST(WorkClock, EarlierWorkCountsAsDoneButNotAsSpeed) {
  WorkClock clock(1);
  clock.add(10, 1);
  clock.add(10, 0.5);
  EXPECT_DOUBLE_EQ(clock.fraction(), 0.75);
  clock.pass_seconds(2, 1);
  clock.set(1, 0.6);
  EXPECT_NEAR(clock.eta_s(), 4 / 0.5, 1e-9);
}

TEST(WorkClock, StartsFromTheExpectationAndLeavesIt) {
  WorkClock clock(1);
  clock.add(1000, 0);
  clock.expect(1);
  EXPECT_DOUBLE_EQ(clock.eta_s(), 1000);
  clock.pass_seconds(95, 1);
  clock.set(0, 0.19);  // twice as fast as expected: (190 + 5) / (95 + 5)
  EXPECT_NEAR(clock.eta_s(), 810 / 1.95, 1e-9);
}

TEST(WorkClock, NothingToDoIsDone) {
  EXPECT_EQ(WorkClock(1).fraction(), 1);
}

}  // namespace
}  // namespace minichilla::work_clock_test
