#include "sweeps/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/error.h"
#include "sweeps/budget.h"
#include "tests/temporary_folder.h"

namespace minichilla::grid_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kVocabulary = 257;

SweepConfig config_of(const std::string& yaml) {
  return read_sweep_config(YAML::Load(yaml), "sweep.yaml");
}

Grid grid_of(const std::string& yaml) {
  return expand(config_of(yaml), kVocabulary);
}

std::string complaint(const std::string& yaml) {
  return message_of<InputError>([&] { grid_of(yaml); });
}

TEST(WholeBatch, RoundsToSequencesAndFindsTheLargestDivisor) {
  const Batch twelve = whole_batch(12 * 64 + 20, 64, 5);
  EXPECT_EQ(twelve.tokens, 768);
  EXPECT_EQ(twelve.sequences, 12);
  EXPECT_EQ(twelve.micro_batch, 4);
  EXPECT_EQ(whole_batch(12 * 64 + 40, 64, 5).sequences, 13) << "the nearest, not the lower";
  EXPECT_EQ(whole_batch(13 * 64, 64, 12).micro_batch, 1) << "a prime number of sequences";
  EXPECT_EQ(whole_batch(13 * 64, 64, 13).micro_batch, 13);
  EXPECT_EQ(whole_batch(3, 64, 8).tokens, 64) << "at least one sequence";
  EXPECT_EQ(whole_batch(3, 64, 8).micro_batch, 1);
}

TEST(WholeSteps, NeverExceedTheTokensButForgiveRounding) {
  EXPECT_EQ(whole_steps(1023, 512), 1);
  EXPECT_EQ(whole_steps(1024, 512), 2);
  EXPECT_EQ(whole_steps(1024 * (1 - 1e-12), 512), 2);
  EXPECT_EQ(whole_steps(511, 512), 0);
}

TEST(FlopsColumn, NamesThreeAndNoOther) {
  const FlopsPerToken flops{1, 2, 3};
  EXPECT_EQ(flops_column(flops, "flops"), 1);
  EXPECT_EQ(flops_column(flops, "flops_hoffmann"), 2);
  EXPECT_EQ(flops_column(flops, "flops_6nd"), 3);
  EXPECT_THROW(flops_column(flops, "6nd"), std::logic_error);
}

/// FLOPs per token of a dense decoder by hand: 6 · (12·L·d² + V·d) for the matrices, and 12·L·d per (query,
/// key) pair (2 products forward, 4 backward, 2 FLOPs each), of which a token has (T + 1)/2 on average.
double dense_flops(int layers, int width, int T) {
  return 6.0 * (12.0 * layers * width * width + static_cast<double>(kVocabulary) * width) +
         12.0 * layers * width * (T + 1) / 2;
}

TEST(Isoflop, SpendsEachBudgetWithinOneBatch) {
  const Grid grid = grid_of(R"(
model: {context_length: 64}
train: {batch_tokens: 512, micro_batch: 4}
sweep: {kind: isoflop, budgets: [1e10, 3e10], sizes: [2x32, 1x16]})");
  ASSERT_EQ(grid.points.size(), 4u);
  EXPECT_TRUE(grid.notes.empty());
  std::vector<std::string> sizes;
  std::vector<double> budgets;
  for (const GridPoint& point : grid.points) {
    const TrainConfig& train = point.config.train;
    sizes.push_back(point.size.name);
    budgets.push_back(point.budget);
    const double per_token = dense_flops(point.config.model.n_layers, point.config.model.d_model, 64);
    EXPECT_DOUBLE_EQ(point.size.flops_per_token.flops, per_token);
    const double spent = per_token * static_cast<double>(train.tokens);
    EXPECT_LE(spent, point.budget);
    EXPECT_GT(spent, point.budget - per_token * 512);
    EXPECT_EQ(train.tokens % 512, 0);
    EXPECT_EQ(train.steps(), train.tokens / 512);
  }
  EXPECT_THAT(sizes, ElementsAre("1x16", "2x32", "1x16", "2x32")) << "ascending in N within a budget";
  EXPECT_THAT(budgets, ElementsAre(1e10, 1e10, 3e10, 3e10));
}

TEST(Isoflop, SpendsTheColumnThatTheConfigNames) {
  const Grid grid = grid_of("{sweep: {kind: isoflop, flops: flops_6nd, budgets: [1e10], sizes: [1x16]}}");
  const GridPoint& point = grid.points.at(0);
  const double per_token = 6.0 * static_cast<double>(point.size.params);
  EXPECT_EQ(point.config.train.tokens, 512 * std::floor(1e10 / per_token / 512));
}

TEST(Isoflop, PicksSizesAroundTheExpectedOptimum) {
  const Grid grid = grid_of(R"(
sweep:
  kind: isoflop
  budgets: [1e11, 1e12]
  around: {params: "10e3*(C/1e11)^0.5", count: 5, span: 8})");
  ASSERT_EQ(grid.points.size(), 10u);
  for (const double budget : {1e11, 1e12}) {
    const double center = 10e3 * std::sqrt(budget / 1e11);
    std::set<std::int64_t> params;
    for (const GridPoint& point : grid.points) {
      if (point.budget == budget) params.insert(point.size.params);
    }
    ASSERT_EQ(params.size(), 5u) << "all different";
    EXPECT_LT(*params.begin(), center);
    EXPECT_GT(*params.rbegin(), center);
    EXPECT_NEAR(std::log(static_cast<double>(*params.rbegin()) / center), std::log(8) / 2, 0.35);
  }
}

TEST(Isoflop, SaysWhenNoSizeIsBeyondTheExpectedOptimum) {
  const Grid grid = grid_of(R"({sweep: {kind: isoflop, budgets: [1e11], sizes: "ladder[0:4]",
                                        around: {params: 100k, count: 3, span: 4}}})");
  EXPECT_EQ(grid.points.size(), 3u);
  ASSERT_EQ(grid.notes.size(), 1u);
  EXPECT_THAT(grid.notes[0], AllOf(HasSubstr("budget 1e11"), HasSubstr("100k parameters")));
}

TEST(PickAround, IsTheBestAssignmentInOrder) {
  const std::vector<std::int64_t> params = {1000, 2000, 4000, 8000, 16000, 32000, 64000};
  EXPECT_THAT(pick_around(params, 8000, 3, 16), ElementsAre(1, 3, 5));
  EXPECT_THAT(pick_around(params, 8000, 5, 16), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(pick_around(params, 1000, 3, 4), ElementsAre(0, 1, 2)) << "none below: shifted, none twice";
  EXPECT_THAT(pick_around(params, 1e9, 3, 4), ElementsAre(4, 5, 6));
  EXPECT_THAT(pick_around({5, 7}, 6, 6, 4), ElementsAre(0, 1)) << "no more than there are";
  // Even places in log N, not in index: two sizes close to each other are not both picked.
  EXPECT_THAT(pick_around({1000, 3900, 4000, 16000}, 4000, 3, 16), ElementsAre(0, 2, 3));
}

TEST(GridKind, CrossesSizesTokensAndSeeds) {
  const Grid grid = grid_of(R"({train: {batch_tokens: 512},
    sweep: {kind: grid, sizes: [1x16, 2x16], tokens: [51200, 100k], seeds: [1, 2, 3]}})");
  ASSERT_EQ(grid.points.size(), 12u);
  EXPECT_EQ(grid.points[0].config.train.tokens, 51200);
  EXPECT_EQ(grid.points[3].config.train.tokens, 99840) << "100000 in whole batches of 512";
  EXPECT_EQ(grid.points[0].config.train.seed, 1u);
  EXPECT_EQ(grid.points[2].config.train.seed, 3u);
  EXPECT_EQ(grid.points[0].budget, 0);
  EXPECT_EQ(grid.points[6].size.name, "2x16");
}

TEST(EnvelopeKind, TakesLengthsPerParameter) {
  const Grid grid = grid_of("{sweep: {kind: envelope, sizes: [1x16], tokens_per_param: [10, 40]}}");
  ASSERT_EQ(grid.points.size(), 2u);
  const double params = static_cast<double>(grid.points[0].size.params);
  EXPECT_EQ(grid.points[0].config.train.tokens, 512 * std::floor(10 * params / 512));
  EXPECT_EQ(grid.points[1].config.train.tokens, 512 * std::floor(40 * params / 512));
}

TEST(ListKind, TakesTokensOrBudgetAndTheModelsShape) {
  const Grid grid = grid_of(R"(
model: {n_layers: 3, d_model: 24, n_heads: 2}
sweep: {kind: list, runs: [{size: 1x16, tokens: 51200}, {budget: 1e10}]})");
  ASSERT_EQ(grid.points.size(), 2u);
  EXPECT_EQ(grid.points[0].size.name, "1x16");
  EXPECT_EQ(grid.points[0].config.train.tokens, 51200);
  EXPECT_EQ(grid.points[1].size.name, "3x24x2");
  EXPECT_EQ(grid.points[1].budget, 1e10);
  EXPECT_EQ(grid.points[1].config.train.tokens, 512 * std::floor(1e10 / dense_flops(3, 24, 64) / 512));
}

TEST(Rules, GiveRateBatchAndWarmup) {
  const Grid grid = grid_of(R"yaml(
train: {batch_tokens: 512, micro_batch: 4}
sweep:
  kind: isoflop
  budgets: [3e11, 3e12]
  sizes: [2x32]
  rules: {learning_rate: "0.01*(16/d_model)^0.8", batch_tokens: "512*(C/3e11)^0.3", warmup: "max(0.02, 100/steps)"})yaml");
  ASSERT_EQ(grid.points.size(), 2u);
  const TrainConfig &small = grid.points[0].config.train, &large = grid.points[1].config.train;
  EXPECT_DOUBLE_EQ(small.optimizer.learning_rate, 0.01 * std::pow(0.5, 0.8));
  EXPECT_EQ(small.batch_tokens, 512);
  EXPECT_EQ(small.micro_batch, 4);
  EXPECT_EQ(large.batch_tokens, 16 * 64) << "8 sequences times 10^0.3 = 1.995";
  EXPECT_EQ(large.micro_batch, 4);
  EXPECT_DOUBLE_EQ(small.schedule.warmup, std::max(0.02, 100.0 / static_cast<double>(small.steps())));
}

TEST(Rules, WithoutAnyTheBaseConfigStays) {
  const Grid grid = grid_of(R"({train: {batch_tokens: 640, micro_batch: 5, optimizer: {learning_rate: 0.003}},
                                sweep: {kind: grid, sizes: [1x16], tokens: [64000]}})");
  EXPECT_EQ(grid.points[0].config.train.batch_tokens, 640);
  EXPECT_EQ(grid.points[0].config.train.micro_batch, 5);
  EXPECT_EQ(grid.points[0].config.train.optimizer.learning_rate, 0.003);
}

TEST(Rules, TokensStayTheBudgetsWhateverTheBatch) {
  for (const char* batch : {"64", "512", "5000"}) {
    const Grid grid =
        grid_of("{sweep: {kind: isoflop, budgets: [1e10], sizes: [1x16], rules: {batch_tokens: " +
                std::string(batch) + "}}}");
    const TrainConfig& train = grid.points.at(0).config.train;
    const double tokens = 1e10 / dense_flops(1, 16, 64);
    EXPECT_LE(static_cast<double>(train.tokens), tokens);
    EXPECT_GT(static_cast<double>(train.tokens + train.batch_tokens), tokens);
  }
}

TEST(Rules, RefuseNumbersThatAreNone) {
  const std::string sweep = "kind: grid, sizes: [1x16], tokens: [64000], rules: ";
  EXPECT_THAT(complaint("{sweep: {" + sweep + "{learning_rate: 'log(0-N)'}}}"),
              AllOf(HasSubstr("sweep.rules.learning_rate"), HasSubstr("gives"), HasSubstr("N = ")));
  EXPECT_THAT(complaint("{sweep: {" + sweep + "{warmup: 'steps'}}}"),
              HasSubstr("expected a number from 0 to 1"));
  EXPECT_THAT(complaint("{sweep: {" + sweep + "{batch_tokens: '1/0'}}}"),
              HasSubstr("sweep.rules.batch_tokens"));
}

TEST(MinimumSteps, LeavesShortRunsOutAloud) {
  const Grid grid = grid_of(R"({sweep: {kind: grid, sizes: [1x16], tokens: [1024, 51200], seeds: [1, 2],
                                        minimum_steps: 50}})");
  EXPECT_EQ(grid.points.size(), 2u);
  ASSERT_EQ(grid.notes.size(), 1u);
  EXPECT_THAT(grid.notes[0],
              AllOf(HasSubstr("2 of 4 runs"), HasSubstr("1x16 with 1.02k tokens"), HasSubstr("has 2")));
  EXPECT_THAT(complaint("{sweep: {kind: isoflop, budgets: [1e6], sizes: [2x32]}}"),
              AllOf(HasSubstr("no runs"), HasSubstr("has 0")));
}

TEST(Axes, MultiplyTheRuns) {
  const Grid grid = grid_of(R"(
sweep:
  kind: grid
  sizes: [1x16]
  tokens: [51200]
  axes:
    - {path: train.optimizer.learning_rate, values: [0.001, 0.01]}
    - {path: model.attention.window, values: [8, 16]}
model: {attention: {pattern: [banded]}})");
  ASSERT_EQ(grid.points.size(), 4u);
  EXPECT_EQ(grid.points[0].config.train.optimizer.learning_rate, 0.001);
  EXPECT_EQ(grid.points[1].config.model.attention.window, 16);
  EXPECT_EQ(grid.points[3].config.train.optimizer.learning_rate, 0.01);
  EXPECT_LT(grid.points[0].size.flops_per_token.flops, grid.points[1].size.flops_per_token.flops)
      << "an axis over the model counts in its FLOPs";
}

TEST(Axes, RefuseWhatTheSweepDecides) {
  const auto with = [](const std::string& axis, const std::string& rules) {
    return complaint("{sweep: {kind: grid, sizes: [1x16], tokens: [51200], axes: [" + axis + "], rules: {" +
                     rules + "}}}");
  };
  EXPECT_THAT(with("{path: train.tokens, values: [1]}", ""), HasSubstr("decides the tokens"));
  EXPECT_THAT(with("{path: model.d_model, values: [16]}", ""), HasSubstr("sweep.sizes"));
  EXPECT_THAT(with("{path: train.seed, values: [1]}", ""), HasSubstr("sweep.seeds"));
  EXPECT_THAT(with("{path: train.batch_tokens, values: [512]}", "batch_tokens: 512"),
              HasSubstr("sweep.rules"));
  EXPECT_THAT(with("{path: train.optimizer.rate, values: [1]}", ""),
              HasSubstr("train.optimizer.rate: found an unknown key"));
}

TEST(SweepConfig, ReadsBackWhatItWrites) {
  for (const char* yaml :
       {"{sweep: {kind: isoflop, budgets: [1e11, 3e11], sizes: ['ladder[0:5]', 2x48x3], seeds: [1, 2],"
        " around: {params: 10k*(C/1e11)^0.5}, rules: {learning_rate: 0.01/d_model, warmup: 0.02}}}",
        "{sweep: {kind: envelope, tokens_per_param: [5, 20]}}", "{sweep: {kind: grid, tokens: [1M]}}",
        "{sweep: {kind: list, runs: [{size: 1x16, tokens: 1M}, {budget: 1e10}],"
        " axes: [{path: train.optimizer.beta2, values: [0.9, 0.99]}]}}"}) {
    const SweepConfig config = config_of(yaml);
    const std::string written = yaml_text(write_config(config));
    EXPECT_EQ(yaml_text(write_config(config_of(written))), written);
    EXPECT_EQ(expand(config_of(written), kVocabulary).points.size(),
              expand(config, kVocabulary).points.size());
  }
}

TEST(SweepConfig, NamesFileLineAndKey) {
  EXPECT_THAT(complaint("sweep:\n  kind: isoflop\n  sizes: [2x33]\n  budgets: [1e11]"),
              AllOf(HasSubstr("sweep.yaml:3: sweep.sizes"), HasSubstr("2x33")));
  EXPECT_THAT(complaint("sweep:\n  kind: isoflob"),
              AllOf(HasSubstr("sweep.yaml:2"), HasSubstr("did you mean isoflop?")));
  EXPECT_THAT(
      complaint("sweep:\n  kind: grid\n  budgets: [1]\n  tokens: [1M]"),
      AllOf(HasSubstr("sweep.yaml:3: sweep.budgets"), HasSubstr("kind isoflop"), HasSubstr("kind is grid")));
  EXPECT_THAT(
      complaint("sweep:\n  kind: grid\n  rules:\n    learning_rate: 0.1*d_modl"),
      AllOf(HasSubstr("sweep.yaml:4: sweep.rules.learning_rate"), HasSubstr("did you mean d_model?")));
  EXPECT_THAT(complaint("{model: {d_model: 16}}"), HasSubstr("minichilla train"));
  EXPECT_THAT(complaint("{sweep: {kind: isoflop}}"), HasSubstr("sweep.budgets: not given"));
  EXPECT_THAT(complaint("{sweep: {kind: grid}}"), HasSubstr("either tokens or tokens_per_param"));
  EXPECT_THAT(complaint("{sweep: {kind: grid, tokens: [1M], tokens_per_param: [1]}}"), HasSubstr("either"));
  EXPECT_THAT(complaint("{sweep: {kind: list}}"), HasSubstr("sweep.runs: not given"));
  EXPECT_THAT(complaint("sweep:\n  kind: list\n  runs: [{size: 1x16, tokens: 1M, budget: 1e9}]"),
              AllOf(HasSubstr("sweep.yaml:3: sweep.runs[0]"), HasSubstr("both tokens and budget")));
  EXPECT_THAT(complaint("{sweep: {kind: list, runs: [{size: 1x16}]}}"),
              HasSubstr("neither tokens nor budget"));
}

}  // namespace
}  // namespace minichilla::grid_test
