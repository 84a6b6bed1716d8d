#include "trainer/training_step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "tests/trainer/flat_arrays.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/batch_sampler.h"
#include "trainer/calibration.h"
#include "trainer/evaluate.h"

namespace minichilla::training_step_test {
namespace {

struct Batch {
  std::vector<std::int32_t> tokens, targets;
};

class TrainingStepTest : public ::testing::Test {
 protected:
  RunConfig config(int slots) const {
    RunConfig config = tiny_config();
    config.train.gradient_slots = slots;
    return resolved(config, corpus_);
  }
  Batch batch(std::int64_t first_sequence) const {
    const BatchSampler sampler(corpus_.split("train"), 16, "shuffled", 1);
    Batch batch{std::vector<std::int32_t>(128), std::vector<std::int32_t>(128)};
    sampler.fill(first_sequence, 8, batch.tokens.data(), batch.targets.data());
    return batch;
  }
  /// Flat arrays after three steps.
  FlatArrays trained(const RunConfig& run, int lanes, std::vector<StepState>* states = nullptr,
                     Precision precision = Precision::fp32) const {
    const std::unique_ptr<Device> device = make_cpu_device(lanes, precision);
    TrainingStep step(run, MemoryCorpus::kVocabulary, *device);
    step.initialise(run.train.seed);
    for (std::int64_t number = 1; number <= 3; ++number) {
      const Batch data = batch(8 * (number - 1));
      const StepState state = step.run(data.tokens, data.targets, 0.01, number);
      if (states) states->push_back(state);
    }
    return download(step);
  }

  MemoryCorpus corpus_{4000, 300};
};

TEST_F(TrainingStepTest, SameBitsForAnyNumberOfLanes) {
  for (const int slots : {1, 2, 3, 4}) {
    std::vector<StepState> one, two;
    const FlatArrays a = trained(config(slots), 1, &one);
    const FlatArrays b = trained(config(slots), 2, &two);
    const FlatArrays c = trained(config(slots), 5);
    EXPECT_EQ(a.weights, b.weights) << slots;
    EXPECT_EQ(a.first_moment, b.first_moment) << slots;
    EXPECT_EQ(a.second_moment, b.second_moment) << slots;
    EXPECT_EQ(a.weights, c.weights) << slots;
    for (std::size_t i = 0; i < one.size(); ++i) {
      EXPECT_EQ(one[i].loss_sum, two[i].loss_sum);
      EXPECT_EQ(one[i].gradient_norm, two[i].gradient_norm);
    }
  }
}

/// Factors with 8 bits of mantissa: losses of a few steps differ from fp32's, by a few units of the eighth.
TEST_F(TrainingStepTest, Bf16HasTheSameBitsForAnyNumberOfLanesAndLossesNearFp32s) {
  std::vector<StepState> fp32, bf16;
  const FlatArrays exact = trained(config(2), 1, &fp32);
  const FlatArrays one = trained(config(2), 1, &bf16, Precision::bf16);
  const FlatArrays three = trained(config(2), 3, nullptr, Precision::bf16);
  EXPECT_EQ(one.weights, three.weights);
  EXPECT_EQ(one.second_moment, three.second_moment);
  EXPECT_NE(one.weights, exact.weights);
  ASSERT_EQ(bf16.size(), fp32.size());
  for (std::size_t i = 0; i < fp32.size(); ++i) {
    EXPECT_NE(bf16[i].loss_sum, fp32[i].loss_sum);
    EXPECT_NEAR(bf16[i].loss_sum, fp32[i].loss_sum, 0x1p-8 * fp32[i].loss_sum);
    EXPECT_NEAR(bf16[i].gradient_norm, fp32[i].gradient_norm, 0x1p-5 * fp32[i].gradient_norm);
  }
}

TEST_F(TrainingStepTest, RecomputationChangesNoBits) {
  const FlatArrays kept = trained(config(2), 2);
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"norms"}, {"mlp"}, {"norms", "mlp"}}) {
    RunConfig run = config(2);
    run.train.recompute = names;
    const FlatArrays again = trained(run, 2);
    EXPECT_EQ(again.weights, kept.weights);
    EXPECT_EQ(again.first_moment, kept.first_moment);
    EXPECT_EQ(again.second_moment, kept.second_moment);
  }
}

TEST_F(TrainingStepTest, SlotsChangeRoundingOnly) {
  const FlatArrays one = trained(config(1), 1), four = trained(config(4), 1);
  for (std::size_t i = 0; i < one.weights.size(); ++i)
    EXPECT_NEAR(one.weights[i], four.weights[i], 2e-3) << i;
}

TEST_F(TrainingStepTest, FirstLossIsThatOfGuessing) {
  std::vector<StepState> states;
  trained(config(2), 1, &states);
  EXPECT_NEAR(states[0].loss_sum / 128, std::log(24.0), 0.05);
  EXPECT_EQ(states[0].finite, 1);
  EXPECT_GT(states[0].gradient_norm, 0);
  EXPECT_LT(states[2].loss_sum, states[0].loss_sum);
}

TEST_F(TrainingStepTest, ClippingScalesByTheNorm) {
  RunConfig run = config(2);
  run.train.optimizer.clip = 0.001;
  std::vector<StepState> states;
  trained(run, 1, &states);
  EXPECT_NEAR(states[0].gradient_scale, 0.001 / states[0].gradient_norm, 1e-7);
  run.train.optimizer.clip = 0;
  states.clear();
  trained(run, 1, &states);
  EXPECT_EQ(states[0].gradient_scale, 1.0f);
}

TEST_F(TrainingStepTest, PaddingStaysZero) {
  const FlatArrays arrays = trained(config(2), 1);
  const ParameterTable table(config(2).model, MemoryCorpus::kVocabulary);
  std::vector<bool> used(arrays.weights.size());
  for (const ParameterTensor& tensor : table.tensors()) {
    std::fill_n(used.begin() + tensor.offset, tensor.count(), true);
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) {
      ASSERT_EQ(arrays.weights[i], 0.0f) << i;
    }
  }
}

TEST_F(TrainingStepTest, ANonFiniteStepUpdatesNothing) {
  const RunConfig run = config(2);
  const std::unique_ptr<Device> device = make_cpu_device(2);
  TrainingStep step(run, MemoryCorpus::kVocabulary, *device);
  step.initialise(1);
  const Batch data = batch(0);
  step.run(data.tokens, data.targets, 0.01, 1);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    FlatArrays before = download(step);
    const std::size_t at = static_cast<std::size_t>(step.model().parameters().tensors()[0].offset);
    const float healthy = before.weights[at];
    before.weights[at + static_cast<std::size_t>(data.tokens[0]) * 16] = poison;
    upload(before, step);
    EXPECT_EQ(step.run(data.tokens, data.targets, 0.01, 2).finite, 0);
    const FlatArrays after = download(step);
    EXPECT_EQ(after.weights[at], healthy);
    EXPECT_EQ(std::memcmp(after.weights.data(), before.weights.data(), 4 * after.weights.size()), 0);
    EXPECT_EQ(after.first_moment, before.first_moment);
    EXPECT_EQ(after.second_moment, before.second_moment);
  }
}

TEST_F(TrainingStepTest, InitialWeightsAreThoseOfTheTable) {
  const RunConfig run = config(1);
  constexpr int kVocabulary = 40001;  // an embedding that passes in three pieces
  const std::unique_ptr<Device> device = make_cpu_device(1);
  TrainingStep step(run, kVocabulary, *device);
  step.initialise(3);
  const ParameterTable table(run.model, kVocabulary);
  FlatArrays expected(table);
  for (const ParameterTensor& tensor : table.tensors()) {
    initial_values(
        tensor, 3, 0,
        std::span(expected.weights)
            .subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.count())));
  }
  const FlatArrays found = download(step);
  EXPECT_EQ(found.weights, expected.weights);
  EXPECT_EQ(found.first_moment, expected.first_moment);
  EXPECT_EQ(found.second_moment, expected.second_moment);
  step.next_batch();
  step.enqueue(0.0, 1);
  step.wait();
  EXPECT_THROW(step.initialise(3), std::logic_error);
}

TEST_F(TrainingStepTest, ABatchOfAnotherSizeIsRefused) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  TrainingStep step(config(1), MemoryCorpus::kVocabulary, *device);
  const Batch data = batch(0);
  EXPECT_THROW(step.run(std::span(data.tokens).first(64), data.targets, 0.01, 1), std::logic_error);
}

TEST_F(TrainingStepTest, EvaluationCountsEveryWindowOnce) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const auto loss_of = [&](int micro_batch, std::int64_t tokens, int lanes) {
    RunConfig run = tiny_config();
    run.train.micro_batch = micro_batch;
    run.train.evaluate.tokens = tokens;
    run = resolved(run, corpus_);
    const std::unique_ptr<Device> own = make_cpu_device(lanes);
    TrainingStep step(run, MemoryCorpus::kVocabulary, *own);
    step.initialise(1);
    return Evaluator(run, corpus_.split("val"), step.model(), *own).run();
  };
  const double single = loss_of(1, 208, 1).loss;
  EXPECT_NEAR(loss_of(2, 208, 1).loss, single, 1e-6);  // 13 windows: 6 batches and one left over
  EXPECT_NEAR(loss_of(8, 208, 1).loss, single, 1e-6);
  EXPECT_EQ(loss_of(2, 208, 3).loss, loss_of(2, 208, 1).loss);
  EXPECT_NEAR(loss_of(8, 48, 1).loss, loss_of(1, 48, 1).loss, 1e-6);  // fewer windows than a micro-batch
  EXPECT_NE(loss_of(1, 48, 1).loss, single);
  const Evaluation evaluation = loss_of(1, 208, 1);
  EXPECT_NEAR(evaluation.bits_per_byte, evaluation.loss / std::numbers::ln2 * 2, 1e-12);  // two tokens a byte
}

TEST_F(TrainingStepTest, AMidwayEvaluationReadsBatchesOfAllOfTheText) {
  const std::unique_ptr<Device> device = make_cpu_device(2);
  RunConfig run = tiny_config();
  run.train.evaluate.tokens = 208;  // 13 windows of 16 tokens, 2 in a batch
  const auto evaluator = [&](std::int64_t midway_tokens, TrainingStep& step) {
    run.train.evaluate.midway_tokens = midway_tokens;
    return Evaluator(resolved(run, corpus_), corpus_.split("val"), step.model(), *device);
  };
  TrainingStep step(resolved(run, corpus_), MemoryCorpus::kVocabulary, *device);
  step.initialise(1);
  Evaluator some = evaluator(40, step);  // batches 0 and 3
  ASSERT_TRUE(some.has_midway());
  const Evaluation all = some.run(), midway = some.run_midway();
  EXPECT_EQ(midway.loss, all.midway_loss);
  EXPECT_NE(midway.loss, all.loss);
  EXPECT_EQ(some.run().loss, all.loss);

  const EvaluationWindows windows(corpus_.split("val"), 16, 208);
  std::vector<std::int32_t> tokens(4 * 16), targets(4 * 16);
  for (const int part : {0, 1})
    windows.fill(part * 6, 2, tokens.data() + part * 32, targets.data() + part * 32);
  const Buffer on_device = device->allocate(tokens.size() * sizeof tokens[0]);
  const Buffer targets_on_device = device->allocate(targets.size() * sizeof targets[0]);
  const Buffer sum = device->allocate(sizeof(double));
  device->upload(on_device.as<std::int32_t>(), tokens.data(), tokens.size() * sizeof tokens[0]);
  device->upload(targets_on_device.as<std::int32_t>(), targets.data(), targets.size() * sizeof targets[0]);
  device->for_each_task(1, [&](Lane& lane, int) {
    device->operations().clear(lane, sum.as<double>(), sizeof(double));
    for (const int part : {0, 32}) {
      step.model().evaluate(lane, on_device.as<std::int32_t>() + part,
                            targets_on_device.as<std::int32_t>() + part, sum.as<double>());
    }
  });
  double expected = 0;
  device->download(&expected, sum.as<double>(), sizeof expected);
  EXPECT_NEAR(midway.loss, expected / 64, 1e-9);

  for (const std::int64_t enough :
       {std::int64_t{0}, std::int64_t{192}, std::numeric_limits<std::int64_t>::max()}) {
    Evaluator whole = evaluator(enough, step);
    EXPECT_FALSE(whole.has_midway()) << enough;
    EXPECT_EQ(whole.run_midway().loss, all.loss) << enough;
  }
}

TEST_F(TrainingStepTest, CalibrationMeasuresSomething) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const double rate = measure_tokens_per_s(config(2), MemoryCorpus::kVocabulary, *device, 0.02);
  EXPECT_GT(rate, 1);
  EXPECT_TRUE(std::isfinite(rate));
}

}  // namespace
}  // namespace minichilla::training_step_test
