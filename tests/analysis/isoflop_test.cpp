#include "sweeps/analysis/isoflop.h"

#include <gmock/gmock.h>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla::isoflop_test {
namespace {

using testing::HasSubstr;

/// Runs at `budget` whose losses are quadratic·(ln N − ln best)² + floor.
void add_valley(double budget, double best, double quadratic, const std::vector<double>& sizes,
                RunTable& table) {
  for (const double N : sizes) {
    const double x = std::log(N / best);
    table.runs.push_back({N, budget / (6 * N), budget, 3 + quadratic * x * x, budget, "run", 0});
  }
}

IsoflopFit fit_budgets(const RunTable& table, const FitOptions& options = without_bootstrap()) {
  LossNoise noise;
  return fit_isoflop(table, options, noise);
}

TEST(Isoflop, FindsTheMinimaOfParabolasExactly) {
  RunTable table;
  add_valley(1e12, 3e4, 0.05, {1e4, 2e4, 4e4, 8e4, 1.6e5}, table);
  add_valley(1e14, 3e5, 0.05, {1e5, 2e5, 4e5, 8e5, 1.6e6}, table);
  const IsoflopFit result = fit_budgets(table);
  EXPECT_EQ(result.refused, "");
  ASSERT_EQ(result.profiles.size(), 2u);
  const IsoflopProfile& profile = result.profiles[0];
  EXPECT_TRUE(profile.used);
  EXPECT_NEAR(profile.params_opt.value / 3e4, 1, 1e-9);
  EXPECT_NEAR(profile.tokens_opt.value / (1e12 / 18e4), 1, 1e-9);
  EXPECT_NEAR(profile.loss_opt.value, 3, 1e-9);
  EXPECT_NEAR(profile.quadratic, 0.05, 1e-9);
  const double x = std::log(8e4);
  EXPECT_NEAR((profile.quadratic * x + profile.linear) * x + profile.constant, profile.runs[3].loss, 1e-8);
  EXPECT_EQ(profile.smallest_N, 1e4);
  EXPECT_EQ(profile.largest_N, 1.6e5);
  EXPECT_NEAR(result.laws.a.value, 0.5, 1e-9);
  EXPECT_NEAR(result.laws.b.value, 0.5, 1e-9);
  EXPECT_NEAR(result.laws.coefficient_params.value * 1e6, 3e4, 1e-3);
  EXPECT_THAT(result.notes, testing::Contains(HasSubstr("two budgets")));
}

TEST(Isoflop, RefusesWhatHasNoMinimum) {
  RunTable table;
  const std::vector<double> sizes = {1e4, 2e4, 4e4, 8e4, 1.6e5};
  add_valley(1e11, 4e4, -0.05, sizes, table);
  add_valley(1e12, 5e3, 0.05, sizes, table);
  add_valley(1e13, 5e5, 0.05, sizes, table);
  add_valley(1e14, 2e4, 0.05, {1e4, 2e4, 4e4}, table);
  add_valley(1e15, 2e4, 0.05, {1e4}, table);
  const IsoflopFit result = fit_budgets(table);
  ASSERT_EQ(result.profiles.size(), 5u);
  for (const IsoflopProfile& profile : result.profiles) EXPECT_FALSE(profile.used);
  EXPECT_THAT(result.profiles[0].reason, HasSubstr("opens downwards"));
  EXPECT_THAT(result.profiles[1].reason,
              HasSubstr("at 5k parameters, is below the smallest model of this budget, 10k"));
  EXPECT_THAT(result.profiles[2].reason, HasSubstr("at 500k parameters, is above the largest"));
  EXPECT_THAT(result.profiles[3].reason, HasSubstr("3 model sizes, a parabola needs at least 4"));
  EXPECT_THAT(result.profiles[4].reason, HasSubstr("1 model size,"));
  EXPECT_THAT(result.refused, HasSubstr("no budget has a usable minimum"));
}

/// Two valleys with noise that the sizes do not share.
RunTable noisy_valleys() {
  RunTable table;
  add_valley(1e12, 3e4, 0.05, {1e4, 2e4, 4e4, 8e4, 1.6e5}, table);
  add_valley(1e14, 3e5, 0.05, {1e5, 2e5, 4e5, 8e5, 1.6e6}, table);
  for (std::size_t i = 0; i < table.runs.size(); ++i) {
    table.runs[i].loss += 0.01 * std::sin(12.9898 * static_cast<double>(i + 1));
  }
  return table;
}

TEST(Isoflop, AWeightOfThreeCountsLikeThreeRuns) {
  for (const Interpolation interpolation : {Interpolation::windowed, Interpolation::akima}) {
    FitOptions options = without_bootstrap();
    options.interpolation = interpolation;
    RunTable weighted = noisy_valleys(), repeated = noisy_valleys();
    // For a spline only runs of one size differ by weight: a second, other run of the same size.
    Observation other = weighted.runs[1];
    other.loss += 0.02;
    for (RunTable* table : {&weighted, &repeated}) table->runs.push_back(other);
    weighted.runs.back().weight = 3;
    for (int i = 0; i < 2; ++i) repeated.runs.push_back(other);
    const IsoflopFit one = fit_budgets(weighted, options), three = fit_budgets(repeated, options);
    const IsoflopFit plain = fit_budgets(noisy_valleys(), options);
    EXPECT_NEAR(one.profiles[0].params_opt.value / three.profiles[0].params_opt.value, 1, 1e-9);
    EXPECT_NEAR(one.laws.a.value, three.laws.a.value, 1e-9);
    EXPECT_GT(std::fabs(one.laws.a.value - plain.laws.a.value), 1e-4);
    EXPECT_THAT(one.notes, testing::Contains(HasSubstr("weights, which differ by a factor of up to 3")));
  }
}

TEST(Isoflop, TheUnitOfWeightsDoesNotMatter) {
  FitOptions options;
  options.bootstrap = 50;
  RunTable table = noisy_valleys();
  for (std::size_t i = 0; i < table.runs.size(); i += 3) table.runs[i].weight = 4;
  const IsoflopFit one = fit_budgets(table, options);
  for (Observation& run : table.runs) run.weight *= 1024;
  const IsoflopFit other = fit_budgets(table, options);
  EXPECT_DOUBLE_EQ(one.laws.a.value, other.laws.a.value);
  EXPECT_DOUBLE_EQ(one.laws.a.interval->low80, other.laws.a.interval->low80);
  EXPECT_THAT(fit_budgets(noisy_valleys()).notes, testing::Not(testing::Contains(HasSubstr("weights"))));
}

TEST(Isoflop, WeightsMakeLossesOfUnequalNoiseWorthMore) {
  // Every other run has four times the noise. Over many sweeps minima with their weights scatter less, and
  // the intervals say so.
  double with = 0, without = 0, width_with = 0, width_without = 0;
  constexpr int kSweeps = 60;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    SweepDesign design;
    design.sizes = 8;
    RunTable table = simulated_sweep(design, 1);
    std::mt19937_64 random(static_cast<std::uint64_t>(sweep));
    std::normal_distribution<double> normal;
    for (std::size_t i = 0; i < table.runs.size(); ++i) {
      const double noise = i % 2 == 0 ? 0.002 : 0.008;
      table.runs[i].loss *= std::exp(noise * normal(random));
      table.runs[i].weight = 1 / (noise * noise);
    }
    FitOptions options;
    options.bootstrap = 60;
    const Estimate weighted = fit_budgets(table, options).laws.a;
    for (Observation& run : table.runs) run.weight = 1;
    const Estimate plain = fit_budgets(table, options).laws.a;
    const double truth = true_a(design.surface);
    with += std::pow(weighted.value - truth, 2) / kSweeps;
    without += std::pow(plain.value - truth, 2) / kSweeps;
    width_with += (weighted.interval->high80 - weighted.interval->low80) / kSweeps;
    width_without += (plain.interval->high80 - plain.interval->low80) / kSweeps;
  }
  EXPECT_LT(with, 0.6 * without);
  EXPECT_LT(width_with, 0.85 * width_without);
}

TEST(Isoflop, OneUsableBudgetGivesNoLaw) {
  RunTable table;
  add_valley(1e12, 3e4, 0.05, {1e4, 2e4, 4e4, 8e4}, table);
  add_valley(1e14, 3e5, -0.05, {1e5, 2e5, 4e5, 8e5}, table);
  const IsoflopFit result = fit_budgets(table);
  EXPECT_THAT(result.refused, HasSubstr("one budget with a usable minimum"));
  EXPECT_TRUE(result.profiles[0].used);
  EXPECT_NEAR(result.profiles[0].params_opt.value, 3e4, 1);
}

TEST(Isoflop, SaysWhenThereAreNoBudgets) {
  RunTable table;
  add_valley(1e12, 3e4, 0.05, {1e4, 2e4, 4e4, 8e4}, table);
  for (Observation& run : table.runs) run.budget = 0;
  EXPECT_THAT(fit_budgets(table).refused, HasSubstr("no run belongs to a budget"));
  EXPECT_THAT(fit_budgets(RunTable{}).refused, HasSubstr("no run"));
}

TEST(Isoflop, SeedsAreAllPoints) {
  SweepDesign design;
  design.sizes = 4;
  design.seeds = 3;
  design.noise = 0.002;
  const IsoflopFit result = fit_budgets(simulated_sweep(design, 3));
  EXPECT_EQ(result.refused, "");
  EXPECT_EQ(result.profiles[0].runs.size(), 12u);
  EXPECT_NEAR(result.laws.a.value, 0.5, 0.05);
}

TEST(Isoflop, TheWindowTakesAwayTheBiasOfAnAsymmetricGrid) {
  // Sizes over a factor of 256 in a valley with unequal sides, about a centre that drifts away from the
  // optimum.
  RunTable table;
  const ParametricFit::Surface surface{1.7, 20000, 95, 0.51, 0.19};
  double off_centre = 1;
  for (const double C : {1e18, 1e19, 1e20, 1e21}) {
    const double centre = true_optimum(surface, C) * off_centre;
    for (int i = 0; i < 13; ++i) {
      const double N = centre / 16 * std::pow(256, i / 12.0);
      table.runs.push_back({N, C / (6 * N), C, surface.loss(N, C / (6 * N)), C, "run", 0});
    }
    off_centre *= 0.7;
  }
  FitOptions whole = without_bootstrap();
  whole.isoflop_window = std::numeric_limits<double>::infinity();
  const double truth = true_a(surface);
  EXPECT_GT(std::fabs(fit_budgets(table, whole).laws.a.value - truth), 0.02);
  EXPECT_NEAR(fit_budgets(table).laws.a.value, truth, 0.005);
}

TEST(Isoflop, ScatterOfTheMinimaAboutTheLawIsInTheInterval) {
  const auto width_with_scatter = [](double factor) {
    RunTable table;
    for (const double best : {1e5 * factor, 2e5 / factor, 4e5 / factor, 8e5 * factor}) {
      const double rounded = 1e5 * std::pow(2, std::round(std::log2(best / 1e5)));
      add_valley(6 * rounded * rounded * 20, best, 0.05,
                 {rounded / 4, rounded / 2, rounded, rounded * 2, rounded * 4}, table);
    }
    for (std::size_t i = 0; i < table.runs.size(); ++i) table.runs[i].loss *= 1 + (i % 2 == 0 ? 1e-4 : -1e-4);
    const IsoflopFit result = fit_budgets(table, {});
    const bool noted =
        !result.notes.empty() && result.notes.back().find("scatter about the law") != std::string::npos;
    EXPECT_EQ(noted, factor > 1.1);
    return result.laws.a.interval->high80 - result.laws.a.interval->low80;
  };
  EXPECT_GT(width_with_scatter(1.2), 5 * width_with_scatter(1));
}

TEST(Isoflop, IntervalsGrowWithTheNoise) {
  double previous = 0;
  for (const double noise : {0.001, 0.004, 0.016}) {
    SweepDesign design;
    design.noise = noise;
    design.sizes = 8;
    FitOptions options;
    const IsoflopFit result = fit_budgets(simulated_sweep(design, 5), options);
    ASSERT_TRUE(result.laws.a.interval);
    const Interval80And95& interval = *result.laws.a.interval;
    EXPECT_LT(interval.low95, interval.low80);
    EXPECT_LT(interval.high80, interval.high95);
    EXPECT_GT(interval.high80 - interval.low80, previous);
    previous = interval.high80 - interval.low80;
    EXPECT_TRUE(result.profiles[0].params_opt.interval);
  }
}

TEST(Isoflop, AnAkimaSplineFollowsValleysThatAreNoParabolas) {
  SweepDesign design;
  design.surface = {1.7, 20000, 95, 0.51, 0.19};
  design.budgets = {1e18, 1e19, 1e20, 1e21};
  design.sizes = 13;
  design.ladder = 1.6;
  const RunTable table = simulated_sweep(design, 1);
  FitOptions options = without_bootstrap();
  options.interpolation = Interpolation::akima;
  for (const bool log_loss : {false, true}) {
    options.log_loss = log_loss;
    const IsoflopFit fit = fit_budgets(table, options);
    ASSERT_EQ(fit.refused, "");
    EXPECT_NEAR(fit.laws.a.value, true_a(design.surface), 0.004);
    const IsoflopProfile& profile = fit.profiles.at(1);
    EXPECT_EQ(profile.quadratic, 0);
    EXPECT_NEAR(profile.loss_opt.value,
                design.surface.loss(profile.params_opt.value, profile.tokens_opt.value), 2e-3);
    ASSERT_FALSE(profile.curve.empty());
    EXPECT_NEAR(profile.curve.front().second, profile.runs.front().loss, 1e-9)
        << "in losses, not their logarithms";
  }
}

TEST(Isoflop, AnAkimaSplineWhoseLowestPointIsAtTheEdgeIsRefused) {
  RunTable table;
  add_valley(1e12, 1e4, 0.05, {1e4, 2e4, 4e4, 8e4, 1.6e5}, table);
  add_valley(1e13, 9e5, 0.05, {1e4, 2e4, 4e4, 8e4, 1.6e5}, table);
  FitOptions options = without_bootstrap();
  options.interpolation = Interpolation::akima;
  const IsoflopFit fit = fit_budgets(table, options);
  EXPECT_THAT(fit.profiles.at(0).reason, HasSubstr("smallest model of this budget"));
  EXPECT_THAT(fit.profiles.at(1).reason, HasSubstr("largest model of this budget"));
  EXPECT_NE(fit.refused, "");
}

TEST(Isoflop, LogLossesFindTheSameMinimumOfAParabolaInThem) {
  RunTable table;
  add_valley(1e12, 3e4, 0.05, {1e4, 2e4, 4e4, 8e4, 1.6e5}, table);
  add_valley(1e14, 3e5, 0.05, {1e5, 2e5, 4e5, 8e5, 1.6e6}, table);
  for (Observation& run : table.runs) run.loss = std::exp(run.loss);
  FitOptions options = without_bootstrap();
  options.log_loss = true;
  const IsoflopFit fit = fit_budgets(table, options);
  EXPECT_NEAR(fit.profiles.at(0).params_opt.value / 3e4, 1, 1e-9);
  EXPECT_NEAR(fit.profiles.at(0).loss_opt.value, std::exp(3), 1e-8);
}

}  // namespace
}  // namespace minichilla::isoflop_test
