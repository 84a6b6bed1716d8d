// Verdict, held-out budgets, FLOP accounting, comparison of two fits.
#include "sweeps/analysis/verdict.h"

#include <gmock/gmock.h>

#include <cmath>

#include "sweeps/analysis/compare.h"
#include "tests/analysis/simulated_sweep.h"

namespace minichilla::verdict_test {
namespace {

using testing::Contains;
using testing::HasSubstr;

FitOptions quick() {
  FitOptions options;
  options.bootstrap = 40;
  options.approaches = {"isoflop", "parametric"};
  return options;
}

/// Sizes over a factor of 256 whose middle drifts off the optimum.
RunTable off_centre() {
  const ParametricFit::Surface surface{1.7, 20000, 95, 0.51, 0.19};
  RunTable table;
  table.budgets_planned = true;
  for (int i = 0; i < 5; ++i) {
    const double C = 1e18 * std::pow(10, 0.75 * i), centre = true_optimum(surface, C) * std::pow(3, -i / 4.0);
    for (int j = -6; j <= 6; ++j) {
      const double N = centre * std::pow(16, j / 6.0), noise = 1 + 1e-3 * std::sin(5.0 * j + i);
      table.runs.push_back({N, C / (6 * N), C, surface.loss(N, C / (6 * N)) * noise, C,
                            "r" + std::to_string(table.runs.size()), 0});
    }
  }
  return table;
}

TEST(Verdict, BelievesTheSurfaceWhereTheGridBiasesAParabola) {
  FitOptions options = quick();
  options.interpolation = Interpolation::parabola;
  const Fit fit = fit_all(off_centre(), options);
  EXPECT_EQ(fit.verdict.believed, "parametric");
  EXPECT_THAT(fit.verdict.reasons, Contains(HasSubstr("asymmetric")));
  EXPECT_THAT(fit.verdict.reasons, Contains(HasSubstr("off-centre")));
  EXPECT_THAT(fit.verdict.reasons, Contains(HasSubstr("biased on this grid")));
  EXPECT_EQ(fit.verdict.approaches_agree, false);
  EXPECT_THAT(fit.answer, HasSubstr("by approach 3"));
  EXPECT_THAT(fit.answer, HasSubstr("DISAGREE"));
}

TEST(Verdict, BelievesTheBudgetsWhereTheSurfaceBends) {
  SweepDesign design;
  design.budgets = {1e11, 1e12, 1e13, 1e14, 1e15, 1e16};
  design.sizes = 7;
  RunTable table = simulated_sweep(design, 2);
  for (Observation& run : table.runs) run.loss *= 1 + 0.02 * std::sin(2 * std::log10(run.C));
  const Fit fit = fit_all(table, quick());
  EXPECT_THAT(fit.verdict.reasons, Contains(HasSubstr("residuals change with compute")));
  EXPECT_EQ(fit.verdict.believed, "isoflop");
}

TEST(Verdict, SaysWhenBudgetsAreFewOrNothingIsLeft) {
  SweepDesign design;
  design.budgets = {1e11, 1e12};
  design.noise = 0.002;
  const Fit few = fit_all(simulated_sweep(design, 1), quick());
  EXPECT_THAT(few.verdict.reasons, Contains(HasSubstr("few budgets: approach 2 rests on 2 minima")));
  RunTable none = simulated_sweep(design, 1);
  none.runs.resize(3);
  none.curves.clear();
  EXPECT_EQ(fit_all(none, quick()).verdict.believed, "");
}

TEST(HeldOut, TheSmallerBudgetsPredictTheLargest) {
  SweepDesign design;
  design.noise = 0.002;
  const RunTable table = simulated_sweep(design, 3);
  const Fit fit = fit_all(table, quick());
  ASSERT_TRUE(fit.held_out && fit.held_out->loss_error && fit.held_out->params_found);
  EXPECT_EQ(fit.held_out->C, 3.1623e12);
  EXPECT_EQ(fit.held_out->runs, 6);
  EXPECT_LT(std::fabs(*fit.held_out->loss_error), 0.01);
  EXPECT_LT(*fit.held_out->loss_error_rms, 0.01);
  EXPECT_NEAR(*fit.held_out->params_predicted / *fit.held_out->params_found, 1, 0.3);
  // A law that bends is seen there.
  RunTable bent = table;
  for (Observation& run : bent.runs) {
    if (run.budget == 3.1623e12) run.loss *= 1.05;
  }
  EXPECT_NEAR(*fit_all(bent, quick()).held_out->loss_error, *fit.held_out->loss_error - 0.048, 0.005);
}

TEST(FlopAccounting, ExponentsFollowTheCount) {
  // FLOPs per token 6·N^0.9·c: the optimum in those FLOPs grows faster in N than under 6·N·D.
  SweepDesign design;
  design.surface = {1.3, 60, 400, 0.34, 0.34};
  RunTable table = simulated_sweep(design, 1);
  for (Observation& run : table.runs) {
    run.C = 6 * std::pow(run.N, 0.9) * run.D;
    run.N_non_embedding = run.N * run.N / 1e6;
  }
  const Fit fit = fit_all(table, quick());
  ASSERT_GE(fit.accountings.size(), 3u);
  EXPECT_EQ(fit.accountings[1].name, "6ND");
  EXPECT_NEAR(fit.accountings[1].a, 0.5, 1e-4);
  EXPECT_NEAR(fit.accountings[0].a, 0.34 / (0.34 + 0.34 * 0.9), 0.01);
  // ln N' = 2 ln N: alpha halves, and N' grows as C^(beta/(alpha/2 + beta)).
  EXPECT_EQ(fit.accountings[2].name, "6ND without embeddings");
  EXPECT_NEAR(fit.accountings[2].a, 0.34 / (0.17 + 0.34), 1e-3);
}

TEST(Compare, TellsADifferenceFromNone) {
  SweepDesign design;
  design.noise = 0.002;
  design.sizes = 8;
  FitOptions first = quick(), second = quick();
  second.seed = 2;
  const Fit one = fit_all(simulated_sweep(design, 1), first);
  const Fit same = fit_all(simulated_sweep(design, 2), second);
  design.surface.alpha = 0.5;
  design.surface.A = 600;
  const Fit other = fit_all(simulated_sweep(design, 3), second);
  const auto a_of_surfaces = [](const std::vector<Difference>& differences) {
    for (const Difference& difference : differences) {
      if (difference.approach == "parametric" && difference.constant == "a") return difference;
    }
    throw std::out_of_range("a");
  };
  const Difference none = a_of_surfaces(compare_fits(one, same)),
                   some = a_of_surfaces(compare_fits(one, other));
  EXPECT_EQ(none.differs(), false);
  EXPECT_EQ(some.differs(), true);
  EXPECT_DOUBLE_EQ(some.change.value, some.second.value - some.first.value);
  EXPECT_NEAR(some.change.value, 0.34 / 0.84 - 0.5, 0.04);
}

}  // namespace
}  // namespace minichilla::verdict_test
