#include "trainer/run_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

#include "kernels/error.h"
#include "kernels/step_state.h"
#include "tests/trainer/counting_device.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/attempt.h"
#include "trainer/calibration.h"
#include "trainer/progress_line.h"

namespace minichilla::run_memory_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class RunMemoryTest : public RunTest {
 protected:
  Outcome train_on(CountingDevice& device, const RunConfig& config, const std::string& name = "run") {
    TrainContext context{device, corpus_};
    return train(resolved(config, corpus_), context, folder_ / name, StopToken());
  }
  std::size_t total(const RunConfig& config, const Device& device) const {
    return run_memory(resolved(config, corpus_), MemoryCorpus::kVocabulary, device).total();
  }
  std::string refusal(const RunConfig& config, const Device& device) const {
    return memory_refusal(resolved(config, corpus_), MemoryCorpus::kVocabulary, device);
  }
};

TEST_F(RunMemoryTest, IsWhatARunAllocatesToTheByte) {
  const std::vector<std::vector<std::string>> recomputations = {{}, {"norms"}, {"mlp"}, {"norms", "mlp"}};
  int run = 0;
  for (const int lanes : {1, 3}) {
    for (const int micro_batch : {1, 2, 4}) {  // 13 windows to evaluate: some are left over
      for (const std::vector<std::string>& recompute : recomputations) {
        RunConfig config = tiny_config();
        config.train.micro_batch = micro_batch;
        config.train.recompute = recompute;
        config.train.tokens = 2 * 128;
        CountingDevice device(make_cpu_device(lanes));
        EXPECT_EQ(train_on(device, config, std::to_string(run++)).kind, Outcome::Kind::done);
        EXPECT_EQ(total(config, device),
                  device.allocated + device.host_allocated + device.workspace_bytes() + program_bytes(device))
            << lanes << " lanes, micro-batch " << micro_batch;
      }
    }
  }
}

TEST_F(RunMemoryTest, PartsAreNamedAndAddUp) {
  const std::unique_ptr<Device> device = make_cpu_device(2);
  const RunConfig config = resolved(tiny_config(), corpus_);
  const RunMemory memory = run_memory(config, MemoryCorpus::kVocabulary, *device);
  std::map<std::string, std::size_t> bytes;
  std::size_t sum = 0;
  for (const MemoryPart& part : memory.parts) bytes[part.key] = part.bytes, sum += part.bytes;
  EXPECT_EQ(sum, memory.total());
  EXPECT_EQ(bytes.at("gradients"), 3 * bytes.at("weights"));
  EXPECT_EQ(bytes.at("moments"), 2 * bytes.at("weights"));
  EXPECT_EQ(bytes.at("compute_weights"), 0u);
  EXPECT_EQ(bytes.at("workspace"), device->workspace_bytes());
  EXPECT_GT(bytes.at("workspace"), 0u);
  EXPECT_EQ(bytes.at("batch"), 2u * 128 * 4);
  EXPECT_EQ(bytes.at("program"), program_bytes(*device) + 2u * 128 * 4 + 2 * sizeof(StepState));
  EXPECT_EQ(bytes.at("evaluation"), 2u * 7 * 2 * 16 * 4)
      << "six batches of two windows, and one for the last";
}

TEST_F(RunMemoryTest, RunsThatDoNotFitAreRefusedAndLeaveNothing) {
  CountingDevice device(make_cpu_device(2));
  const RunConfig config = tiny_config();
  const std::size_t needed = total(config, device);
  device.free = needed - device.workspace_bytes() - program_bytes(device) - 1;
  const std::string message = message_of<InputError>([&] { train_on(device, config); });
  EXPECT_THAT(
      message,
      AllOf(HasSubstr("memory: found " + format_bytes(needed - 1) + " free on cpu, expected the run's " +
                      format_bytes(needed) + ": "),
            HasSubstr("the program and its copy of a batch 16 MiB"),
            HasSubstr("workspace of matrix products"), HasSubstr("activations"),
            HasSubstr("lower train.micro_batch (2), train.gradient_slots (3), --threads (2), "
                      "model.context_length (16)"),
            HasSubstr("train.recompute: [norms, mlp] saves "), Not(HasSubstr("bf16")), Not(HasSubstr("\n"))));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
  EXPECT_EQ(device.allocated, 0u);

  ++*device.free;
  EXPECT_EQ(train_on(device, config).kind, Outcome::Kind::done);
  device.free = 0;
  EXPECT_EQ(train_on(device, config).kind, Outcome::Kind::done) << "it has a result already";
}

TEST_F(RunMemoryTest, AdvisesOnlyWhatHelps) {
  CountingDevice device(make_cpu_device(1));
  device.free = 0;
  RunConfig config = tiny_config();
  config.train.micro_batch = 1;
  config.train.gradient_slots = 1;
  config.train.recompute = {"norms", "mlp"};
  EXPECT_THAT(
      refusal(config, device),
      AllOf(HasSubstr("; lower model.context_length (16) or the model's size"), Not(HasSubstr("saves"))));
}

TEST_F(RunMemoryTest, UnknownFreeMemoryRefusesNothing) {
  const CountingDevice device(make_cpu_device(1));
  EXPECT_EQ(memory_for_run(device), std::nullopt);
  EXPECT_EQ(refusal(tiny_config(), device), "");
}

TEST_F(RunMemoryTest, TheCpuKnowsItsFreeMemory) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  ASSERT_TRUE(memory_for_run(*device).has_value());
  EXPECT_EQ(refusal(tiny_config(), *device), "");
  RunConfig huge = tiny_config();
  huge.model.n_layers = 100;
  huge.model.d_model = 1 << 14;
  EXPECT_THAT(refusal(huge, *device), HasSubstr("TiB"));
}

TEST_F(RunMemoryTest, MemoryThatIsTakenMeanwhileIsExplained) {
  const RunConfig config = tiny_config();
  CountingDevice unlimited(make_cpu_device(1)), device(make_cpu_device(1));
  train_on(unlimited, config, "undisturbed");
  device.free = 1 << 30;
  device.limit = unlimited.allocated - 1;
  const std::string message = message_of<std::runtime_error>([&] { train_on(device, config); });
  EXPECT_THAT(message, AllOf(HasSubstr("out of memory on cpu (1.0 GiB free now), expected the run's "),
                             HasSubstr("gradients"), HasSubstr("lower train.micro_batch (2)")));
  const auto outcome = read_outcome(newest_attempt(folder_ / "run"));
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->status, "failed");
  EXPECT_EQ(outcome->reason, message);
  device.limit = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(train_on(device, config).kind, Outcome::Kind::done) << "the same command goes on";
}

TEST_F(RunMemoryTest, SoItIsWhileSpeedIsMeasured) {
  CountingDevice device(make_cpu_device(1));
  device.limit = 1000;
  const RunConfig config = resolved(tiny_config(), corpus_);
  EXPECT_THAT(message_of<std::runtime_error>(
                  [&] { measure_tokens_per_s(config, MemoryCorpus::kVocabulary, device, 0.01); }),
              HasSubstr("out of memory on cpu, expected the run's "));
}

}  // namespace
}  // namespace minichilla::run_memory_test
