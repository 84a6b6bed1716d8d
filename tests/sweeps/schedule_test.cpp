#include "sweeps/schedule.h"

#include <gtest/gtest.h>

namespace minichilla::schedule_test {
namespace {

TEST(Schedule, TakesTheLongestFirst) {
  EXPECT_EQ(simulate_schedule({1, 2, 3, 4}, 1).makespan_s, 10);
  EXPECT_EQ(simulate_schedule({1, 2, 3, 4}, 2).makespan_s, 5);
  EXPECT_EQ(simulate_schedule({7, 1, 1}, 2).makespan_s, 7);
  EXPECT_EQ(simulate_schedule({1, 2}, 5).makespan_s, 2);
  EXPECT_EQ(simulate_schedule({}, 2).makespan_s, 0);
}

TEST(Schedule, CountsHowBusyTheWorkersAre) {
  const Schedule schedule = simulate_schedule({4, 1, 1}, 2);
  EXPECT_EQ(schedule.work_s, 6);
  EXPECT_EQ(schedule.longest_s, 4);
  EXPECT_DOUBLE_EQ(schedule.utilisation(), 6.0 / 8.0);
}

}  // namespace
}  // namespace minichilla::schedule_test
