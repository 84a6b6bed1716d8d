// The whole model on the CUDA device against the CPU device: loss, every named gradient, training,
// checkpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ptxrun_counters.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cuda_device.h"
#include "kernels/error.h"
#include "tests/cuda_device/rounded_device.h"
#include "tests/model/model_case.h"
#include "tests/trainer/counting_device.h"
#include "tests/trainer/flat_arrays.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/batch_sampler.h"
#include "trainer/evaluate.h"
#include "trainer/run_memory.h"
#include "trainer/training_step.h"

namespace minichilla {
namespace {

constexpr double kFp32 = 1e-5, kBf16 = 0.02;

/// Two layers, dense and banded; widths that are no multiple of a tile.
const ModelCase kModel{"two layers", 2, 40, 2, 20, 72, 37, 53, 3, {"dense", "banded"}, 9};

struct Pass {
  double loss = 0;
  std::vector<float> gradient;
};

Pass forward_backward(Device& device, const ModelCase& model) {
  Transformer transformer(model.config(), model.V, model.B, 1, device);
  const std::vector<float> weights = random_weights(transformer.parameters(), 1);
  device.upload(transformer.weights(), weights.data(), weights.size() * sizeof(float));
  const std::vector<std::int32_t> tokens = random_tokens(model.B * model.T, model.V, 2),
                                  targets = random_tokens(model.B * model.T, model.V, 3);
  const std::size_t bytes = tokens.size() * sizeof(std::int32_t);
  const Buffer device_tokens = device.allocate(bytes), device_targets = device.allocate(bytes);
  device.upload(device_tokens.as<void>(), tokens.data(), bytes);
  device.upload(device_targets.as<void>(), targets.data(), bytes);
  device.for_each_task(1, [&](Lane& lane, int) {
    if (Activation* const rounded = transformer.compute_weights()) {
      device.operations().round_weights(lane, {0, transformer.parameters().flat_size()},
                                        transformer.weights(), rounded);
    }
    transformer.clear_slot(lane, 0);
    transformer.forward_backward(lane, 0, device_tokens.as<std::int32_t>(), device_targets.as<std::int32_t>(),
                                 1.0f / static_cast<float>(tokens.size()));
  });
  device.synchronize();
  Pass pass;
  pass.gradient.resize(weights.size());
  device.download(&pass.loss, transformer.slot_loss(0), sizeof pass.loss);
  device.download(pass.gradient.data(), transformer.gradient_slot(0), weights.size() * sizeof(float));
  return pass;
}

/// ‖a − b‖ / ‖b‖
double relative_distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

class CudaModel : public testing::TestWithParam<Precision> {
 protected:
  double tolerance() const { return GetParam() == Precision::bf16 ? kBf16 : kFp32; }
  std::unique_ptr<Device> cuda() const { return make_cuda_device(0, GetParam()); }
  std::unique_ptr<Device> cpu_ = make_cpu_device(1);
};

TEST_P(CudaModel, LossAndEveryGradientAreThoseOfTheCpu) {
  const std::unique_ptr<Device> device = cuda();
  const Pass found = forward_backward(*device, kModel), expected = forward_backward(*cpu_, kModel);
  EXPECT_NEAR(found.loss, expected.loss, tolerance() * expected.loss);
  // With bf16: twice the error of a naive implementation that rounds where this one does.
  RoundedDevice rounded;
  const Pass naive = GetParam() == Precision::bf16 ? forward_backward(rounded, kModel) : expected;
  const ParameterTable table(kModel.config(), kModel.V);
  for (const ParameterTensor& tensor : table.tensors()) {
    const auto of = [&](const Pass& pass) {
      return std::span(pass.gradient)
          .subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.count()));
    };
    const double floor = GetParam() == Precision::bf16 ? 0x1p-8 : kFp32;
    EXPECT_LE(relative_distance(of(found), of(expected)),
              2 * relative_distance(of(naive), of(expected)) + floor)
        << tensor.name;
  }
}

/// A run of tiny_config(): losses of its steps, and the flat arrays in the end.
struct Training {
  std::vector<double> losses;
  FlatArrays arrays;
};

class CudaTraining : public CudaModel {
 protected:
  static constexpr std::int64_t kSteps = 20, kFewSteps = 5;
  static constexpr double kLearningRate = 0.01;

  RunConfig config() const {
    RunConfig config = tiny_config();
    config.train.precision = name_of(GetParam());
    config.train.recompute = recompute_;
    return resolved(config, corpus_);
  }
  void enqueue(TrainingStep& step, std::int64_t number) const {
    const BatchSampler sampler(corpus_.split("train"), 16, "shuffled", 1);
    const TrainingStep::Batch batch = step.next_batch();
    sampler.fill(8 * (number - 1), 8, batch.tokens.data(), batch.targets.data());
    step.enqueue(kLearningRate, number);
  }
  double step(TrainingStep& step, std::int64_t number) const {
    enqueue(step, number);
    const StepState state = step.wait();
    EXPECT_EQ(state.finite, 1);
    return state.loss_sum / 128;
  }
  Training train(Device& device, std::int64_t steps = kSteps) const {
    TrainingStep training(config(), MemoryCorpus::kVocabulary, device);
    training.initialise(1);
    Training result;
    for (std::int64_t number = 1; number <= steps; ++number) result.losses.push_back(step(training, number));
    result.arrays = download(training);
    return result;
  }

  MemoryCorpus corpus_{4000, 300};
  std::vector<std::string> recompute_;
};

TEST_P(CudaTraining, FollowsTheCpuForTwentySteps) {
  const std::unique_ptr<Device> device = cuda();
  const Training found = train(*device), expected = train(*cpu_);
  for (std::size_t i = 0; i < found.losses.size(); ++i) {
    EXPECT_NEAR(found.losses[i], expected.losses[i], 10 * tolerance() * expected.losses[i])
        << "step " << i + 1;
  }
  EXPECT_LT(found.losses.back(), found.losses.front() - 0.3);
}

TEST_P(CudaTraining, SavedAndLoadedInTheMiddleTheBitsAreTheSame) {
  const std::unique_ptr<Device> device = cuda();
  const Training whole = train(*device);
  FlatArrays saved;
  {
    TrainingStep first(config(), MemoryCorpus::kVocabulary, *device);
    first.initialise(1);
    for (std::int64_t number = 1; number <= kSteps / 2; ++number) step(first, number);
    saved = download(first);
  }
  TrainingStep second(config(), MemoryCorpus::kVocabulary, *device);
  upload(saved, second);
  for (std::int64_t number = kSteps / 2 + 1; number <= kSteps; ++number) {
    EXPECT_EQ(step(second, number), whole.losses[static_cast<std::size_t>(number - 1)]) << number;
  }
  EXPECT_EQ(download(second).weights, whole.arrays.weights);
}

TEST_P(CudaTraining, AReplayedGraphHasTheBitsOfEagerSteps) {
  const auto trained = [&](bool graphs) {
    const std::unique_ptr<Device> device = make_cuda_device(0, GetParam(), {.graphs = graphs});
    ptxrun::reset_counters();
    Training result = train(*device, kFewSteps);
    if (ptxrun::counters_available()) {
      const ptxrun::Counters updates = ptxrun::read_counters("adamw_kernel");
      EXPECT_EQ(updates.launches, kFewSteps) << "one for all tensors";
      EXPECT_EQ(updates.graph_launches, graphs ? kFewSteps - 1 : 0) << "the first step is eager";
    }
    return result;
  };
  const Training replayed = trained(true), eager = trained(false);
  EXPECT_EQ(replayed.losses, eager.losses);
  EXPECT_EQ(replayed.arrays.weights, eager.arrays.weights);
  EXPECT_EQ(replayed.arrays.second_moment, eager.arrays.second_moment);
}

TEST_P(CudaTraining, AStepEnqueuedAheadHasTheSameBits) {
  const std::unique_ptr<Device> device = cuda();
  const Training waited_for = train(*device, kFewSteps);
  ASSERT_TRUE(device->asynchronous());
  TrainingStep ahead(config(), MemoryCorpus::kVocabulary, *device);
  ahead.initialise(1);
  enqueue(ahead, 1);
  std::vector<double> losses;
  for (std::int64_t number = 1; number <= kFewSteps; ++number) {
    if (number < kFewSteps) enqueue(ahead, number + 1);
    losses.push_back(ahead.wait().loss_sum / 128);
  }
  EXPECT_EQ(losses, waited_for.losses);
  EXPECT_EQ(download(ahead).weights, waited_for.arrays.weights);
}

/// Finite weights with which every loss is not a number: a huge feature meets a huge word.
FlatArrays diverging(FlatArrays arrays, const ParameterTable& table) {
  arrays.weights[static_cast<std::size_t>(table.at("final_norm.bias").offset)] = 3e38f;
  arrays.weights[static_cast<std::size_t>(table.at("token_embedding").offset)] = 1e10f;
  return arrays;
}

TEST_P(CudaTraining, AStepBehindOneThatFailedUpdatesNothing) {
  const std::unique_ptr<Device> device = cuda();
  TrainingStep training(config(), MemoryCorpus::kVocabulary, *device);
  training.initialise(1);
  step(training, 1);
  const FlatArrays healthy = download(training), bad = diverging(healthy, training.model().parameters());
  upload(bad, training);
  enqueue(training, 2);
  EXPECT_EQ(training.wait().finite, 0);
  // Healthy weights again, but nobody said that the run goes on with them.
  device->upload(training.model().weights(), healthy.weights.data(), healthy.weights.size() * sizeof(float));
  if (Activation* const rounded = training.model().compute_weights()) {
    device->for_each_task(1, [&](Lane& lane, int) {
      device->operations().round_weights(lane, {0, training.model().parameters().flat_size()},
                                         training.model().weights(), rounded);
    });
  }
  enqueue(training, 3);
  const StepState after = training.wait();
  EXPECT_TRUE(std::isfinite(after.gradient_norm));
  EXPECT_EQ(after.finite, 0);
  EXPECT_EQ(download(training).weights, healthy.weights);
  upload(healthy, training);
  EXPECT_GT(step(training, 3), 0);
}

TEST_P(CudaTraining, TheStepThatFailedIsDiagnosedWhenALaterOneHasRun) {
  const std::unique_ptr<Device> device = cuda();
  TrainingStep training(config(), MemoryCorpus::kVocabulary, *device);
  training.initialise(1);
  const FlatArrays bad = diverging(download(training), training.model().parameters());
  const auto diagnosis = [&](bool with_later_step) {
    upload(bad, training);
    enqueue(training, 1);
    if (with_later_step) enqueue(training, 2);
    EXPECT_EQ(training.wait().finite, 0);
    const std::string found = training.first_non_finite();
    EXPECT_EQ(training.pending(), 0);
    return found;
  };
  EXPECT_THAT(diagnosis(false), testing::HasSubstr("gradient of "));
  EXPECT_EQ(diagnosis(true), diagnosis(false));
}

TEST_P(CudaTraining, PinnedAlgorithmsGiveTheSameBits) {
  const std::unique_ptr<Device> first = cuda(), second = cuda();
  const Training chosen = train(*first, kFewSteps);
  const std::string algorithms = first->algorithms();
  EXPECT_THAT(algorithms, testing::HasSubstr(" : "));
  second->pin_algorithms(algorithms);
  const Training pinned = train(*second, kFewSteps);
  EXPECT_EQ(pinned.losses, chosen.losses);
  EXPECT_EQ(second->algorithms(), algorithms);
  EXPECT_THROW(second->pin_algorithms("cuBLASLt of another time\n"), InputError);
}

TEST_P(CudaTraining, RecomputationChangesNoBits) {
  const std::unique_ptr<Device> device = cuda();
  const Training kept = train(*device, 4);
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"norms"}, {"mlp"}, {"norms", "mlp"}}) {
    recompute_ = names;
    const Training again = train(*device, 4);
    EXPECT_EQ(again.losses, kept.losses);
    EXPECT_EQ(again.arrays.weights, kept.arrays.weights);
    EXPECT_EQ(again.arrays.first_moment, kept.arrays.first_moment);
    EXPECT_EQ(again.arrays.second_moment, kept.arrays.second_moment);
  }
}

class CudaMemory : public CudaTraining {};

TEST_P(CudaMemory, ARunTakesTheBytesThatWereCounted) {
  const TemporaryFolder folder;
  for (const std::vector<std::string>& names : {std::vector<std::string>{}, {"norms", "mlp"}}) {
    recompute_ = names;
    CountingDevice device(cuda());
    RunConfig run = config();
    run.train.tokens = 2 * 128;
    TrainContext context{device, corpus_};
    const auto name = std::to_string(names.size());
    EXPECT_EQ(minichilla::train(run, context, folder / name, StopToken()).kind, Outcome::Kind::done);
    const RunMemory memory = run_memory(run, MemoryCorpus::kVocabulary, device);
    EXPECT_EQ(memory.total(), device.allocated + device.workspace_bytes());
  }
}

TEST_P(CudaMemory, FreeMemoryFallsByTheBytesThatWereCounted) {
  const std::unique_ptr<Device> first = cuda();
  const std::uint64_t before = *first->free_memory();
  const std::unique_ptr<Device> second = cuda();
  TrainingStep training(config(), MemoryCorpus::kVocabulary, *second);
  const Evaluator evaluator(config(), corpus_.split("val"), training.model(), *second);
  const std::uint64_t taken = before - *first->free_memory();
  const std::size_t counted = run_memory(config(), MemoryCorpus::kVocabulary, *second).total();
  EXPECT_GE(taken, counted);
  EXPECT_LT(taken, counted + (std::size_t{64} << 20)) << "memory comes in pages, at most 2 MiB each";
}

TEST_P(CudaTraining, EvaluationIsThatOfTheCpu) {
  const std::unique_ptr<Device> device = cuda();
  const auto loss = [&](Device& on) {
    TrainingStep training(config(), MemoryCorpus::kVocabulary, on);
    training.initialise(1);
    return Evaluator(config(), corpus_.split("val"), training.model(), on).run().loss;
  };
  const double expected = loss(*cpu_);
  EXPECT_NEAR(loss(*device), expected, tolerance() * expected);
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaModel, testing::Values(Precision::fp32, Precision::bf16),
                         [](const auto& precision) { return name_of(precision.param); });
INSTANTIATE_TEST_SUITE_P(Precisions, CudaMemory,
                         testing::Values(Precision::fp32, Precision::tf32, Precision::bf16),
                         [](const auto& precision) { return name_of(precision.param); });
INSTANTIATE_TEST_SUITE_P(Precisions, CudaTraining, testing::Values(Precision::fp32, Precision::bf16),
                         [](const auto& precision) { return name_of(precision.param); });

/// As CudaTraining, with our own matrix products.
class CudaOwnProducts : public CudaTraining {};

TEST_P(CudaOwnProducts, TrainAsTheLibrarysDo) {
  const std::unique_ptr<Device> own = make_cuda_device(0, GetParam(), {.products = MatrixProducts::own}),
                                library = cuda();
  const Training found = train(*own, kFewSteps), expected = train(*library, kFewSteps);
  for (std::size_t i = 0; i < found.losses.size(); ++i) {
    EXPECT_NEAR(found.losses[i], expected.losses[i], tolerance() * expected.losses[i]) << "step " << i + 1;
  }
  EXPECT_NE(own->numerics(), library->numerics());
  EXPECT_EQ(own->algorithms(), "");
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaOwnProducts, testing::Values(Precision::bf16),
                         [](const auto& precision) { return name_of(precision.param); });

TEST(CudaDevice, OurOwnProductsNeedBf16) {
  EXPECT_THROW(make_cuda_device(0, Precision::fp32, {.products = MatrixProducts::own}), InputError);
}

TEST(CudaDevice, MoreMemoryThanThereIsThrows) {
  EXPECT_THROW(make_cuda_device(0, Precision::fp32)->allocate(std::size_t{1} << 60), std::bad_alloc);
}

TEST(CudaDevice, AllocatedMemoryIsZero) {
  const std::unique_ptr<Device> device = make_cuda_device(0, Precision::fp32);
  const Buffer buffer = device->allocate(1000);
  std::vector<char> bytes(1000, 'x');
  device->download(bytes.data(), buffer.as<void>(), bytes.size());
  EXPECT_EQ(bytes, std::vector<char>(1000, '\0'));
}

TEST(CudaDevice, CopiesInsideItsMemory) {
  const std::unique_ptr<Device> device = make_cuda_device(0, Precision::fp32);
  const std::vector<float> in = {1, -2, 3};
  const Buffer from = device->allocate(12), to = device->allocate(12);
  device->upload(from.as<void>(), in.data(), 12);
  device->for_each_task(1, [&](Lane& lane, int) { device->copy(lane, to.as<void>(), from.as<void>(), 12); });
  std::vector<float> out(3);
  device->download(out.data(), to.as<void>(), 12);
  EXPECT_EQ(out, in);
}

TEST(CudaDevice, WhatItIsDecidesTheNumericsId) {
  EXPECT_NE(make_cuda_device(0, Precision::fp32)->numerics(),
            make_cuda_device(0, Precision::bf16)->numerics());
  EXPECT_NE(make_cuda_device(0, Precision::fp32)->numerics(),
            make_cuda_device(0, Precision::tf32)->numerics());
}

TEST(CudaSupport, NamesItsGpus) {
  const CudaSupport support = cuda_support();
  EXPECT_TRUE(support.compiled_in);
  EXPECT_EQ(support.problem, "");
  ASSERT_FALSE(support.gpus.empty());
  EXPECT_FALSE(support.gpus[0].name.empty());
  EXPECT_GT(support.gpus[0].memory_bytes, 0U);
}

}  // namespace
}  // namespace minichilla
