#include "sweeps/time_limit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sweeps/run_store.h"
#include "tests/sweeps/fake_slurm.h"
#include "tests/sweeps/sweep_fixture.h"

namespace minichilla::time_limit_test {
namespace {

TEST(SecondsToCheckpoint, FollowTheInterval) {
  RunConfig config;
  config.train.tokens = 1000 * config.train.batch_tokens;
  PlannedRun planned;
  planned.estimated_s = 500;
  config.train.checkpoint.every = parse_interval("60s");
  EXPECT_DOUBLE_EQ(seconds_to_checkpoint(config, planned, 0), 60);
  EXPECT_DOUBLE_EQ(seconds_to_checkpoint(config, planned, 0.9), 50) << "it ends before";
  config.train.checkpoint.every = parse_interval("0.2");
  EXPECT_DOUBLE_EQ(seconds_to_checkpoint(config, planned, 0), 100);
  config.train.checkpoint.every = parse_interval("300 steps");
  EXPECT_DOUBLE_EQ(seconds_to_checkpoint(config, planned, 0), 150);
  planned.estimated_s = 0;
  EXPECT_EQ(seconds_to_checkpoint(config, planned, 0), 0) << "nobody knows";
}

TEST(TimeLimit, SufficesUntilItDoesNot) {
  EXPECT_TRUE(TimeLimit::suffices(100, 30, 60));
  EXPECT_FALSE(TimeLimit::suffices(100, 50, 60));
  EXPECT_TRUE(TimeLimit::suffices(std::nan(""), 1e9, 60)) << "no limit";
}

class TimeLimitTest : public SweepFixture {
 protected:
  TimeLimitTest() {
    const SweepPlan two =
        plan("kind: grid, sizes: [1x16], tokens: [6400, 12800]", "checkpoint: {every: 60s}");
    store_plan(sweep_folder(), two, false);
    for (const PlanRow& row : two.rows) runs_.push_back(row.planned);
    runs_[0].estimated_s = 10;
    runs_[1].estimated_s = 1000;
  }
  std::vector<PlannedRun> runs_;
};

TEST_F(TimeLimitTest, TheFirstRunIsTakenAndLaterOnesMustFit) {
  TimeLimit limit(sweep_folder(), 30);
  EXPECT_TRUE(limit.allows(runs_[1], 0)) << "a new job has no more time than this";
  EXPECT_FALSE(limit.allows(runs_[1], 0));
  EXPECT_TRUE(limit.allows(runs_[0], 0)) << "a shorter one still fits";
}

TEST_F(TimeLimitTest, AJobAsksSqueueAndTakesTheGraceOff) {
  FakeSlurm slurm;
  unsetenv("SLURM_JOB_ID");
  EXPECT_TRUE(std::isnan(slurm_seconds_left(sweep_folder()))) << "no job";
  slurm.set_queue("1:00:00\n");
  folder_.write("sweep/slurm/submit.yaml", "grace_s: 100\n");
  setenv("SLURM_JOB_ID", "12", 1);
  EXPECT_EQ(slurm_seconds_left(sweep_folder()), 3500);
  slurm.set_queue("UNLIMITED\n");
  EXPECT_TRUE(std::isnan(slurm_seconds_left(sweep_folder())));
  slurm.answer("squeue", "exit 1");
  EXPECT_TRUE(std::isnan(slurm_seconds_left(sweep_folder())));
  unsetenv("SLURM_JOB_ID");
}

}  // namespace
}  // namespace minichilla::time_limit_test
