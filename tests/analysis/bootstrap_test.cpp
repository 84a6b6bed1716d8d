#include "sweeps/analysis/bootstrap.h"

#include <gmock/gmock.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla::bootstrap_test {
namespace {

TEST(Bootstrap, PercentilesInterpolate) {
  const std::vector<double> values = {1, 2, 3, 4, 5};
  EXPECT_DOUBLE_EQ(percentile(values, 0), 1);
  EXPECT_DOUBLE_EQ(percentile(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(percentile(values, 0.1), 1.4);
  EXPECT_DOUBLE_EQ(percentile(values, 1), 5);
  EXPECT_DOUBLE_EQ(percentile(std::vector<double>{7}, 0.9), 7);
}

TEST(Bootstrap, NoIntervalFromFewerThanHalfOfTheResamples) {
  EXPECT_FALSE(interval_of({}, 0));
  EXPECT_FALSE(interval_of({1, 2, 3, 4}, 9));
  EXPECT_TRUE(interval_of({1, 2, 3, 4, 5}, 10));
  EXPECT_FALSE(interval_of({1, 2, std::nan(""), std::numeric_limits<double>::infinity()}, 6));
  const auto interval = interval_of({4, 2, 1, 3, 5, 0, 6, 7, 8, 9, 10}, 11);
  EXPECT_DOUBLE_EQ(interval->low80, 1);
  EXPECT_DOUBLE_EQ(interval->high80, 9);
  EXPECT_DOUBLE_EQ(interval->low95, 0.25);
  EXPECT_DOUBLE_EQ(interval->high95, 9.75);
}

TEST(Bootstrap, RandomStreamsDifferAndHaveTheirMoments) {
  std::set<double> firsts;
  for (std::uint64_t seed : {0, 1, 2}) {
    for (std::uint64_t approach : {1, 2, 3}) {
      for (std::uint64_t resample : {0, 1, 2})
        firsts.insert(ResampleRandom(seed, approach, resample).uniform());
    }
  }
  EXPECT_EQ(firsts.size(), 27u);
  ResampleRandom random(1, 2, 3);
  double sum = 0, squares = 0, chi = 0;
  std::vector<int> counts(5);
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.normal();
    sum += value;
    squares += value * value;
    chi += random.chi_square(4);
    ++counts[random.below(5)];
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.03);
  EXPECT_NEAR(squares / kDraws, 1, 0.05);
  EXPECT_NEAR(chi / kDraws, 4, 0.1);
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 5, 300);
}

TEST(Bootstrap, EveryResampleIsWorkedOnceAndProgressAscends) {
  std::vector<std::atomic<int>> done(100);
  std::vector<double> fractions;
  for_each_resample(
      100, 4, [&](int i) { ++done[static_cast<std::size_t>(i)]; },
      [&](double fraction) { fractions.push_back(fraction); });
  for (const auto& count : done) EXPECT_EQ(count, 1);
  EXPECT_EQ(fractions.size(), 100u);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_DOUBLE_EQ(fractions.back(), 1);
}

TEST(Bootstrap, WhatIsThrownEndsTheWork) {
  std::atomic<int> done = 0;
  const auto stop_at_ten = [&](double fraction) {
    if (fraction >= 0.01) throw std::runtime_error("enough");
  };
  EXPECT_THROW(for_each_resample(
                   1000, 2, [&](int) { ++done; }, stop_at_ten),
               std::runtime_error);
  EXPECT_LT(done, 1000);
}

TEST(Bootstrap, ResultsDoNotDependOnTheNumberOfThreadsButOnTheSeed) {
  SweepDesign design;
  design.noise = 0.005;
  const RunTable table = simulated_sweep(design, 2);
  FitOptions options;
  options.bootstrap = 40;
  options.threads = 1;
  const std::string one = to_json(fit_all(table, options)).dump();
  options.threads = 2;
  EXPECT_EQ(to_json(fit_all(table, options)).dump(), one);
  options.threads = 7;
  EXPECT_EQ(to_json(fit_all(table, options)).dump(), one);
  options.seed = 2;
  EXPECT_NE(to_json(fit_all(table, options)).dump(), one);
}

TEST(Bootstrap, TheOrderOfTheRowsDoesNotMoveTheEstimates) {
  SweepDesign design;
  design.noise = 0.005;
  RunTable table = simulated_sweep(design, 2);
  const Fit fit = fit_all(table, without_bootstrap());
  std::reverse(table.runs.begin(), table.runs.end());
  std::reverse(table.curves.begin(), table.curves.end());
  const Fit reversed = fit_all(table, without_bootstrap());
  EXPECT_NEAR(fit.envelope.laws.a.value, reversed.envelope.laws.a.value, 1e-9);
  EXPECT_NEAR(fit.isoflop.laws.a.value, reversed.isoflop.laws.a.value, 1e-9);
  EXPECT_NEAR(fit.parametric.a.value, reversed.parametric.a.value, 1e-6);
}

}  // namespace
}  // namespace minichilla::bootstrap_test
