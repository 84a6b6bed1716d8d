#include "sweeps/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sweeps/run_store.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/metrics_log.h"

namespace minichilla::status_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A sweep of three runs whose folders the tests fill by hand.
class StatusTest : public SweepFixture {
 protected:
  StatusTest() {
    const SweepPlan three = plan("kind: grid, sizes: [1x16], tokens: [6400, 12800, 25600]");
    store_plan(sweep_folder(), three, false);
    for (const PlanRow& row : three.rows) runs_.push_back(row.planned);
  }

  std::string path_of(std::size_t run, const std::string& file) const {
    return "sweep/runs/" + runs_[run].run_id + "/" + file;
  }

  void write_result(std::size_t run, const std::string& status, double val_loss,
                    const std::string& reason = "") {
    RunResult result;
    result.run_id = runs_[run].run_id;
    result.status = status;
    result.reason = reason;
    result.tokens = status == "done" ? runs_[run].tokens : runs_[run].tokens / 4;
    result.val_loss = val_loss;
    result.wall_s = 12;
    result.tokens_per_s = 5000;
    folder_.write(path_of(run, "attempts/1/outcome.json"),
                  R"({"status": ")" + status + R"(", "reason": ""})");
    folder_.write(path_of(run, "result.json"), result_json(result));
  }

  /// Rows 1 … steps of 64 tokens; an evaluation after each tenth.
  std::string metrics(int first, int last) const {
    std::string text;
    for (int step = first; step <= last; ++step) {
      MetricsRow row;
      row.step = step;
      row.tokens = 64 * step;
      row.loss = 5.0 - 0.01 * step;
      row.tokens_per_s = 4000;
      row.wall_s = 0.1 * step;
      text += metrics_line(row) + "\n";
      if (step % 10 == 0) {
        row.split = "val";
        row.loss += 0.5;
        text += metrics_line(row) + "\n";
      }
    }
    return text;
  }

  void write_owner(std::size_t run, const std::string& attempt, const ProcessIdentity& owner) {
    const nlohmann::json json = {{"host", owner.host},
                                 {"pid", owner.pid},
                                 {"boot_id", owner.boot_id},
                                 {"pid_namespace", owner.pid_namespace},
                                 {"start_ticks", owner.start_ticks}};
    folder_.write(path_of(run, "attempts/" + attempt + "/owner.json"), json.dump());
    folder_.write(path_of(run, "attempts/" + attempt + "/heartbeat"), "1");
  }

  RunStatus status(std::size_t run) const { return sweep_status(sweep_folder()).at(run); }

  std::vector<PlannedRun> runs_;
};

TEST_F(StatusTest, APlannedRunHasNothing) {
  const RunStatus run = status(0);
  EXPECT_EQ(run.state, RunState::planned);
  EXPECT_EQ(run.attempts, 0);
  EXPECT_EQ(run.progress, 0);
  EXPECT_TRUE(std::isnan(run.val_loss));
}

TEST_F(StatusTest, AResultDecides) {
  write_result(0, "done", 2.5);
  write_result(1, "diverged", kUnknown, "step 3 of 9: loss nan");
  EXPECT_EQ(status(0).state, RunState::done);
  EXPECT_EQ(status(0).progress, 1);
  EXPECT_EQ(status(0).val_loss, 2.5);
  EXPECT_EQ(status(1).state, RunState::diverged);
  EXPECT_EQ(status(1).progress, 0.25);
  EXPECT_EQ(status(1).reason, "step 3 of 9: loss nan");
}

TEST_F(StatusTest, ALivingOwnerIsRunning) {
  write_owner(0, "1", this_process());
  folder_.write(path_of(0, "attempts/1/metrics.jsonl"), metrics(1, 57));
  const RunStatus run = status(0);
  EXPECT_EQ(run.state, RunState::running);
  EXPECT_EQ(run.attempts, 1);
  EXPECT_DOUBLE_EQ(run.progress, 57.0 / 100);
  EXPECT_DOUBLE_EQ(run.loss, 5 - 0.57);
  EXPECT_DOUBLE_EQ(run.val_loss, 5 - 0.5 + 0.5);
  EXPECT_EQ(run.tokens_per_s, 4000);
}

TEST_F(StatusTest, ADeadOwnerIsInterrupted) {
  ProcessIdentity gone = this_process();
  gone.start_ticks += 1;  // this pid, but another process
  write_owner(0, "1", gone);
  folder_.write(path_of(0, "attempts/1/metrics.jsonl"), metrics(1, 20) + "{\"step\": 21, \"tok");
  const RunStatus run = status(0);
  EXPECT_EQ(run.state, RunState::interrupted);
  EXPECT_DOUBLE_EQ(run.progress, 0.2) << "the torn line does not count";
  EXPECT_THAT(run.reason, HasSubstr("gone"));
}

TEST_F(StatusTest, TheNewestAttemptsOutcomeDecides) {
  folder_.write(path_of(0, "attempts/9/outcome.json"), R"({"status": "failed", "reason": "disk full"})");
  folder_.write(path_of(0, "attempts/9/metrics.jsonl"), metrics(1, 30));
  EXPECT_EQ(status(0).state, RunState::failed);
  EXPECT_EQ(status(0).reason, "crash, 1 of 3 times: disk full");
  folder_.write(path_of(0, "attempts/10/outcome.json"), R"({"status": "interrupted", "reason": "stopped"})");
  EXPECT_EQ(status(0).state, RunState::interrupted) << "10 is newer than 9";
  EXPECT_DOUBLE_EQ(status(0).progress, 0.3) << "the newest attempt that has metrics";
}

TEST_F(StatusTest, ReadsTheTailOfLongMetrics) {
  folder_.write(path_of(0, "attempts/1/metrics.jsonl"), metrics(1, 5000));
  const NewestMetrics newest = newest_metrics(run_folder(sweep_folder(), runs_[0].run_id));
  EXPECT_EQ(newest.tokens, 64 * 5000);
  EXPECT_DOUBLE_EQ(newest.val_loss, 5 - 50 + 0.5);
}

TEST_F(StatusTest, CountsWeighRunsByFlops) {
  write_result(0, "done", 2.5);
  write_result(1, "diverged", kUnknown, "loss nan");
  const StatusCounts counts = count_states(sweep_status(sweep_folder()));
  EXPECT_EQ(counts.done, 1);
  EXPECT_EQ(counts.diverged, 1);
  EXPECT_EQ(counts.planned, 1);
  EXPECT_EQ(counts.ended(), 2);
  EXPECT_NEAR(counts.progress, (6400 + 12800) / (6400 + 12800 + 25600.0), 1e-9);
}

TEST_F(StatusTest, TheTextEndsWithTheCommandThatFinishes) {
  write_result(0, "done", 2.5);
  write_result(1, "diverged", kUnknown, "step 3: loss nan");
  const std::string sweep = sweep_folder().string();
  std::string text = status_text(sweep, sweep_status(sweep));
  EXPECT_THAT(text, AllOf(HasSubstr("2/3 runs: 1 done, 1 diverged, 1 planned"), HasSubstr("2.5000"),
                          HasSubstr("step 3: loss nan"), HasSubstr("minichilla sweep run " + sweep + "\n")));
  write_owner(2, "1", this_process());
  EXPECT_THAT(status_text(sweep, sweep_status(sweep)), Not(HasSubstr("sweep run")));
  write_result(2, "done", 2.4);
  text = status_text(sweep, sweep_status(sweep));
  EXPECT_THAT(text,
              AllOf(HasSubstr("100 %"), HasSubstr("minichilla fit " + sweep), Not(HasSubstr("sweep run"))));
}

TEST_F(StatusTest, LongTablesShowUnfinishedRunsFirst) {
  write_result(0, "done", 2.5);
  write_owner(2, "1", this_process());
  const std::string text = status_text(sweep_folder(), sweep_status(sweep_folder()), 1);
  EXPECT_THAT(text,
              AllOf(HasSubstr(runs_[2].run_id), Not(HasSubstr(runs_[0].run_id)), HasSubstr("2 more runs")));
}

TEST_F(StatusTest, TheJsonHasNullsForUnknowns) {
  write_result(0, "done", 2.5);
  const nlohmann::ordered_json json = status_json(sweep_status(sweep_folder()));
  EXPECT_EQ(json["counts"]["done"], 1);
  EXPECT_EQ(json["runs"][0]["val_loss"], 2.5);
  EXPECT_TRUE(json["runs"][1]["val_loss"].is_null());
  EXPECT_EQ(json["runs"][2]["state"], "planned");
}

}  // namespace
}  // namespace minichilla::status_test
