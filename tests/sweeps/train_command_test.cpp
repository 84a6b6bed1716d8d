#include <gmock/gmock.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tests/sweeps/run_command.h"
#include "tests/temporary_folder.h"
#include "trainer/corpus.h"
#include "trainer/files.h"

namespace minichilla::train_command_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TrainCommandTest : public ::testing::Test {
 protected:
  TrainCommandTest() {
    std::string text;
    for (int i = 0; i < 400; ++i)
      text += "Line " + std::to_string(i % 7) + " of a text that repeats itself.\n";
    PrepareOptions options;
    options.inputs = {folder_.write("text.txt", text)};
    options.output = folder_ / "corpus";
    options.documents = "file";
    options.split = "position";
    options.val_fraction = 0.1;
    ::testing::internal::CaptureStderr();
    prepare_corpus(options);
    ::testing::internal::GetCapturedStderr();
    config_ = folder_
                  .write("config.yaml",
                         "model: {n_layers: 1, d_model: 16, n_heads: 2, context_length: 16}\n"
                         "data: {corpus: " +
                             (folder_ / "corpus").string() +
                             "}\n"
                             "train: {tokens: 2560, batch_tokens: 128, micro_batch: 4}\n")
                  .string();
  }

  /// Runs `minichilla train …`: exit status, with what it printed in output_ and errors_.
  int train(std::vector<std::string> arguments, int signal = 0) {
    const std::atomic<int> requested{signal};
    arguments.insert(arguments.begin(), "train");
    const CommandResult result = run_command(add_train_command, arguments, StopToken(&requested));
    output_ = result.output;
    errors_ = result.errors;
    return result.status;
  }
  std::string refusal(const std::vector<std::string>& arguments) {
    return message_of<InputError>([&] { train(arguments); });
  }

  const TemporaryFolder folder_;
  std::string config_, output_, errors_;
  const std::string run_ = (folder_ / "run").string();
};

TEST_F(TrainCommandTest, TrainsAndSaysWhatCameOut) {
  EXPECT_EQ(train({config_, "--output", run_}), 0);
  EXPECT_THAT(output_,
              AllOf(HasSubstr("done: 1x16-2.56k-s1-"), HasSubstr("validation loss"), HasSubstr("tokens/s")));
  EXPECT_THAT(errors_, HasSubstr("step 1/20  loss 5."));
  EXPECT_EQ(train({config_, "--output", run_, "--quiet", "--json", "-"}), 0);  // finished: shown again
  EXPECT_EQ(errors_, "");
  const nlohmann::json result = nlohmann::json::parse(output_);
  EXPECT_EQ(result["status"], "done");
  EXPECT_EQ(result["steps"], 20);
  EXPECT_EQ(nlohmann::json::parse(read_file(folder_ / "run/result.json")), result);
}

TEST_F(TrainCommandTest, DryRunShowsThePlanAndLeavesNothing) {
  EXPECT_EQ(train({config_, "--dry-run", "--threads", "1", "--json", (folder_ / "plan.json").string()}), 0);
  EXPECT_THAT(output_, AllOf(HasSubstr("without embeddings"), HasSubstr("20 of 8 sequences"),
                             HasSubstr("6ND"), HasSubstr("activations"), HasSubstr("on 1 thread\n")));
  const nlohmann::json plan = nlohmann::json::parse(read_file(folder_ / "plan.json"));
  EXPECT_EQ(plan["tokens"], 2560);
  EXPECT_EQ(plan["steps"], 20);
  EXPECT_GT(plan["params"], plan["params_non_embedding"]);
  EXPECT_NEAR(plan["flops_6nd"].get<double>(), 6 * 2560 * plan["params"].get<double>(), 1);
  EXPECT_GT(plan["estimated_s"], 0);
  const nlohmann::json& memory = plan["memory_bytes"];
  std::size_t total = 0;
  for (const auto& [key, bytes] : memory.items()) total += key == "total" ? 0 : bytes.get<std::size_t>();
  EXPECT_EQ(memory["total"], total);
  EXPECT_THAT(output_, AllOf(HasSubstr("memory       " + std::to_string(total) + " bytes ("),
                             HasSubstr(" " + memory["moments"].dump() + " moments\n")));
  EXPECT_FALSE(std::filesystem::exists(run_));
}

TEST_F(TrainCommandTest, WhatDoesNotFitIsRefusedBeforeAnythingIsMade) {
  std::vector<std::string> arguments = {config_, "--set", "model.n_layers=100", "--set",
                                        "model.d_model=16384"};
  std::vector<std::string> training = arguments;
  training.insert(training.end(), {"--output", run_});
  EXPECT_THAT(refusal(training), AllOf(HasSubstr("memory: found "), HasSubstr("train.micro_batch (4)")));
  EXPECT_FALSE(std::filesystem::exists(run_));

  const std::string json = (folder_ / "plan.json").string();
  arguments.insert(arguments.end(), {"--dry-run", "--json", json});
  EXPECT_THAT(refusal(arguments), HasSubstr("memory: found "));
  const nlohmann::json plan = nlohmann::json::parse(read_file(json));
  EXPECT_LT(plan["memory_available"], plan["memory_bytes"]["total"]);
  EXPECT_TRUE(plan["tokens_per_s"].is_null() && plan["estimated_s"].is_null());
}

TEST_F(TrainCommandTest, InterruptedSaysHowToGoOn) {
  EXPECT_EQ(train({config_, "--output", run_, "--set", "train.seed=3"}, 15), 75);
  EXPECT_THAT(errors_,
              AllOf(HasSubstr("stopped by signal 15 after step 0 of 20"),
                    HasSubstr("minichilla train " + config_ + " --output " + run_ + " --set train.seed=3")));
  EXPECT_EQ(train({config_, "--output", run_, "--set", "train.seed=3"}), 0);
}

TEST_F(TrainCommandTest, TheCommandThatGoesOnHasEveryOptionAndFitsAShell) {
  const std::string run = (folder_ / "it's a run").string(), json = (folder_ / "result.json").string();
  EXPECT_EQ(train({config_, "--output", run, "--set", "train.evaluate.every=5 steps", "--set",
                   "data.order=sequential", "--threads", "1", "--quiet", "--json", json},
                  15),
            75);
  EXPECT_THAT(errors_,
              HasSubstr("\n  minichilla train " + config_ + " --output '" + (folder_ / "it").string() +
                        "'\\''s a run' --set 'train.evaluate.every=5 steps' --set data.order=sequential "
                        "--threads 1 --quiet --json " +
                        json + "\n"));
}

TEST_F(TrainCommandTest, AFailedWriteSaysThatTheRunGoesOn) {
  const std::string below_a_file = (folder_.write("file", "") / "run").string();
  EXPECT_THAT(message_of<IoError>([&] {
                train({config_, "--output", below_a_file});
              }),
              AllOf(HasSubstr("file/run: cannot create: "), HasSubstr("the same command goes on")));
}

TEST_F(TrainCommandTest, DivergedExitsWithThree) {
  const std::vector<std::string> arguments = {config_,
                                              "--output",
                                              run_,
                                              "--set",
                                              "train.optimizer.learning_rate=1000",
                                              "--set",
                                              "train.optimizer.weight_decay=1000"};
  EXPECT_EQ(train(arguments), 3);
  EXPECT_THAT(errors_, HasSubstr("minichilla: diverged: "));
  EXPECT_EQ(train(arguments), 3);
}

TEST_F(TrainCommandTest, BadInputIsNamed) {
  EXPECT_THAT(refusal({config_}), HasSubstr("--output: missing"));
  EXPECT_THAT(refusal({config_, "--output", run_, "--set", "train.sead=3"}),
              AllOf(HasSubstr("train.sead: found an unknown key"), HasSubstr("did you mean seed?")));
  EXPECT_THAT(refusal({config_, "--output", run_, "--set", "train.batch_tokens=100"}),
              AllOf(HasSubstr(config_ + ": train.batch_tokens: found 100"), HasSubstr("nearest: 64 or 128")));
  EXPECT_THAT(refusal({config_, "--output", run_, "--set", "data.corpus="}), HasSubstr("data.corpus"));
  EXPECT_THAT(refusal({folder_.write("sweep.yaml", "sweep: {kind: isoflop}").string(), "--output", run_}),
              HasSubstr("minichilla sweep plan"));
  EXPECT_THAT(refusal({(folder_ / "nowhere.yaml").string(), "--output", run_}),
              HasSubstr("nowhere.yaml: found no such file"));
  EXPECT_FALSE(std::filesystem::exists(run_));
  train({config_, "--output", run_});
  EXPECT_THAT(refusal({config_, "--output", run_, "--set", "train.optimizer.clip=2"}),
              AllOf(HasSubstr("train.optimizer.clip: this run has 1"), HasSubstr("the given config has 2")));
}

}  // namespace
}  // namespace minichilla::train_command_test
