// minichilla sweep as a user calls it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "sweeps/device_choice.h"
#include "sweeps/run_store.h"
#include "sweeps/worker_process.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/files.h"

namespace minichilla::sweep_command_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class SweepCommandTest : public SweepFixture {
 protected:
  struct Answer {
    int status;
    std::string text;  ///< stdout and stderr
  };
  Answer call(const std::vector<std::string>& words) const {
    std::vector<std::string> command = {MINICHILLA_BINARY, "sweep"};
    command.insert(command.end(), words.begin(), words.end());
    const std::filesystem::path log = folder_ / "answer";
    std::filesystem::remove(log);
    WorkerProcess process(command, log);
    for (;;) {
      if (const auto end = process.ended()) return {end->signal ? -end->signal : end->status, read_file(log)};
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  std::string config(const std::string& sweep, const std::string& train = "") const {
    return folder_.write("sweep.yaml", yaml(sweep, train)).string();
  }

  const std::string small_ = "kind: grid, sizes: [1x16], tokens: [6400, 12800]";
};

TEST_F(SweepCommandTest, PlanRunStatusEndToEnd) {
  const std::string sweep = sweep_folder().string();
  Answer answer = call({"plan", config(small_), "--output", sweep, "--workers", "1"});
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("2 runs, 1 size"), HasSubstr("schedule, longest first: "),
                                 HasSubstr("2 runs planned"), HasSubstr("minichilla sweep run " + sweep)));
  answer = call({"status", sweep});
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.text, HasSubstr("0/2 runs: 2 planned"));
  const std::string json = (folder_ / "outcome.json").string();
  answer = call({"run", sweep, "--workers", "2", "--json", json});
  EXPECT_EQ(answer.status, 0) << answer.text;
  EXPECT_THAT(answer.text, HasSubstr("2 runs: 2 done, 0 diverged, 0 failed"));
  EXPECT_EQ(nlohmann::json::parse(read_file(json))["done"], 2);
  answer = call({"status", sweep, "--json", "-"});
  EXPECT_EQ(nlohmann::json::parse(answer.text)["counts"]["done"], 2) << "nothing but JSON";
  EXPECT_THAT(call({"run", sweep}).text, HasSubstr("nothing was left to do"));
}

TEST_F(SweepCommandTest, PlanSaysThatAPrecisionIsSlowOnThisCpu) {
  const auto plan = [&](const char* folder, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"plan",     config(small_), "--output", (folder_ / folder).string(),
                                      "--device", "cpu",          "--set",    "train.precision=bf16"};
    words.insert(words.end(), more.begin(), more.end());
    return call(words).text;
  };
  const bool slow = !slow_on_this_cpu("bf16").empty();
  EXPECT_EQ(plan("here", {"--no-calibration"}).find("bf16 is slower than fp32") != std::string::npos, slow);
  EXPECT_THAT(plan("elsewhere", {"--speed", "40T"}), Not(HasSubstr("bf16 is slower")));
  EXPECT_EQ(slow_on_this_cpu("fp32"), "");
}

TEST_F(SweepCommandTest, PlanAgainOrOtherwise) {
  const std::string sweep = sweep_folder().string();
  ASSERT_EQ(call({"plan", config(small_), "--output", sweep, "--no-calibration"}).status, 0);
  Answer answer = call({"plan", config(small_), "--output", sweep, "--no-calibration"});
  EXPECT_THAT(answer.text, HasSubstr("all 2 runs were planned before"));
  answer =
      call({"plan", config(small_), "--output", sweep, "--no-calibration", "--set", "sweep.tokens=[25600]"});
  EXPECT_EQ(answer.status, 2);
  EXPECT_THAT(answer.text, HasSubstr("--extend"));
  answer = call({"plan", "--set", "sweep.tokens=[25600]", config(small_), "--output", sweep,
                 "--no-calibration", "--extend"});
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("1 run planned"), HasSubstr("2 runs of other plans stay")));
}

TEST_F(SweepCommandTest, PlanWritesJsonAlone) {
  const Answer answer =
      call({"plan", config(small_), "--output", sweep_folder().string(), "--no-calibration", "--json", "-"});
  const nlohmann::json json = nlohmann::json::parse(answer.text);
  EXPECT_EQ(json["runs"].size(), 2u);
  EXPECT_EQ(json["runs"][0]["steps"], 100);
  EXPECT_TRUE(is_sweep(sweep_folder()));
}

TEST_F(SweepCommandTest, ABadConfigPlansNothing) {
  const Answer answer =
      call({"plan", config("kind: grid, sizes: [1x16], token: [6400]"), "--output", sweep_folder()});
  EXPECT_EQ(answer.status, 2);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("sweep.yaml:4: sweep.token"), HasSubstr("did you mean tokens?")));
  EXPECT_FALSE(std::filesystem::exists(sweep_folder()));
}

TEST_F(SweepCommandTest, RunTakesAConfigWithItsFolder) {
  EXPECT_EQ(call({"run", config(small_)}).status, 2) << "where to?";
  const Answer answer =
      call({"run", config(small_), "--output", sweep_folder().string(), "--no-calibration"});
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.text, HasSubstr("2 done"));
  EXPECT_EQ(call({"run", sweep_folder().string(), "--output", "x"}).status, 2) << "a sweep has its folder";
}

TEST_F(SweepCommandTest, FailuresAreAPartialFailure) {
  const std::string sweep = sweep_folder().string();
  ASSERT_EQ(call({"plan", config(small_), "--output", sweep, "--no-calibration"}).status, 0);
  const std::string bad = read_plan(sweep_folder()).at(0).run_id;
  folder_.write("sweep/runs/" + bad + "/config.yaml", "model: {n_layer: 2}\n");
  const Answer answer = call({"run", sweep});
  EXPECT_EQ(answer.status, 1);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("1 done, 0 diverged, 1 failed"), HasSubstr("failed: " + bad),
                                 HasSubstr("n_layer"), HasSubstr("to try those again")));
}

TEST_F(SweepCommandTest, CtrlCSaysHowToGoOn) {
  const std::string sweep = sweep_folder().string();
  ASSERT_EQ(call({"plan", config("kind: grid, sizes: [2x32], tokens: [10M]"), "--output", sweep,
                  "--no-calibration"})
                .status,
            0);
  const std::filesystem::path log = folder_ / "scheduler.log";
  WorkerProcess scheduler({MINICHILLA_BINARY, "sweep", "run", sweep}, log);
  const std::filesystem::path attempt =
      run_folder(sweep_folder(), read_plan(sweep_folder()).at(0).run_id) / "attempts/1";
  while (!std::filesystem::exists(attempt / "metrics.jsonl"))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  scheduler.send(SIGINT);
  std::optional<ProcessEnd> end;
  while (!(end = scheduler.ended())) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(end->status, 75);
  EXPECT_THAT(read_file(log), HasSubstr("interrupted; to go on: minichilla sweep run " + sweep));
  EXPECT_THAT(call({"status", sweep}).text, HasSubstr("1 interrupted"));
}

TEST_F(SweepCommandTest, OneWorkerTakesWhatIsLeft) {
  const std::string sweep = sweep_folder().string();
  ASSERT_EQ(call({"plan", config(small_), "--output", sweep, "--no-calibration"}).status, 0);
  Answer answer = call({"work", sweep, "--device", "cpu", "--order", "shortest"});
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("2 runs: 2 done"), HasSubstr("nothing is left to take")));
  answer = call({"verify", sweep, "--device", "cpu", "--runs", "1"});
  EXPECT_EQ(answer.status, 0);
  EXPECT_THAT(answer.text, AllOf(HasSubstr("bits"), HasSubstr("same")));
  EXPECT_TRUE(
      nlohmann::json::parse(read_file(sweep_folder() / "provenance.json"))["corpus"].contains("sources"));
  answer = call({"run", sweep, "--gpus", "0,0"});
  EXPECT_EQ(answer.status, 2);
  EXPECT_THAT(answer.text, HasSubstr("--gpus: found"));
}

TEST_F(SweepCommandTest, ARunThatWasGivenUpIsTriedAgainWhenAskedTo) {
  const std::string sweep = sweep_folder().string();
  ASSERT_EQ(call({"plan", config(small_), "--output", sweep, "--no-calibration"}).status, 0);
  const std::string bad = "sweep/runs/" + read_plan(sweep_folder()).at(0).run_id + "/config.yaml";
  const std::string good = read_file(folder_ / bad);
  folder_.write(bad, "model: {n_layer: 2}\n");
  EXPECT_EQ(call({"run", sweep, "--device", "cpu"}).status, 1);
  EXPECT_THAT(call({"status", sweep}).text, AllOf(HasSubstr("bad_input, 1 of 1 times"),
                                                  HasSubstr("sweep run " + sweep + " --retry-failed")));
  folder_.write(bad, good);
  EXPECT_EQ(call({"run", sweep, "--device", "cpu"}).status, 1);
  EXPECT_EQ(call({"run", sweep, "--device", "cpu", "--retry-failed"}).status, 0);
}

TEST_F(SweepCommandTest, StatusOfNoSweepSaysSo) {
  const Answer answer = call({"status", (folder_ / "none").string()});
  EXPECT_EQ(answer.status, 2);
  EXPECT_THAT(answer.text,
              AllOf(HasSubstr("none/plan.json"), HasSubstr("sweep plan"), Not(HasSubstr("\n\n"))));
}

}  // namespace
}  // namespace minichilla::sweep_command_test
