#include "sweeps/analysis/parametric.h"

#include <gmock/gmock.h>

#include "sweeps/analysis/surface_fit.h"
#include "tests/analysis/simulated_sweep.h"

namespace minichilla::parametric_test {
namespace {

using testing::HasSubstr;

TEST(Parametric, RecoversExactSurfaces) {
  for (const ParametricFit::Surface& truth : {ParametricFit::Surface{1.3, 60, 400, 0.34, 0.34},
                                              ParametricFit::Surface{1.69, 406.4, 410.7, 0.34, 0.28},
                                              ParametricFit::Surface{1.7, 20000, 95, 0.51, 0.19},
                                              ParametricFit::Surface{0.5, 20, 3000, 0.2, 0.6}}) {
    SweepDesign design;
    design.surface = truth;
    design.sizes = 9;
    const ParametricFit fit = fit_parametric(simulated_sweep(design, 1), without_bootstrap());
    EXPECT_EQ(fit.refused, "");
    EXPECT_NEAR(fit.E.value / truth.E, 1, 1e-6);
    EXPECT_NEAR(fit.A.value / truth.A, 1, 1e-6);
    EXPECT_NEAR(fit.B.value / truth.B, 1, 1e-6);
    EXPECT_NEAR(fit.alpha.value / truth.alpha, 1, 1e-6);
    EXPECT_NEAR(fit.beta.value / truth.beta, 1, 1e-6);
    EXPECT_NEAR(fit.a.value, true_a(truth), 1e-6);
    EXPECT_NEAR(fit.a.value + fit.b.value, 1, 1e-12);
    EXPECT_NEAR(fit.G.value * std::pow(1e15 / 6, fit.a.value) / true_optimum(truth, 1e15), 1, 1e-6);
    EXPECT_LT(fit.objective, 1e-15);
    EXPECT_FALSE(fit.a.interval);
  }
}

TEST(Parametric, OutliersBarelyMoveIt) {
  SweepDesign design;
  design.sizes = 9;
  RunTable table = simulated_sweep(design, 1);
  for (std::size_t i = 0; i < table.runs.size(); i += 12) table.runs[i].loss *= 1.3;
  const ParametricFit fit = fit_parametric(table, without_bootstrap());
  EXPECT_NEAR(fit.alpha.value, 0.34, 1e-3);
  EXPECT_NEAR(fit.a.value, 0.5, 1e-3);
}

TEST(Parametric, NoOtherStartFindsALowerObjective) {
  SweepDesign design;
  design.noise = 0.01;
  const RunTable table = simulated_sweep(design, 8);
  const ParametricFit fit = fit_parametric(table, without_bootstrap());
  const SurfaceData data = surface_data(table.runs);
  double best = std::numeric_limits<double>::infinity();
  for (const double alpha : {0.05, 0.3, 1.0, 2.0}) {
    for (const double beta : {0.05, 0.3, 1.0, 2.0}) {
      for (const double ln_E : {-1.0, 0.0, 1.0}) {
        for (const double ln_A : {-2.0, 0.0, 2.0}) {
          for (const double ln_B : {-2.0, 0.0, 2.0}) {
            best = std::min(best, minimise_surface(data, 1e-3, {ln_E, ln_A, ln_B, alpha, beta}).objective);
          }
        }
      }
    }
  }
  EXPECT_LE(fit.objective, best * (1 + 1e-9));
}

TEST(Parametric, TheSolutionIsAMinimum) {
  SweepDesign design;
  design.noise = 0.005;
  const RunTable table = simulated_sweep(design, 2);
  const SurfaceData data = surface_data(table.runs);
  const auto starts = surface_starts(data, 1e-3, 14, 1);
  ASSERT_EQ(starts.size(), 1u);
  const SurfaceSolution solution = minimise_surface(data, 1e-3, starts[0]);
  for (std::size_t i = 0; i < 5; ++i) {
    for (const double step : {-1e-4, 1e-4}) {
      // Descending again from a disturbed point comes back to the same value, never below it.
      SurfaceParameters other = solution.parameters;
      other[i] += step;
      EXPECT_NEAR(minimise_surface(data, 1e-3, other).objective / solution.objective, 1, 1e-9);
    }
  }
}

TEST(Parametric, RefusesTooLittle) {
  RunTable table = simulated_sweep(SweepDesign{}, 1);
  RunTable few = table;
  few.runs.resize(3);
  EXPECT_THAT(fit_parametric(few, {}).refused,
              HasSubstr("3 runs, a surface of five parameters needs at least 8"));
  EXPECT_THAT(fit_parametric(RunTable{}, {}).refused, HasSubstr("0 runs"));

  RunTable one_budget = table;
  std::erase_if(one_budget.runs, [](const Observation& run) { return run.budget > 1e11; });
  for (const Observation& run : table.runs) {
    if (run.budget == 1e11) one_budget.runs.push_back(run);
  }
  EXPECT_THAT(fit_parametric(one_budget, {}).refused, HasSubstr("nearly the same FLOPs"));

  RunTable one_size = table, one_length = table;
  for (Observation& run : one_size.runs) run.N = 1e4;
  for (Observation& run : one_length.runs) run.D = 1e6;
  EXPECT_THAT(fit_parametric(one_size, {}).refused, HasSubstr("1 model size,"));
  EXPECT_THAT(fit_parametric(one_length, {}).refused, HasSubstr("1 token count,"));
}

TEST(Parametric, RefusesLossesThatAreNoSurface) {
  RunTable rising = simulated_sweep(SweepDesign{}, 1), flat = rising;
  for (Observation& run : rising.runs) run.loss = 1e-3 * std::log(run.N) * std::log(run.D);
  for (Observation& run : flat.runs) run.loss = 3;
  EXPECT_NE(fit_parametric(rising, without_bootstrap()).refused, "");
  EXPECT_NE(fit_parametric(flat, without_bootstrap()).refused, "");
}

TEST(Parametric, SaysWhenTheIrreducibleLossIsNotDetermined) {
  SweepDesign design;
  design.surface = {1e-9, 60, 400, 0.1, 0.1};
  design.noise = 0.01;
  const ParametricFit fit = fit_parametric(simulated_sweep(design, 4), {});
  ASSERT_EQ(fit.refused, "");
  EXPECT_THAT(fit.notes,
              testing::Contains(testing::AnyOf(HasSubstr("E ran to zero"), HasSubstr("interval of E"))));
  ASSERT_TRUE(fit.E.interval);
  EXPECT_LT(fit.E.interval->low95, 0.03);
}

TEST(Parametric, KeepsResamplesForPredictions) {
  SweepDesign design;
  design.noise = 0.005;
  FitOptions options;
  options.bootstrap = 50;
  const ParametricFit fit = fit_parametric(simulated_sweep(design, 2), options);
  EXPECT_EQ(fit.resamples.size(), 50u);
  ASSERT_TRUE(fit.alpha.interval);
  EXPECT_LT(fit.alpha.interval->low95, fit.alpha.value);
  EXPECT_GT(fit.alpha.interval->high95, fit.alpha.value);
}

TEST(Parametric, TiedExponentsFixedEAndSquares) {
  SweepDesign design;
  design.noise = 0.003;
  const RunTable table = simulated_sweep(design, 3);
  FitOptions options = without_bootstrap();
  const double free_objective = fit_parametric(table, options).objective;
  options.tied_exponents = true;
  const ParametricFit tied = fit_parametric(table, options);
  EXPECT_EQ(tied.alpha.value, tied.beta.value);
  EXPECT_GE(tied.objective, free_objective);
  options.fixed_E = 1.2;
  const ParametricFit fixed = fit_parametric(table, options);
  EXPECT_NEAR(fixed.E.value, 1.2, 1e-12);
  EXPECT_GE(fixed.objective, tied.objective);
  options.fixed_E = 0;
  EXPECT_EQ(fit_parametric(table, options).E.value, 0);
  FitOptions squares = without_bootstrap();
  squares.mean_squares = true;
  const ParametricFit mean_squares = fit_parametric(table, squares);
  double sum = 0;
  for (const Observation& run : table.runs) {
    const double residual = std::log(mean_squares.surface().loss(run.N, run.D) / run.loss);
    sum += residual * residual / 2;
  }
  EXPECT_NEAR(mean_squares.objective / sum, 1, 1e-9);
}

TEST(Parametric, ProfileIntervalsHoldTheTruthWhereTheBootstrapDoes) {
  SweepDesign design;
  design.noise = 0.004;
  design.sizes = 9;
  FitOptions options;
  options.bootstrap = 100;
  const ParametricFit fit = fit_parametric(simulated_sweep(design, 8), options);
  for (const auto& [name, truth] : {std::pair{"E", 1.3}, {"alpha", 0.34}, {"beta", 0.34}, {"a", 0.5}}) {
    const Interval80And95& profile = fit.profile.at(name);
    EXPECT_LT(profile.low95, truth) << name;
    EXPECT_GT(profile.high95, truth) << name;
  }
  EXPECT_LT(fit.profile.at("a").high95 - fit.profile.at("a").low95, 0.2);
}

}  // namespace
}  // namespace minichilla::parametric_test
