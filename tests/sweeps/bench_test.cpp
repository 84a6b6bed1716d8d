// minichilla bench: what it counts, and that it measures everything. Nothing here depends on how fast that
// is.
#include "sweeps/bench.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/cpu_bf16.h"
#include "kernels/error.h"
#include "kernels/ops.h"
#include "model/flops.h"
#include "model/parameters.h"
#include "sweeps/bench_operations.h"
#include "sweeps/bench_report.h"
#include "tests/sweeps/run_command.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"

namespace minichilla::bench_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

constexpr double kTiny = 1e-6;

BenchShape tiny_shape() {
  return {.name = "tiny",
          .layers = 2,
          .heads = 2,
          .width = 8,
          .context = 12,
          .vocabulary = 40,
          .batch = 4,
          .cpu_micro_batch = 2};
}

BenchOptions tiny_options() {
  return {.shapes = {tiny_shape()}, .seconds = kTiny, .copied_bytes = 4096, .on_progress = {}};
}

TEST(BenchTiming, RepeatsUntilTheTimeIsFull) {
  std::int64_t calls = 0, most = 0;
  const Timing timing = time_repetitions(0.01, [&](std::int64_t repetitions) {
    ++calls;
    most = std::max(most, repetitions);
    volatile double sum = 0;
    for (std::int64_t i = 0; i < 1000 * repetitions; ++i) sum = sum + 1.0;
  });
  EXPECT_EQ(timing.samples, calls - 2);
  EXPECT_GE(timing.samples, 3);
  EXPECT_EQ(timing.repetitions, most);
  EXPECT_GT(timing.best_s, 0);
  EXPECT_LE(timing.best_s, timing.median_s);
}

TEST(BenchTiming, ComparesEachSampleWithTheMostOfItsMoment) {
  std::vector<double> asked;
  const Timing timing = time_repetitions(
      1e-6, [](std::int64_t) {},
      [&](double seconds) {
        asked.push_back(seconds);
        // Before and after each sample another one: their mean is 100.
        return asked.size() % 2 == 0 ? 200.0 : 0.0;
      });
  EXPECT_EQ(asked.size(), static_cast<std::size_t>(timing.samples) + 1);
  for (const double seconds : asked) EXPECT_GT(seconds, 0);
  EXPECT_DOUBLE_EQ(timing.median_possible, 100 * timing.median_s);
  EXPECT_EQ(time_repetitions(1e-6, [](std::int64_t) {}).median_possible, 0);
}

TEST(BenchShapes, AreThoseOfThePublishedTable) {
  std::map<std::string, double> megaflops;
  for (const BenchShape& shape : bench_shapes()) {
    megaflops[shape.name] = flops_per_token(shape.model(), shape.vocabulary).flops / 1e6;
    // 72·L·d² + 6·V·d + 6·L·T·d, but for the diagonal of the causal triangle.
    const double L = shape.layers, d = shape.width, V = shape.vocabulary, T = shape.context;
    EXPECT_DOUBLE_EQ(megaflops[shape.name] * 1e6, 72 * L * d * d + 6 * V * d + 6 * L * (T + 1) * d);
  }
  EXPECT_NEAR(megaflops["S"], 1.13, 0.005);
  EXPECT_NEAR(megaflops["M"], 6.29, 0.005);
  EXPECT_NEAR(megaflops["L"], 36.96, 0.02);
  EXPECT_EQ(ParameterTable(bench_shapes().back().model(), bench_shapes().back().vocabulary).params(),
            124439808);
}

TEST(BenchShapes, EveryLaneGetsAMicroBatchThatDividesTheBatch) {
  for (const BenchShape& shape : bench_shapes()) {
    for (const int lanes : {1, 2, 3, 5, 8, 11, 40}) {
      const auto device = make_cpu_device(lanes);
      const int micro_batch = shape.micro_batch(*device);
      ASSERT_GE(micro_batch, 1);
      EXPECT_EQ(shape.batch % micro_batch, 0) << shape.name << lanes;
      EXPECT_GE(shape.batch / micro_batch, std::min(lanes, shape.batch)) << shape.name << lanes;
    }
  }
}

TEST(BenchOperations, HoldTheFlopsOfTheModel) {
  const auto device = make_cpu_device(3);
  const BenchShape shape = tiny_shape();
  double in_a_layer = 0, classifier = 0;
  const BenchOperations operations(*device, shape);
  for (const BenchOperation& operation : operations.all()) {
    if (operation.name.starts_with("linear") || operation.name == "attention dense") {
      in_a_layer += operation.flops;
    }
    if (operation.name == "classifier" && operation.pass == "both") classifier += operation.flops;
  }
  const double tokens = 3.0 * shape.micro_batch(*device) * shape.context;
  EXPECT_DOUBLE_EQ(shape.layers * in_a_layer + classifier,
                   tokens * flops_per_token(shape.model(), shape.vocabulary).flops);
}

TEST(BenchOperations, CoverEachOperation) {
  const auto device = make_cpu_device(2);
  const BenchOperations operations(*device, tiny_shape());
  std::map<std::string, int> passes;
  for (const BenchOperation& operation : operations.all()) {
    ++passes[operation.name];
    EXPECT_GT(operation.bytes, 0) << operation.name;
    EXPECT_GE(operation.tasks, 1) << operation.name;
    device->for_each_task(operation.tasks, operation.enqueue);
  }
  const std::map<std::string, int> expected = {{"embed", 2},
                                               {"add_norm", 2},
                                               {"linear qkv", 2},
                                               {"attention dense", 2},
                                               {"attention banded", 2},
                                               {"attention T=1024", 2},
                                               {"attention T=1024 W=128", 2},
                                               {"linear projection", 2},
                                               {"classifier", 2},
                                               {"linear expand, GELU", 2},
                                               {"linear contract, GELU", 2},
                                               {"sum_slots", 1},
                                               {"square_sums", 1},
                                               {"adamw", 1}};
  EXPECT_EQ(passes, expected);
}

TEST(Bench, MeasuresEverythingWithAnyNumberOfLanes) {
  for (const int lanes : {1, 2}) {
    const auto device = make_cpu_device(lanes);
    const DeviceFigures figures = bench(*device, tiny_options());
    EXPECT_EQ(figures.lanes, lanes);
    ASSERT_TRUE(figures.peak);
    EXPECT_GT(figures.peak->flops_per_s, 0);
    EXPECT_GT(figures.peak->bytes_per_s, 0);
    EXPECT_EQ(figures.operations.size(), 25u);
    for (const OperationFigure& figure : figures.operations) {
      EXPECT_GT(figure.timing.best_s, 0) << figure.operation;
      EXPECT_TRUE(std::isfinite(figure.flops / figure.timing.best_s)) << figure.operation;
    }
    ASSERT_EQ(figures.steps.size(), 1u);
    EXPECT_EQ(figures.steps[0].tokens, 4 * 12);
    EXPECT_EQ(figures.steps[0].gradient_slots, lanes);
  }
}

TEST(Bench, WhatIsNotMeasuredIsNotThere) {
  const auto device = make_cpu_device(1);
  BenchOptions options = tiny_options();
  options.peak = options.steps = false;
  const DeviceFigures figures = bench(*device, options);
  EXPECT_FALSE(figures.peak);
  EXPECT_TRUE(figures.steps.empty());
  const Json json = bench_json({"fp32", kTiny, {figures}});
  const Json& measured = json["measured"][0];
  EXPECT_TRUE(measured["peak"].is_null());
  EXPECT_TRUE(measured["operations"][0]["memory_percent"].is_null());
  for (const Json& operation : measured["operations"]) {
    EXPECT_TRUE(operation["paired_peak_percent"].is_null()) << operation;
  }
  EXPECT_THAT(bench_text({"fp32", kTiny, {figures}}), AllOf(HasSubstr("linear qkv"), Not(HasSubstr("%"))));
}

TEST(Bench, StopsBetweenMeasurements) {
  const auto device = make_cpu_device(1);
  BenchOptions options = tiny_options();
  options.on_progress = [](const std::string& what) {
    if (what.find("linear qkv backward") != std::string::npos) throw Interrupted();
  };
  EXPECT_THROW(bench(*device, options), Interrupted);
}

CommandResult run_bench_command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "bench");
  return run_command(add_bench_command, arguments);
}

TEST(BenchCommand, WritesFiguresThatAreFiniteAndPositive) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "bench.json").string();
  const CommandResult result = run_bench_command(
      {"--device", "cpu", "--threads", "2", "--shapes", "S", "--seconds", "1e-6", "--json", file});
  EXPECT_EQ(result.status, kDone);
  EXPECT_THAT(result.output, AllOf(HasSubstr("cpu, 1 thread:"), HasSubstr("cpu, 2 threads:"),
                                   HasSubstr("GB/s read and written"), HasSubstr("attention banded")));
  EXPECT_THAT(result.errors, HasSubstr("measuring the peak, 1 thread"));

  const Json json = Json::parse(read_file(file));
  EXPECT_EQ(json["format"], "minichilla bench 1");
  EXPECT_EQ(json["precision"], "fp32");
  EXPECT_FALSE(json["machine"]["cpu_numerics"].get<std::string>().empty());
  ASSERT_EQ(json["measured"].size(), 2u);
  const auto positive = [](const Json& value) {
    return value.is_number() && value.get<double>() > 0 && std::isfinite(value.get<double>());
  };
  for (const Json& measured : json["measured"]) {
    EXPECT_EQ(measured["device"], "cpu");
    for (const char* key : {"gflops_per_s", "gb_per_s"}) EXPECT_TRUE(positive(measured["peak"][key])) << key;
    EXPECT_EQ(measured["operations"].size(), 25u);
    for (const Json& operation : measured["operations"]) {
      SCOPED_TRACE(operation.dump());
      EXPECT_EQ(operation["shape"], "S");
      for (const char* key :
           {"best_ms", "median_ms", "samples", "repetitions", "bytes", "gb_per_s", "memory_percent"}) {
        EXPECT_TRUE(positive(operation[key])) << key;
      }
      const bool computes = operation["flops"].get<double>() > 0;
      EXPECT_EQ(positive(operation["gflops_per_s"]), computes);
      EXPECT_EQ(positive(operation["peak_percent"]), computes);
      EXPECT_EQ(positive(operation["paired_peak_percent"]), computes);
    }
    ASSERT_EQ(measured["steps"].size(), 1u);
    for (const char* key : {"tokens_per_s", "median_tokens_per_s", "gflops_per_s", "peak_percent",
                            "paired_peak_percent", "best_ms"}) {
      EXPECT_TRUE(positive(measured["steps"][0][key])) << key;
    }
  }
}

TEST(BenchCommand, MeasuresThePrecisionThatIsAskedForWithOneThreadToo) {
  const Json json =
      Json::parse(run_bench_command({"--device", "cpu", "--precision", "bf16", "--threads", "2", "--shapes",
                                     "S", "--only", "peak", "--seconds", "1e-6", "--json", "-"})
                      .output);
  ASSERT_EQ(json["measured"].size(), 2u);
  const std::string machine = json["machine"]["cpu_bf16"];
  for (const Json& measured : json["measured"]) {
    EXPECT_THAT(measured["numerics"].get<std::string>(), HasSubstr(machine));
    const bool instruction = machine != name_of(Bf16Products::fp32_arithmetic);
    EXPECT_EQ(measured["peak"]["gflops_of"],
              (instruction ? machine : "fp32 multiply-adds") + " in registers");
    EXPECT_EQ(measured["peak"]["bf16_gflops_per_s"].is_null(), !instruction);
  }
}

TEST(BenchCommand, MeasuresWhatIsAskedFor) {
  const Json json =
      Json::parse(run_bench_command({"--device", "cpu", "--threads", "1", "--shapes", "M,S", "--only",
                                     "operations", "--seconds", "1e-6", "--json", "-"})
                      .output);
  ASSERT_EQ(json["measured"].size(), 1u);
  EXPECT_EQ(json["measured"][0]["operations"].size(), 50u);
  EXPECT_TRUE(json["measured"][0]["steps"].empty());
  EXPECT_TRUE(json["measured"][0]["peak"].is_null());
}

TEST(BenchCommand, RefusesInOneLine) {
  const auto refusal = [](const std::vector<std::string>& arguments) {
    return message_of<InputError>([&] { run_bench_command(arguments); });
  };
  EXPECT_EQ(refusal({"--only", "peek"}),
            "--only: found 'peek', expected one of peak, operations, steps; did you mean peak?");
  EXPECT_THAT(refusal({"--shapes", "S,XL"}),
              HasSubstr("--shapes: found 'XL', expected one of S, M, L, 124M"));
  EXPECT_THAT(refusal({"--precision", "fp8"}), HasSubstr("--precision: found 'fp8', expected one of fp32"));
  EXPECT_EQ(refusal({"--device", "cpu", "--precision", "tf32"}),
            "--precision: found tf32, expected fp32 or bf16 on the CPU");
  EXPECT_THAT(refusal({"--device", "gpu"}), HasSubstr("--device: found 'gpu', expected auto, cpu, cuda"));
  EXPECT_THROW(run_bench_command({"--seconds", "0"}), UsageError);
  EXPECT_THROW(run_bench_command({"--threads", "-1"}), UsageError);
  EXPECT_THAT(command_help(add_bench_command, {"bench"}), HasSubstr("minichilla bench --device cuda"));
}

}  // namespace
}  // namespace minichilla::bench_test
