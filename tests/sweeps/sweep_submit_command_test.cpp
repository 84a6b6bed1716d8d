#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sweeps/run_store.h"
#include "sweeps/slurm_folder.h"
#include "tests/sweeps/fake_slurm.h"
#include "tests/sweeps/run_command.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/run_directory.h"

namespace minichilla::sweep_submit_command_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class SweepSubmitCommandTest : public SweepFixture {
 protected:
  SweepSubmitCommandTest() {
    const SweepPlan two = plan("kind: grid, sizes: [1x16], tokens: [6400, 12800]");
    store_plan(sweep_folder(), two, false);
    for (const PlanRow& row : two.rows) runs_.push_back(row.planned);
  }
  CommandResult sweep(const std::string& command, std::vector<std::string> options = {}) const {
    options.insert(options.begin(), {"sweep", command, sweep_folder().string()});
    return run_command(add_sweep_command, options);
  }
  void end_runs() {
    for (const PlannedRun& run : runs_) {
      RunResult result;
      result.run_id = run.run_id;
      result.status = "done";
      result.tokens = run.tokens;
      result.val_loss = 1.25;
      folder_.write("sweep/runs/" + run.run_id + "/result.json", result_json(result));
    }
  }

  FakeSlurm slurm_;
  std::vector<PlannedRun> runs_;
};

TEST_F(SweepSubmitCommandTest, OptionsReachSbatchAndAreRemembered) {
  const CommandResult first =
      sweep("submit", {"--workers", "2", "--throttle", "1", "--extra=--exclude=n7", "--module", "a",
                       "--module", "b", "--time", "1:00:00", "--json", "-"});
  const auto json = nlohmann::json::parse(first.output);
  EXPECT_EQ(json["arrays"][0]["tasks"], 2);
  EXPECT_EQ(json["arrays"][0]["throttle"], 1);
  const CommandResult second = sweep("submit", {"--partition", "gpu"});
  EXPECT_THAT(second.output,
              AllOf(HasSubstr("2 workers wanted, 2 queued or running"), HasSubstr("that is enough")));
  const SlurmOptions stored = read_slurm_options(sweep_folder());
  EXPECT_EQ(stored.time, "1:00:00");
  EXPECT_EQ(stored.partition, "gpu");
  EXPECT_THAT(stored.modules, ElementsAre("a", "b"));
  EXPECT_THAT(slurm_.calls(), ElementsAre("sbatch --parsable --array=0-1%1 worker.sbatch",
                                          "sbatch --parsable --dependency=afterany:101 report.sbatch"));
}

TEST_F(SweepSubmitCommandTest, DryRunPrintsTheScript) {
  EXPECT_THAT(sweep("submit", {"--dry-run", "--gres", "gpu:1"}).output,
              AllOf(StartsWith("#!/bin/bash\n"), HasSubstr("#SBATCH --gres=\"gpu:1\"\n"),
                    HasSubstr("\n# sbatch --array=0-1 worker.sbatch\n")));
}

TEST_F(SweepSubmitCommandTest, TheFollowUpTellsItsScriptWhetherWorkIsLeft) {
  sweep("submit");
  EXPECT_EQ(sweep("submit", {"--continue"}).status, kInterrupted) << "workers are at work";
  slurm_.set_queue("");
  EXPECT_EQ(sweep("submit", {"--continue"}).status, kPartialFailure) << "they got nowhere";
  end_runs();
  EXPECT_EQ(sweep("submit", {"--continue"}).status, kDone);
}

TEST_F(SweepSubmitCommandTest, CancelSaysWhatItCancelled) {
  sweep("submit");
  EXPECT_THAT(sweep("cancel").output, AllOf(HasSubstr("3 jobs cancelled: 102_0, 101_0, 101_1"),
                                            HasSubstr("to go on: minichilla sweep submit")));
  slurm_.set_queue("");
  EXPECT_THAT(sweep("cancel").output, HasSubstr("0 jobs cancelled"));
}

TEST_F(SweepSubmitCommandTest, StatusShowsRunsAndWorkers) {
  sweep("submit", {"--workers", "2"});
  EXPECT_THAT(sweep("status").output,
              AllOf(HasSubstr(runs_[0].run_id), HasSubstr("101_1   pending"),
                    HasSubstr("workers: 2 pending; 2 wanted; follow-up: job 102_0 pending"),
                    HasSubstr("to finish it: minichilla sweep submit")));
}

TEST_F(SweepSubmitCommandTest, WatchEndsWithTheLastRun) {
  end_runs();
  const std::string json = (folder_ / "status.json").string();
  const CommandResult watched = sweep("status", {"--watch", "--json", json});
  EXPECT_THAT(watched.output,
              AllOf(HasSubstr("[############] 100 %"), HasSubstr("1.2500"), HasSubstr("2/2 runs: 2 done")));
  const auto written = nlohmann::json::parse(read_file(json));
  EXPECT_EQ(written["counts"]["done"], 2);
  EXPECT_TRUE(written["eta_s"].is_null());
  EXPECT_TRUE(written["workers"]["list"].empty());
}

}  // namespace
}  // namespace minichilla::sweep_submit_command_test
