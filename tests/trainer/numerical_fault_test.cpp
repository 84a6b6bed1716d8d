// Values that are not finite, put where a run meets them: into a batch on its way through the model, a
// gradient, a weight.
#include <gmock/gmock.h>

#include <cmath>

#include "kernels/cpu/cpu_operations.h"
#include "tests/kernels/forwarding_device.h"
#include "tests/trainer/flat_arrays.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/attempt.h"
#include "trainer/checkpoint.h"

namespace minichilla::numerical_fault_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

enum class Place { batch, gradient };

/// The CPU's operations, one of whose results gets one bad value once.
class PoisonedOperations : public CpuOperations {
 public:
  Place place = Place::batch;
  float value = 0;
  mutable int calls_before = 0;  ///< of the poisoned operation; it strikes when this reaches 0

  void embed(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* token_embedding,
             const float* position_embedding, float* out) const override {
    CpuOperations::embed(lane, B, T, C, tokens, token_embedding, position_embedding, out);
    if (place == Place::batch && calls_before-- == 0) out[3] = value;
  }
  void embed_backward(Lane& lane, int B, int T, int C, const std::int32_t* tokens, const float* d_out,
                      float* d_token_embedding, float* d_position_embedding) const override {
    CpuOperations::embed_backward(lane, B, T, C, tokens, d_out, d_token_embedding, d_position_embedding);
    if (place == Place::gradient && calls_before-- == 0) d_position_embedding[5] = value;
  }
};

/// The CPU device with those operations.
class PoisonedDevice : public ForwardingDevice {
 public:
  PoisonedOperations poisoned;

  const Operations& operations() const override { return poisoned; }
};

class NumericalFaultTest : public RunTest {
 protected:
  /// Trains tiny_config() (checkpoints after steps 10 and 20) with `value` put into `place` in step `step`.
  Outcome poisoned_run(const std::string& name, Place place, float value, int step,
                       const std::string& on_divergence = "stop") {
    RunConfig config = resolved(tiny_config(), corpus_);
    config.train.on_divergence = on_divergence;
    PoisonedDevice device;
    device.poisoned.place = place;
    device.poisoned.value = value;
    const int micro_batches = static_cast<int>(config.train.batch_tokens) /
                              (config.train.micro_batch * config.model.context_length);
    device.poisoned.calls_before = (step - 1) * micro_batches + 1;
    if (place == Place::batch) device.poisoned.calls_before += evaluations_before(step, config);
    TrainContext context{device, corpus_};
    return train(config, context, folder_ / name, {});
  }

 private:
  /// Forward passes of the evaluations (every quarter of the run) before a step.
  static int evaluations_before(int step, const RunConfig& config) {
    const int quarter = static_cast<int>(config.train.steps()) / 4;
    const int windows = static_cast<int>(config.train.evaluate.tokens) / config.model.context_length;
    return (step - 1) / quarter * ((windows + config.train.micro_batch - 1) / config.train.micro_batch);
  }
};

TEST_F(NumericalFaultTest, ABadValueInABatchEndsTheRunBeforeItTouchesAWeight) {
  for (const float value : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    const std::string name = "batch " + std::to_string(value);
    const Outcome outcome = poisoned_run(name, Place::batch, value, 14);
    ASSERT_EQ(outcome.kind, Outcome::Kind::diverged) << name;
    EXPECT_THAT(
        outcome.message,
        AllOf(HasSubstr("step 14 of 24: loss not a number"), HasSubstr("gradient of "),
              HasSubstr("last good checkpoint: checkpoints/10"), HasSubstr("the step was not taken")));
    EXPECT_EQ(read_outcome(newest_attempt(folder_ / name))->reason, outcome.message);
    EXPECT_EQ(outcome.result.steps, 13);
  }
}

TEST_F(NumericalFaultTest, ABadGradientIsNamed) {
  for (const float value : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    const std::string name = "gradient " + std::to_string(value);
    const Outcome outcome = poisoned_run(name, Place::gradient, value, 7);
    ASSERT_EQ(outcome.kind, Outcome::Kind::diverged) << name;
    EXPECT_THAT(outcome.message,
                AllOf(HasSubstr("step 7 of 24"),
                      HasSubstr("not finite: gradient of position_embedding[5] = " + std::to_string(value)),
                      HasSubstr("no checkpoint was written before")));
    EXPECT_EQ(outcome.result.steps, 6);
  }
}

TEST_F(NumericalFaultTest, ADivergedRunCanBeginAgainWithHalfTheLearningRate) {
  const Outcome outcome = poisoned_run("run", Place::gradient, NAN, 14, "lower_learning_rate");
  ASSERT_EQ(outcome.kind, Outcome::Kind::done);
  EXPECT_EQ(outcome.result.learning_rate_halved, 1);
  EXPECT_EQ(parse_result(read_file(folder_ / "run" / "result.json"), "result").learning_rate_halved, 1);
  EXPECT_EQ(read_outcome(folder_ / "run" / "attempts" / "1")->cause, cause::kDiverged);
  RunConfig half = tiny_config();
  half.train.optimizer.learning_rate /= 2;
  const Outcome expected = train_run("half", half);
  EXPECT_EQ(outcome.result.val_loss, expected.result.val_loss) << "nothing is left of the first rate";
  EXPECT_EQ(final_bits("run", half), final_bits("half", half));
  const std::vector<MetricsRow> rows = read_metrics(folder_ / "run");
  EXPECT_EQ(std::count_if(rows.begin(), rows.end(), [](const MetricsRow& row) { return row.split.empty(); }),
            24);
  EXPECT_EQ(read_run_config(folder_ / "run").train.optimizer.learning_rate, 0.01) << "as planned";
}

TEST_F(NumericalFaultTest, ARunThatDivergesAtEveryRateEndsAsDiverged) {
  RunConfig config = tiny_config();
  config.train.on_divergence = "lower_learning_rate";
  config.train.optimizer.learning_rate = 1000;
  config.train.optimizer.clip = 0;
  config.train.optimizer.weight_decay = 1000;  // weights grow a hundred-thousand-fold a step
  config.train.schedule.warmup = 0;
  const Outcome outcome = train_run("run", config);
  ASSERT_EQ(outcome.kind, Outcome::Kind::diverged);
  EXPECT_EQ(outcome.result.learning_rate_halved, kMostLowered);
  EXPECT_EQ(newest_attempt_number(folder_ / "run"), kMostLowered + 1);
}

/// Puts a value into the weights of a run's newest checkpoint, checksums and all.
void poison_newest_checkpoint(const std::filesystem::path& run, const RunConfig& config, const Corpus& corpus,
                              float value) {
  const ParameterTable table(config.model, corpus.vocabulary());
  Checkpoints checkpoints(run, table);
  FlatArrays arrays(table);
  const CheckpointState state = checkpoints.load(origin_of(config, corpus), arrays, {}).value();
  arrays.weights[static_cast<std::size_t>(table.at("final_norm.weight").offset) + 2] = value;
  std::filesystem::remove_all(run / "checkpoints" / std::to_string(state.step));  // a whole one would stay
  checkpoints.save(state, arrays);
}

TEST_F(NumericalFaultTest, ABadWeightIsNamed) {
  const RunConfig config = resolved(tiny_config(), corpus_);
  for (const float value : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    const std::string name = "weight " + std::to_string(value);
    train_run(name, config, 12);
    poison_newest_checkpoint(folder_ / name, config, corpus_, value);
    const Outcome outcome = train_run(name, config);
    ASSERT_EQ(outcome.kind, Outcome::Kind::diverged) << name;
    EXPECT_THAT(outcome.message,
                AllOf(HasSubstr("step 13 of 24"),
                      HasSubstr("not finite: weight final_norm.weight[2] = " + std::to_string(value))));
  }
}

TEST_F(NumericalFaultTest, ADivergedRunUpdatesNothingAndIsNeverResumed) {
  const RunConfig config = resolved(tiny_config(), corpus_);
  train_run("run", config, 7);
  poison_newest_checkpoint(folder_ / "run", config, corpus_, std::nanf(""));
  const std::string before = read_file(folder_ / "run" / "checkpoints" / "7" / "model.safetensors");
  losses_.clear();
  const Outcome outcome = train_run("run", config);
  EXPECT_EQ(outcome.kind, Outcome::Kind::diverged);
  EXPECT_THAT(outcome.message, ::testing::AllOf(HasSubstr("step 8 of 24"), HasSubstr("not taken")));
  EXPECT_EQ(outcome.result.status, "diverged");
  EXPECT_EQ(outcome.result.steps, 7);
  EXPECT_TRUE(std::isnan(outcome.result.val_loss));
  EXPECT_EQ(read_run(folder_ / "run").state, RunState::diverged);
  EXPECT_EQ(read_outcome(newest_attempt(folder_ / "run"))->status, "diverged");
  EXPECT_EQ(read_metrics(folder_ / "run").back().step, 7);
  EXPECT_EQ(read_file(folder_ / "run" / "checkpoints" / "7" / "model.safetensors"), before);
  EXPECT_EQ(train_run("run", config).kind, Outcome::Kind::diverged);
  EXPECT_EQ(read_run(folder_ / "run").attempts, 2);
  EXPECT_TRUE(losses_.empty());
}

}  // namespace
}  // namespace minichilla::numerical_fault_test
