#include "sweeps/doctor.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tests/trainer/run_fixture.h"

namespace minichilla::doctor_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Runs on a corpus in memory: the doctor misses its folder, which is the one fault that a good run has here.
class DoctorTest : public RunTest {
 protected:
  static std::vector<std::string> faults_but_the_corpus(const Diagnosis& diagnosis) {
    std::vector<std::string> faults = diagnosis.faults;
    std::erase_if(faults, [](const std::string& fault) { return fault.starts_with("memory-corpus: "); });
    EXPECT_EQ(faults.size() + 1, diagnosis.faults.size());
    return faults;
  }
};

TEST_F(DoctorTest, AnInterruptedRunIsWhole) {
  train_run("run", tiny_config(), 13);
  const Diagnosis diagnosis = diagnose(folder_ / "run");
  EXPECT_EQ(diagnosis.state, "interrupted");
  EXPECT_THAT(diagnosis.reason, HasSubstr("stopped by signal 15 after step 13 of 24"));
  EXPECT_THAT(faults_but_the_corpus(diagnosis), testing::IsEmpty());
  ASSERT_EQ(diagnosis.checkpoints.size(), 2u);
  EXPECT_EQ(diagnosis.checkpoints.back().step, 13);
  EXPECT_EQ(diagnosis.checkpoints.back().fault, "");
  ASSERT_EQ(diagnosis.attempts.size(), 1u);
  EXPECT_EQ(diagnosis.attempts[0].outcome, "interrupted");
  EXPECT_THAT(diagnosis_text(diagnosis),
              AllOf(HasSubstr("interrupted, 13 of 24 steps logged"), HasSubstr("goes on from step 13")));
}

TEST_F(DoctorTest, BrokenFilesAreNamed) {
  train_run("run", tiny_config(), 13);
  const std::filesystem::path model = folder_ / "run" / "checkpoints" / "13" / "model.safetensors";
  replace_file(model, read_file(model) + "x");
  replace_file(folder_ / "run" / "attempts" / "1" / "outcome.json", "{");
  const Diagnosis diagnosis = diagnose(folder_ / "run");
  EXPECT_EQ(diagnosis.weights_step, 10);  // the newest whole one
  EXPECT_THAT(diagnosis_text(diagnosis),
              AllOf(HasSubstr("after step 10: whole"), HasSubstr("after step 13: broken"),
                    HasSubstr("checkpoints/13: a checksum does not match"), HasSubstr("outcome.json")));
  EXPECT_EQ(diagnosis.state, "unreadable");
}

TEST_F(DoctorTest, ADivergedRunShowsItsLastNormsAndLargestWeights) {
  RunConfig config = tiny_config();
  config.train.optimizer.learning_rate = 300;
  config.train.optimizer.weight_decay = 50;
  config.train.optimizer.clip = 0;
  config.train.checkpoint.every = {Interval::Unit::steps, 1};
  ASSERT_EQ(train_run("run", config).kind, Outcome::Kind::diverged);
  const Diagnosis diagnosis = diagnose(folder_ / "run");
  EXPECT_EQ(diagnosis.state, "diverged");
  ASSERT_FALSE(diagnosis.last_steps.empty());
  EXPECT_EQ(diagnosis.last_steps.back().step, diagnosis.checkpoints.back().step);
  EXPECT_GT(diagnosis.last_steps.back().grad_norm, diagnosis.last_steps.front().grad_norm);
  ASSERT_FALSE(diagnosis.weights.empty());
  EXPECT_GT(diagnosis.weights.front().largest, 100);
  for (std::size_t i = 1; i < diagnosis.weights.size(); ++i) {
    EXPECT_GE(diagnosis.weights[i - 1].largest, diagnosis.weights[i].largest);
    EXPECT_LE(diagnosis.weights[i].root_mean_square, diagnosis.weights[i].largest);
  }
  const std::string text = diagnosis_text(diagnosis);
  EXPECT_THAT(text, AllOf(HasSubstr("last good checkpoint: checkpoints/"), HasSubstr("the last steps"),
                          HasSubstr("gradient norm"), HasSubstr("weights after step "),
                          HasSubstr("lower train.optimizer.learning_rate")));
  const nlohmann::ordered_json json = diagnosis_json(diagnosis);
  EXPECT_EQ(json["state"], "diverged");
  EXPECT_EQ(json["last_steps"].size(), diagnosis.last_steps.size());
  EXPECT_EQ(json["weights"].size(), diagnosis.weights.size());
}

TEST_F(DoctorTest, AFinishedRunNeedsNoAdvice) {
  train_run("run", tiny_config());
  const Diagnosis diagnosis = diagnose(folder_ / "run");
  EXPECT_EQ(diagnosis.state, "done");
  EXPECT_TRUE(std::isfinite(diagnosis.median_gradient_norm));
  EXPECT_THAT(faults_but_the_corpus(diagnosis), testing::IsEmpty());
  EXPECT_THAT(diagnosis_text(diagnosis), Not(HasSubstr("goes on")));
}

TEST_F(DoctorTest, WhatIsNoRunIsRefused) {
  EXPECT_THAT(message_of<InputError>([&] { diagnose(folder_ / "none"); }), HasSubstr("found no config.yaml"));
}

}  // namespace
}  // namespace minichilla::doctor_test
