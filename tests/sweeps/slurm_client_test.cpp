#include "sweeps/slurm_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"
#include "tests/temporary_folder.h"

namespace minichilla::slurm_client_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SlurmTime, ReadsWhatSqueueWritesAndSbatchTakes) {
  EXPECT_EQ(parse_slurm_time("3:04"), 184);
  EXPECT_EQ(parse_slurm_time("2:03:04"), 7384);
  EXPECT_EQ(parse_slurm_time("1-02:03:04"), 86400 + 7384);
  EXPECT_EQ(parse_slurm_time("1-12"), 1.5 * 86400);
  for (const char* text : {"UNLIMITED", "INVALID", "", "NOT_SET"})
    EXPECT_TRUE(std::isnan(parse_slurm_time(text)));
}

TEST(Squeue, GivesEveryTaskOfAnArray) {
  const auto jobs = parse_squeue(
      "1_0|2|1|PENDING|JobArrayTaskLimit|0:00|1:00:00||mine-1f\n"
      "1_1|1|1|RUNNING|None|0:06|59:54|n0|mine-1f\n"
      "7|7|7|COMPLETED|None|0:03|UNLIMITED|n1|mine-1f-report\n");
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[0].id, "1_0");
  EXPECT_EQ(jobs[0].job_id, "2");
  EXPECT_EQ(jobs[0].array_id, "1");
  EXPECT_EQ(jobs[0].reason, "JobArrayTaskLimit");
  EXPECT_TRUE(jobs[0].living() && jobs[0].pending());
  EXPECT_EQ(jobs[1].node, "n0");
  EXPECT_EQ(jobs[1].elapsed_s, 6);
  EXPECT_EQ(jobs[1].left_s, 3594);
  EXPECT_TRUE(jobs[1].living());
  EXPECT_FALSE(jobs[2].living());
  EXPECT_EQ(jobs[2].name, "mine-1f-report");
}

TEST(Squeue, RefusesAnotherFormat) {
  EXPECT_EQ(message_of<InputError>([] { parse_squeue("JOBID PARTITION\n"); }),
            "squeue: found the line 'JOBID PARTITION', expected 9 fields as in %i|%A|%F|%T|%r|%M|%L|%N|%j");
}

TEST(Scontrol, TellsHowAJobEnded) {
  const auto details = parse_scontrol_jobs(
      "JobId=2 ArrayJobId=1 ArrayTaskId=0 JobState=COMPLETING Requeue=1 Restarts=0 RunTime=00:00:02 "
      "TimeLimit=01:00:00 PreemptEligibleTime=2026-01-02T03:04:05 PreemptTime=2026-01-02T03:04:05\n"
      "JobId=3 JobState=PENDING Restarts=2 RunTime=00:00:00 TimeLimit=01:00:00 PreemptTime=None\n"
      "JobId=4 JobState=TIMEOUT Restarts=0 RunTime=00:01:03 TimeLimit=00:01:00\n");
  ASSERT_EQ(details.size(), 3u);
  EXPECT_TRUE(details.at("2").preempted);
  EXPECT_FALSE(details.at("2").timed_out);
  EXPECT_EQ(details.at("3").restarts, 2);
  EXPECT_FALSE(details.at("3").preempted);
  EXPECT_TRUE(details.at("4").timed_out);
}

}  // namespace
}  // namespace minichilla::slurm_client_test
