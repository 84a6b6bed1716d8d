#include "sweeps/sweep_workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sweeps/run_store.h"
#include "tests/sweeps/fake_slurm.h"
#include "tests/sweeps/sweep_fixture.h"

namespace minichilla::sweep_workers_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string state_of(const std::vector<SweepWorker>& workers, const std::string& name) {
  for (const SweepWorker& worker : workers) {
    if (worker.name == name) return worker.state;
  }
  return "none";
}

/// Three runs, the first with an attempt of job 1001 on a host that nobody can look into.
class SweepWorkersTest : public SweepFixture {
 protected:
  SweepWorkersTest() {
    const SweepPlan three = plan("kind: grid, sizes: [1x16], tokens: [6400, 12800, 25600]");
    store_plan(sweep_folder(), three, false);
    for (const PlanRow& row : three.rows) runs_.push_back(row.planned);
    folder_.write("sweep/slurm/name", "mine-1f\n");
    folder_.write("sweep/slurm/submit.yaml", "workers: 3\n");
  }
  void begin_run(std::size_t run, const std::string& job) {
    const std::string attempt = "sweep/runs/" + runs_[run].run_id + "/attempts/1/";
    folder_.write(
        attempt + "owner.json",
        R"({"host": "n0", "pid": 7, "boot_id": "other", "pid_namespace": "x", "start_ticks": 1, "job": ")" +
            job + "\"}\n");
    folder_.write(attempt + "heartbeat", "1\n");
  }
  std::string task(int number, const std::string& state, const std::string& reason = "None") const {
    return "100_" + std::to_string(number) + "|100" + std::to_string(number) + "|100|" + state + "|" +
           reason + "|0:10|59:50|n0|mine-1f\n";
  }

  FakeSlurm slurm_;
  std::vector<PlannedRun> runs_;
};

TEST_F(SweepWorkersTest, JoinsJobsAndRuns) {
  begin_run(0, "1001");
  slurm_.set_queue(task(0, "PENDING", "Resources") + task(1, "RUNNING") + task(2, "PENDING", "BeginTime") +
                   task(3, "PREEMPTED") + task(4, "NODE_FAIL") + task(5, "COMPLETED"));
  slurm_.set_jobs("JobId=1002 Restarts=2 PreemptTime=None RunTime=00:00:00 TimeLimit=01:00:00\n");
  std::vector<RunStatus> runs = sweep_status(sweep_folder());
  const JobsView view = look_at_jobs(sweep_folder());
  const std::vector<SweepWorker> workers = join_workers(sweep_folder(), view, runs);
  EXPECT_EQ(state_of(workers, "100_0"), "pending");
  EXPECT_EQ(state_of(workers, "100_1"), "running");
  EXPECT_EQ(state_of(workers, "100_2"), "requeued");
  EXPECT_EQ(state_of(workers, "100_3"), "preempted");
  EXPECT_EQ(state_of(workers, "100_4"), "lost");
  EXPECT_EQ(state_of(workers, "100_5"), "ended");
  EXPECT_EQ(workers[1].run_id, runs_[0].run_id);
  EXPECT_EQ(runs[0].state, RunState::running);
  const std::string text = workers_text(view, workers, 10);
  EXPECT_THAT(text,
              AllOf(HasSubstr("NODE_FAIL"), HasSubstr("Resources"), HasSubstr(runs_[0].run_id),
                    HasSubstr("1 ended, 1 lost, 1 pending, 1 preempted, 1 requeued, 1 running; 3 wanted")));
  const auto json = workers_json(view, workers);
  EXPECT_EQ(json["counts"]["lost"], 1);
  EXPECT_EQ(json["list"][2]["restarts"], 2);
}

TEST_F(SweepWorkersTest, ARunWhoseJobHasEndedIsInterruptedAtOnce) {
  begin_run(0, "1001");
  slurm_.set_queue(task(1, "FAILED"));
  std::vector<RunStatus> runs = sweep_status(sweep_folder());
  ASSERT_EQ(runs[0].state, RunState::running) << "its heartbeat has not been watched for long enough";
  join_workers(sweep_folder(), look_at_jobs(sweep_folder()), runs);
  EXPECT_EQ(runs[0].state, RunState::interrupted);
  EXPECT_EQ(runs[0].reason, "its job 100_1 has ended (FAILED)");
}

TEST_F(SweepWorkersTest, AsksSacctForWhatSqueueHasForgotten) {
  append_slurm_record(sweep_folder(), {"workers", "70", 3});
  slurm_.answer("sacct", "echo \"71|COMPLETED\"; echo \"72|CANCELLED by 0\"; echo \"73|TIMEOUT\"");
  std::vector<RunStatus> runs = sweep_status(sweep_folder());
  const auto workers = join_workers(sweep_folder(), look_at_jobs(sweep_folder()), runs);
  EXPECT_EQ(state_of(workers, "71"), "ended");
  EXPECT_EQ(state_of(workers, "72"), "cancelled");
  EXPECT_EQ(state_of(workers, "73"), "lost");
}

TEST_F(SweepWorkersTest, SaysWhenSlurmDoesNotAnswer) {
  slurm_.answer("squeue", "echo 'error: Unable to contact slurm controller' >&2; exit 1");
  const JobsView view = look_at_jobs(sweep_folder());
  EXPECT_THAT(workers_text(view, {}, 10), HasSubstr("workers: unknown: squeue: failed with status 1"));
}

TEST_F(SweepWorkersTest, WithoutJobsShowsTheProcesses) {
  std::filesystem::remove_all(sweep_folder() / "slurm");
  begin_run(1, "");
  std::vector<RunStatus> runs = sweep_status(sweep_folder());
  const JobsView view = look_at_jobs(sweep_folder());
  EXPECT_FALSE(view.submitted);
  const auto workers = join_workers(sweep_folder(), view, runs);
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_EQ(workers[0].name, "pid 7");
  EXPECT_EQ(workers[0].node, "n0");
  EXPECT_EQ(workers[0].run_id, runs_[1].run_id);
  runs.clear();
  EXPECT_THAT(workers_text(view, {}, 10), IsEmpty());
}

TEST(MeasuredEta, GoesOnAtTheSpeedSoFar) {
  std::vector<RunStatus> runs(3);
  for (RunStatus& run : runs) run.planned.flops = 100;
  EXPECT_LT(measured_eta_s(runs), 0) << "nobody works";
  runs[0].state = RunState::done;
  runs[0].progress = 1;
  runs[0].wall_s = 10;
  runs[1].state = RunState::running;
  runs[1].progress = 0.5;
  runs[1].wall_s = 5;
  EXPECT_DOUBLE_EQ(measured_eta_s(runs), 15) << "half of one and all of another, by one worker";
  runs[2].state = RunState::running;
  EXPECT_DOUBLE_EQ(measured_eta_s(runs), 10);
}

}  // namespace
}  // namespace minichilla::sweep_workers_test
