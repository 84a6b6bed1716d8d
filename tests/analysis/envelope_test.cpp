#include "sweeps/analysis/envelope.h"

#include <gmock/gmock.h>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla::envelope_test {
namespace {

using testing::HasSubstr;

EnvelopeFit fit_curves(const RunTable& table) {
  return fit_envelope(table, without_bootstrap(), LossNoise{});
}

/// Curves without schedule: every model trained far, the loss follows the surface at each point.
RunTable long_curves(const ParametricFit::Surface& surface, double ladder, int sizes) {
  RunTable table;
  for (int i = 0; i < sizes; ++i) {
    const double N = 1e3 * std::pow(ladder, i);
    Curve curve{"run" + std::to_string(i), N, {}};
    // Each ends where a larger model has long been better, and none where another one does.
    for (int j = 0; j < 200; ++j) {
      const double D = 5 * N * std::pow(20000.0, j / 199.0);
      curve.points.push_back({D, 6 * N * D, surface.loss(N, D)});
    }
    const CurvePoint& end = curve.points.back();
    table.runs.push_back({N, end.D, end.C, end.loss, 0, curve.run, 0});
    table.curves.push_back(std::move(curve));
  }
  return table;
}

TEST(Envelope, ComparesFinishedRunsOfASweep) {
  // A large surplus before the end of each schedule does no harm to runs compared at equal progress.
  SweepDesign design;
  design.ladder = 1.15;
  design.sizes = 20;
  design.unfinished = 0.3;
  design.surface = {1.3, 60, 400, 0.40, 0.28};
  const EnvelopeFit result = fit_curves(simulated_sweep(design, 1));
  EXPECT_EQ(result.refused, "");
  EXPECT_NEAR(result.laws.a.value, true_a(design.surface), 0.02);
  EXPECT_NEAR(result.laws.a.value + result.laws.b.value, 1, 1e-9);
  EXPECT_THAT(result.notes, testing::Contains(HasSubstr("last 20 %")));
  for (const FrontierPoint& point : result.frontier) {
    EXPECT_NEAR(point.C / (6 * point.N * point.D), 1, 1e-6);
    EXPECT_NE(point.run, "");
    EXPECT_GT(point.loss, 1.3);
  }
}

TEST(Envelope, UsesWholeCurvesWhereEndsDoNotMeetAndSaysSo) {
  const ParametricFit::Surface surface{1.3, 60, 400, 0.40, 0.28};
  const EnvelopeFit result = fit_curves(long_curves(surface, 2, 10));
  EXPECT_EQ(result.refused, "");
  // Sizes a factor of 2 apart: the best of them is up to 41 % away from the optimum.
  EXPECT_NEAR(result.laws.a.value, true_a(surface), 0.03);
  EXPECT_THAT(result.notes, testing::Contains(HasSubstr("points from the middle of runs")));
}

TEST(Envelope, DropsTheOutermostSizes) {
  const ParametricFit::Surface surface{1.3, 60, 400, 0.34, 0.34};
  const RunTable table = long_curves(surface, 2, 8);
  const EnvelopeFit result = fit_curves(table);
  ASSERT_FALSE(result.frontier.empty());
  for (const FrontierPoint& point : result.frontier) {
    EXPECT_GT(point.N, table.curves.front().N);
    EXPECT_LT(point.N, table.curves.back().N);
  }
  EXPECT_THAT(result.notes, testing::Contains(HasSubstr("smallest or the largest")));
}

TEST(Envelope, RefusesWithReasons) {
  RunTable table = simulated_sweep(SweepDesign{}, 1);
  RunTable no_curves = table;
  no_curves.curves.clear();
  EXPECT_THAT(fit_curves(no_curves).refused, HasSubstr("no training curves"));
  for (Curve& curve : no_curves.curves = table.curves) curve.points.resize(1);
  EXPECT_THAT(fit_curves(no_curves).refused, HasSubstr("no training curves"));

  RunTable three = table;
  three.curves = {table.curves[0], table.curves[7], table.curves[14]};
  EXPECT_THAT(fit_curves(three).refused, HasSubstr("curves of 4 model sizes"));

  SweepDesign one;
  one.budgets = {1e12};
  EXPECT_THAT(fit_curves(simulated_sweep(one, 1)).refused,
              HasSubstr("all curves end at nearly the same FLOPs"));

  // The larger the better everywhere: only the edge wins.
  RunTable edge = table;
  for (Curve& curve : edge.curves) {
    for (CurvePoint& point : curve.points) point.loss = 10 - std::log10(curve.N);
  }
  EXPECT_THAT(fit_curves(edge).refused, HasSubstr("everywhere the smallest or the largest"));
}

TEST(Envelope, NeedsToKnowTheNoiseForAnInterval) {
  const RunTable table = simulated_sweep(SweepDesign{}, 1);
  const EnvelopeFit without = fit_envelope(table, {}, LossNoise{});
  EXPECT_FALSE(without.laws.a.interval);
  EXPECT_THAT(without.notes, testing::Contains(HasSubstr("no interval")));
  const EnvelopeFit with = fit_envelope(table, {}, LossNoise{{-0.003, 0.001, 0.002}, 12});
  ASSERT_TRUE(with.laws.a.interval);
  EXPECT_LT(with.laws.a.interval->low80, with.laws.a.interval->high80);
}

}  // namespace
}  // namespace minichilla::envelope_test
