#include "sweeps/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "sweeps/plan_table.h"
#include "sweeps/run_store.h"
#include "sweeps/speeds.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/files.h"
#include "trainer/run_memory.h"

namespace minichilla::planner_test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class PlannerTest : public SweepFixture {
 protected:
  std::vector<std::string> warnings(const SweepPlan& plan) const { return plan_warnings(plan, 2, 0); }
  std::string run_config(const SweepPlan& plan, std::size_t row) const {
    return read_file(run_folder(sweep_folder(), plan.rows[row].planned.run_id) / "config.yaml");
  }
};

TEST_F(PlannerTest, RowsCarryTheirCounts) {
  const SweepPlan plan = this->plan("kind: isoflop, budgets: [1e8], sizes: [1x16]");
  ASSERT_EQ(plan.rows.size(), 1u);
  const PlanRow& row = plan.rows[0];
  EXPECT_EQ(row.planned.run_id, run_id(row.config, corpus_->hash()));
  EXPECT_EQ(row.planned.tokens, row.steps * 64);
  EXPECT_EQ(row.batch_sequences, 4);
  EXPECT_DOUBLE_EQ(row.planned.flops, static_cast<double>(row.planned.tokens) * row.flops_per_token.flops);
  EXPECT_LE(row.planned.flops, 1e8);
  EXPECT_EQ(row.planned.params, 12 * 16 * 16 + 13 * 16 + 2 * 16 + (257 + 16) * 16)
      << "matrices, biases and norms of a layer, the last norm, embeddings";
  EXPECT_EQ(row.planned.params_non_embedding, row.planned.params - (257 + 16) * 16);
  EXPECT_DOUBLE_EQ(row.epochs,
                   static_cast<double>(row.planned.tokens) / static_cast<double>(plan.corpus_tokens));
  EXPECT_GT(row.memory_bytes, static_cast<std::size_t>(row.planned.params) * 16)
      << "weights, gradients, two moments";
  EXPECT_TRUE(std::filesystem::path(row.config.data.corpus).is_absolute());
}

TEST_F(PlannerTest, EqualRunsAreMergedWithANote) {
  const SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [6400, 6410, 12800]");
  EXPECT_EQ(plan.rows.size(), 2u);
  ASSERT_EQ(plan.notes.size(), 1u);
  EXPECT_THAT(plan.notes[0], HasSubstr("1 run planned twice"));
}

TEST_F(PlannerTest, WrongRunsNameTheirKey) {
  EXPECT_THAT(message_of<InputError>([&] {
                this->plan("kind: grid, sizes: [1x16], tokens: [6400]",
                           "gradient_slots: 3, "
                           "schedule: {warmup: 2}");
              }),
              HasSubstr("train.schedule.warmup"));
  EXPECT_THAT(message_of<InputError>(
                  [&] { this->plan("kind: grid, sizes: [1x16], tokens: [1M], rules: {batch_tokens: 1M}"); }),
              HasSubstr("train.batch_tokens"));
}

TEST_F(PlannerTest, WarnsOfRepeatedDataOnce) {
  const SweepPlan plan = this->plan("kind: grid, sizes: [1x16, 2x16, 1x24], tokens: [64000, 250k]");
  const std::vector<std::string> lines = warnings(plan);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("data repeats in 3 of 6 runs"), HasSubstr("epochs"))));
  EXPECT_THAT(lines,
              Contains(AllOf(HasSubstr("D < 5e3*N^0.74 in all 6 runs"), HasSubstr("expect overfitting"))));
}

TEST_F(PlannerTest, SaysThatFewTokensAloneDoNotOverfit) {
  const std::vector<std::string> lines = warnings(this->plan("kind: grid, sizes: [1x16], tokens: [64000]"));
  EXPECT_THAT(lines,
              Contains(AllOf(HasSubstr("D < 5e3*N^0.74 in the run"), HasSubstr("no run repeats data"))));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("data repeats"))));
}

TEST_F(PlannerTest, KaplansBoundCountsParametersWithoutEmbeddings) {
  // 3280 of them in 1x16: 5e3 · 3280^0.74 is about 2.0M tokens, above the corpus; no run can pass.
  SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [64000]");
  plan.corpus_tokens = 10'000'000;
  const double bound = 5e3 * std::pow(static_cast<double>(plan.rows[0].planned.params_non_embedding), 0.74);
  plan.rows[0].planned.tokens = static_cast<std::int64_t>(bound) + 1;
  EXPECT_THAT(warnings(plan), Not(Contains(HasSubstr("Kaplan"))));
  plan.rows[0].planned.tokens -= 2;
  EXPECT_THAT(warnings(plan), Contains(HasSubstr("Kaplan")));
}

TEST_F(PlannerTest, WarnsOfSchedulesThatAreTooShort) {
  const SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [3200, 12800, 64000]");
  const std::vector<std::string> lines = warnings(plan);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("fewer than 100 steps in 1 of 3 runs"), HasSubstr("has 50"))));
  EXPECT_THAT(
      lines, Contains(AllOf(HasSubstr("warmup of fewer than 5 steps in 1 of 3 runs"), HasSubstr("has 4.0"))));
  EXPECT_THAT(warnings(this->plan("kind: grid, sizes: [1x16], tokens: [12800]", "schedule: {warmup: 0}")),
              Not(Contains(HasSubstr("warmup"))))
      << "no warmup was asked for";
}

TEST_F(PlannerTest, WarnsOfBandsAsWideAsTheContext) {
  const auto with = [&](const std::string& attention) {
    std::string text = yaml("kind: grid, sizes: [1x16, 2x16], tokens: [12800]");
    text.replace(text.find("context_length: 16"), 18, "context_length: 16, attention: " + attention);
    return warnings(make_plan(read_sweep_config(YAML::Load(text), "sweep.yaml"), *corpus_));
  };
  EXPECT_THAT(
      with("{pattern: [dense, banded], window: 16}"),
      Contains(AllOf(HasSubstr("banded attention equals dense in all 2 runs"), HasSubstr("16 keys"))));
  EXPECT_THAT(with("{pattern: [dense, banded], window: 15}"), Not(Contains(HasSubstr("banded"))));
  EXPECT_THAT(with("{pattern: [dense], window: 16}"), Not(Contains(HasSubstr("banded"))));
}

TEST_F(PlannerTest, WarnsOfBudgetsAndMicroBatchesAndMemory) {
  const SweepPlan plan =
      this->plan("kind: isoflop, budgets: [1e9], sizes: [1x16, 2x16], rules: {batch_tokens: 112}");
  const std::vector<std::string> lines = plan_warnings(plan, 2, 1000);
  EXPECT_THAT(lines, Contains(HasSubstr("1 of 1 budgets have fewer than 5 sizes (1e9 has 2)")));
  EXPECT_THAT(lines, Contains(HasSubstr("one budget gives one optimum")));
  EXPECT_THAT(lines,
              Contains(AllOf(HasSubstr("micro-batches shrink in all 2 runs"), HasSubstr("7 sequences"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("no room for all 2 runs: 2x16-"), HasSubstr("1.0 KiB are free"),
                                    HasSubstr("train.recompute"))));
  const std::size_t largest = plan.rows.back().memory_bytes;
  EXPECT_THAT(plan_warnings(plan, 2, largest),
              Contains(AllOf(HasSubstr("together need"), HasSubstr("2 workers"))));
  EXPECT_THAT(plan_warnings(plan, 2, largest - 1), Contains(HasSubstr("no room for 1 of 2 runs: 2x16-")));
  EXPECT_THAT(plan_warnings(plan, 1, largest), Not(Contains(HasSubstr("are free"))));
  EXPECT_THAT(warnings(plan), Not(Contains(HasSubstr("are free")))) << "free memory unknown";
}

TEST(EvaluatedTokens, FollowTheInterval) {
  TrainConfig train;
  train.tokens = 1000 * 512;
  train.batch_tokens = 512;
  train.evaluate.tokens = 100;
  train.evaluate.every = parse_interval("0.05");
  EXPECT_EQ(evaluated_tokens(train, 60), 2000);
  train.evaluate.midway_tokens = 30;
  EXPECT_EQ(evaluated_tokens(train, 60), 19 * 30 + 100);
  train.evaluate.midway_tokens = 0;
  train.evaluate.every = parse_interval("300 steps");
  EXPECT_EQ(evaluated_tokens(train, 60), 400) << "after 300, 600, 900 and 1000";
  train.evaluate.every = parse_interval("30s");
  EXPECT_EQ(evaluated_tokens(train, 60), 200);
  train.evaluate.every = parse_interval("10m");
  EXPECT_EQ(evaluated_tokens(train, 60), 100) << "after the last step at least";
}

TEST_F(PlannerTest, MeasuresSpeedsOnceAndEstimatesEveryRun) {
  SweepPlan first = this->plan("kind: grid, sizes: [1x16, 2x16], tokens: [6400, 12800]");
  int measured = 0;
  SpeedOptions options;
  options.seconds = 0.1;
  options.on_progress = [&](int, int) { ++measured; };
  const std::filesystem::path cache = sweep_folder() / "calibration.json";
  estimate_times(first, cache, options);
  EXPECT_EQ(measured, 2) << "two shapes with one batch";
  for (const PlanRow& row : first.rows) {
    EXPECT_GT(row.tokens_per_s, 0);
    EXPECT_GT(row.planned.estimated_s, static_cast<double>(row.planned.tokens) / row.tokens_per_s);
  }
  SweepPlan second = this->plan("kind: grid, sizes: [1x16, 2x16], tokens: [25600]");
  estimate_times(second, cache, options);
  EXPECT_EQ(measured, 2) << "from the cache";
  EXPECT_EQ(second.rows[0].tokens_per_s, first.rows[0].tokens_per_s);
  std::string other = read_file(cache);
  other.replace(other.find("machine\": \""), 11, "machine\": \"not ");
  replace_file(cache, other);
  estimate_times(second, cache, options);
  EXPECT_EQ(measured, 4) << "another machine's speeds do not count";
}

TEST_F(PlannerTest, MeasuresOnlyWhatFits) {
  SweepPlan plan = this->plan("kind: grid, sizes: [1x16, 2x16], tokens: [6400]");
  SpeedOptions options;
  options.seconds = 0.05;
  options.memory_available = plan.rows[0].memory_bytes - 1;
  const std::filesystem::path cache = sweep_folder() / "calibration.json";
  estimate_times(plan, cache, options);
  EXPECT_EQ(plan.rows[0].tokens_per_s, 0) << "nothing fits";
  int measured = 0;
  options.on_progress = [&](int, int) { ++measured; };
  ++options.memory_available;
  estimate_times(plan, cache, options);
  EXPECT_EQ(measured, 1);
  EXPECT_GT(plan.rows[1].planned.estimated_s, plan.rows[0].planned.estimated_s) << "at the other's FLOP/s";
}

TEST_F(PlannerTest, CountsAndMeasuresOnTheDevicesThatItIsGiven) {
  const std::string sweep = yaml("kind: grid, sizes: [1x16], tokens: [6400]", "recompute: [norms, mlp]");
  std::vector<std::string> made;
  const DeviceMaker make_device = [&](const std::string& precision) {
    made.push_back(precision);
    return make_cpu_device(3);
  };
  SweepPlan three = make_plan(read_sweep_config(YAML::Load(sweep), "sweep.yaml"), *corpus_, make_device);
  EXPECT_EQ(made, std::vector<std::string>{"fp32"});
  const PlanRow& row = three.rows[0];
  const std::unique_ptr<Device> device = make_cpu_device(3);
  EXPECT_EQ(row.memory_bytes, run_memory(row.config, three.vocabulary, *device).total());
  SpeedOptions options;
  options.seconds = 0.02;
  options.make_device = make_device;
  estimate_times(three, sweep_folder() / "calibration.json", options);
  EXPECT_EQ(made.size(), 3u) << "what it is called, and what is measured";
  EXPECT_THAT(read_file(sweep_folder() / "calibration.json"), HasSubstr(" norms again mlp again\""));
}

TEST_F(PlannerTest, AMeasurementCanBeStopped) {
  SweepPlan plan = this->plan("kind: grid, sizes: [1x16, 2x16, 1x24], tokens: [6400]");
  SpeedOptions options;
  options.workers = 2;
  options.seconds = 0.05;
  options.on_progress = [](int, int) { throw std::domain_error("stop"); };
  EXPECT_THROW(estimate_times(plan, sweep_folder() / "calibration.json", options), std::domain_error);
}

TEST_F(PlannerTest, StoringWritesRunsPlanAndSweep) {
  const SweepPlan plan = this->plan("kind: isoflop, budgets: [1e8, 2e8], sizes: [1x16, 2x16], seeds: [1, 2]");
  const StoreChanges changes = store_plan(sweep_folder(), plan, false);
  EXPECT_EQ(changes.added, 8);
  const std::vector<PlannedRun> runs = read_plan(sweep_folder());
  ASSERT_EQ(runs.size(), 8u);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    EXPECT_EQ(runs[i].run_id, plan.rows[i].planned.run_id);
    EXPECT_EQ(runs[i].budget, i < 4 ? 1e8 : 2e8);
    EXPECT_EQ(runs[i].kind, "isoflop");
    RunConfig config;
    const std::filesystem::path file = run_folder(sweep_folder(), runs[i].run_id) / "config.yaml";
    read_config(load_yaml(file.string()), file.string(), config);
    EXPECT_EQ(run_id(config, corpus_->hash()), runs[i].run_id) << "a run's config is the run";
  }
  const std::string sweep = (sweep_folder() / "sweep.yaml").string();
  const SweepPlan again = make_plan(read_sweep_config(load_yaml(sweep), sweep), *corpus_);
  EXPECT_EQ(store_plan(sweep_folder(), again, false).added, 0) << "sweep.yaml is the same sweep";
}

TEST_F(PlannerTest, StoringTheSameAgainChangesNothing) {
  SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [6400, 12800]");
  for (PlanRow& row : plan.rows) row.planned.estimated_s = 3;
  store_plan(sweep_folder(), plan, false);
  const auto written = std::filesystem::last_write_time(
      run_folder(sweep_folder(), plan.rows[0].planned.run_id) / "config.yaml");
  const std::string before = read_file(sweep_folder() / "plan.json");
  for (PlanRow& row : plan.rows) row.planned.estimated_s = 0;  // planned without calibration
  const StoreChanges changes = store_plan(sweep_folder(), plan, false);
  EXPECT_EQ(changes.added, 0);
  EXPECT_EQ(changes.present, 2);
  EXPECT_EQ(read_file(sweep_folder() / "plan.json"), before) << "known times are kept";
  EXPECT_EQ(std::filesystem::last_write_time(run_folder(sweep_folder(), plan.rows[0].planned.run_id) /
                                             "config.yaml"),
            written);
}

TEST_F(PlannerTest, AnotherPlanIsRefusedOrExtends) {
  const SweepPlan first = this->plan("kind: grid, sizes: [1x16], tokens: [6400, 12800]");
  const SweepPlan other = this->plan("kind: grid, sizes: [1x16], tokens: [12800, 25600]");
  store_plan(sweep_folder(), first, false);
  EXPECT_THAT(message_of<InputError>([&] { store_plan(sweep_folder(), other, false); }),
              AllOf(HasSubstr("lacks 1 of these 2 runs"), HasSubstr("has 1 others"), HasSubstr("--extend")));
  EXPECT_EQ(read_plan(sweep_folder()).size(), 2u);
  const StoreChanges changes = store_plan(sweep_folder(), other, true);
  EXPECT_EQ(changes.added, 1);
  EXPECT_EQ(changes.present, 1);
  EXPECT_EQ(changes.others, 1);
  EXPECT_EQ(read_plan(sweep_folder()).size(), 3u);
  EXPECT_EQ(store_plan(sweep_folder(), first, false).added, 0) << "a part of what is there is fine";
}

TEST_F(PlannerTest, ANewCheckpointIntervalReachesTheRuns) {
  const SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [6400]");
  store_plan(sweep_folder(), plan, false);
  const SweepPlan other = this->plan("kind: grid, sizes: [1x16], tokens: [6400]", "checkpoint: {every: 5s}");
  EXPECT_EQ(store_plan(sweep_folder(), other, false).added, 0);
  EXPECT_THAT(run_config(plan, 0), HasSubstr("5s"));
}

TEST_F(PlannerTest, AFolderWithOtherFilesIsRefused) {
  const SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [6400]");
  folder_.write("sweep/letter.txt", "dear");
  EXPECT_THAT(message_of<InputError>([&] { store_plan(sweep_folder(), plan, false); }),
              HasSubstr("letter.txt"));
  EXPECT_THAT(message_of<InputError>([&] { store_plan(folder_ / "text.txt", plan, false); }),
              HasSubstr("is a file"));
  EXPECT_FALSE(is_sweep(sweep_folder()));
}

TEST_F(PlannerTest, APlanCutShortIsPlannedAnew) {
  const SweepPlan plan = this->plan("kind: grid, sizes: [1x16], tokens: [6400]");
  folder_.write("sweep/runs/" + plan.rows[0].planned.run_id + "/config.yaml", "torn");
  EXPECT_EQ(store_plan(sweep_folder(), plan, false).added, 1);
  EXPECT_THAT(run_config(plan, 0), HasSubstr("learning_rate"));
}

TEST_F(PlannerTest, ReadPlanNamesWhatIsWrong) {
  EXPECT_THAT(message_of<InputError>([&] { read_plan(folder_ / "none"); }), HasSubstr("sweep plan"));
  folder_.write("sweep/plan.json", R"({"format": 9, "runs": []})");
  EXPECT_THAT(message_of<InputError>([&] { read_plan(sweep_folder()); }),
              HasSubstr("found format 9, expected 1"));
  folder_.write("sweep/plan.json", "{");
  EXPECT_THAT(message_of<InputError>([&] { read_plan(sweep_folder()); }), HasSubstr("plan.json: not JSON"));
}

TEST_F(PlannerTest, TheTableShowsEveryRunUnderItsBudget) {
  SweepPlan plan = this->plan("kind: isoflop, budgets: [1e8, 2e8], sizes: [1x16, 2x16]");
  const PlanView view{2, {"mind this"}};
  const std::string text = plan_text(plan, view);
  for (const PlanRow& row : plan.rows) EXPECT_THAT(text, HasSubstr(row.planned.run_id));
  EXPECT_THAT(text, AllOf(HasSubstr("budget 1e8 FLOPs\n"), HasSubstr("budget 2e8 FLOPs\n"),
                          HasSubstr("warning: mind this"), HasSubstr("4 runs, 2 budgets, 2 sizes")));
  EXPECT_THAT(text, Not(HasSubstr("schedule"))) << "nothing was measured";
  for (PlanRow& row : plan.rows) {
    row.tokens_per_s = 1;
    row.planned.estimated_s = 30;
  }
  EXPECT_THAT(
      plan_text(plan, view),
      HasSubstr(
          "schedule, longest first: 1m00s with 2 workers, 100 % busy (2m00s of one core; the longest "
          "run takes 30s)\nother numbers of workers: 2m00s with 1, 100 % busy; 30s with 4, 100 % busy"));
  PlanView short_view = view;
  short_view.most_rows = 3;
  EXPECT_THAT(plan_text(plan, short_view), HasSubstr("1 more runs"));
}

TEST_F(PlannerTest, AGivenSpeedTakesThePlaceOfMeasuring) {
  SweepPlan plan = this->plan("kind: isoflop, budgets: [1e8, 4e8], sizes: [1x16]");
  assume_speed(plan, 1e7);
  for (const PlanRow& row : plan.rows) {
    const double evaluated = evaluated_tokens(row.config.train, row.planned.flops / 1e7);
    EXPECT_NEAR(row.planned.estimated_s * 1e7, row.planned.flops + evaluated * row.flops_per_token.flops / 3,
                1e-6 * row.planned.flops)
        << "a forward pass is a third of forward and backward";
  }
  const PlanTotals totals = plan_totals(plan, 64);
  EXPECT_EQ(totals.schedule.makespan_s, plan.rows[1].planned.estimated_s);
  EXPECT_LE(totals.schedule.utilisation(), 2.0 / 64);
}

TEST_F(PlannerTest, TheJsonHasEveryRunAndTotals) {
  const SweepPlan plan = this->plan("kind: isoflop, budgets: [1e8], sizes: [1x16, 2x16]");
  const nlohmann::ordered_json json = plan_json(plan, {1, {"mind this"}});
  ASSERT_EQ(json["runs"].size(), 2u);
  EXPECT_EQ(json["runs"][0]["budget"], 1e8);
  EXPECT_EQ(json["runs"][1]["tokens"], plan.rows[1].planned.tokens);
  EXPECT_EQ(json["totals"]["tokens"], plan.rows[0].planned.tokens + plan.rows[1].planned.tokens);
  EXPECT_EQ(json["totals"]["memory_bytes"], std::max(plan.rows[0].memory_bytes, plan.rows[1].memory_bytes));
  EXPECT_EQ(json["warnings"][0], "mind this");
}

TEST_F(PlannerTest, PlansAThousandRuns) {
  std::string seeds;
  for (int seed = 0; seed < 250; ++seed) seeds += (seed ? ", " : "") + std::to_string(seed);
  const SweepPlan plan =
      this->plan("kind: grid, sizes: [1x16, 2x16], tokens: [6400, 12800], seeds: [" + seeds + "]");
  EXPECT_EQ(plan.rows.size(), 1000u);
  EXPECT_EQ(store_plan(sweep_folder(), plan, false).added, 1000);
  EXPECT_EQ(read_plan(sweep_folder()).size(), 1000u);
}

}  // namespace
}  // namespace minichilla::planner_test
