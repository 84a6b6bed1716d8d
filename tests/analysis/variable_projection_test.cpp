#include "sweeps/analysis/variable_projection.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla::variable_projection_test {
namespace {

using testing::HasSubstr;

ParametricFit project(const RunTable& table, ProjectionForm form,
                      const FitOptions& options = without_bootstrap()) {
  return fit_variable_projection(table, form, options);
}

TEST(VariableProjection, FindsACleanSurfaceExactly) {
  SweepDesign design;
  design.surface = {1.9, 250, 700, 0.41, 0.27};
  for (const ProjectionForm form : {ProjectionForm::plain, ProjectionForm::robust}) {
    const ParametricFit fit = project(simulated_sweep(design, 1), form);
    ASSERT_EQ(fit.refused, "");
    EXPECT_NEAR(fit.E.value, 1.9, 1e-6);
    EXPECT_NEAR(fit.A.value / 250, 1, 1e-6);
    EXPECT_NEAR(fit.B.value / 700, 1, 1e-6);
    EXPECT_NEAR(fit.alpha.value, 0.41, 1e-7);
    EXPECT_NEAR(fit.beta.value, 0.27, 1e-7);
    EXPECT_NEAR(fit.a.value, 0.27 / 0.68, 1e-7);
    EXPECT_GT(fit.condition_number, 100 * fit.condition_number_projected);
  }
}

TEST(VariableProjection, TheRobustFormForgetsRunsThatFailed) {
  SweepDesign design;
  design.noise = 0.003;
  design.sizes = 9;
  RunTable table = simulated_sweep(design, 3);
  const double before = project(table, ProjectionForm::plain).a.value;
  for (const std::size_t failed : {4u, 17u, 30u}) table.runs[failed].loss *= 1.15;
  const double plain = project(table, ProjectionForm::plain).a.value;
  const ParametricFit robust = project(table, ProjectionForm::robust);
  EXPECT_GT(std::fabs(plain - before), 0.02);
  EXPECT_NEAR(robust.a.value, before, 0.006);
  EXPECT_THAT(robust.notes, testing::Contains(AllOf(HasSubstr("3 runs lie"), HasSubstr("run17"))));
}

TEST(VariableProjection, KeepsWhatIsFixed) {
  SweepDesign design;
  design.noise = 0.003;
  const RunTable table = simulated_sweep(design, 4);
  FitOptions options = without_bootstrap();
  options.tied_exponents = true;
  options.fixed_E = 1.25;
  for (const ProjectionForm form : {ProjectionForm::plain, ProjectionForm::robust}) {
    const ParametricFit fit = project(table, form, options);
    EXPECT_EQ(fit.alpha.value, fit.beta.value);
    EXPECT_DOUBLE_EQ(fit.a.value, 0.5);
    EXPECT_DOUBLE_EQ(fit.E.value, 1.25);
  }
}

TEST(VariableProjection, ProfileAndBootstrapTellTheSameUncertainty) {
  SweepDesign design;
  design.noise = 0.004;
  design.sizes = 8;
  FitOptions options;
  options.bootstrap = 200;
  for (const ProjectionForm form : {ProjectionForm::plain, ProjectionForm::robust}) {
    const ParametricFit fit = project(simulated_sweep(design, 5), form, options);
    ASSERT_TRUE(fit.a.interval && fit.alpha.interval);
    for (const auto& [name, estimate] :
         {std::pair{"a", &fit.a}, {"alpha", &fit.alpha}, {"beta", &fit.beta}}) {
      const Interval80And95& profile = fit.profile.at(name);
      EXPECT_LT(profile.low95, profile.low80);
      EXPECT_LT(profile.low80, estimate->value);
      EXPECT_GT(profile.high80, estimate->value);
      const double ratio =
          (profile.high80 - profile.low80) / (estimate->interval->high80 - estimate->interval->low80);
      EXPECT_GT(ratio, 0.6) << name;
      EXPECT_LT(ratio, 1.7) << name;
    }
  }
}

TEST(VariableProjection, ResultsDoNotDependOnThreads) {
  SweepDesign design;
  design.noise = 0.005;
  const RunTable table = simulated_sweep(design, 6);
  FitOptions options;
  options.bootstrap = 12;
  options.threads = 1;
  const ParametricFit one = project(table, ProjectionForm::robust, options);
  options.threads = 3;
  const ParametricFit three = project(table, ProjectionForm::robust, options);
  ASSERT_EQ(one.resamples.size(), three.resamples.size());
  for (std::size_t i = 0; i < one.resamples.size(); ++i)
    EXPECT_EQ(one.resamples[i].alpha, three.resamples[i].alpha);
}

TEST(VariableProjection, RefusesWhatDoesNotDetermineASurface) {
  SweepDesign design;
  design.budgets = {1e12};
  EXPECT_THAT(project(simulated_sweep(design, 1), ProjectionForm::plain).refused, HasSubstr("6 runs"));
  design.sizes = 9;
  EXPECT_THAT(project(simulated_sweep(design, 1), ProjectionForm::plain).refused, HasSubstr("same FLOPs"));
  RunTable rising = simulated_sweep(SweepDesign{}, 1);
  for (Observation& run : rising.runs) run.loss = 2 + 0.01 * std::log(run.N * run.D);
  EXPECT_THAT(project(rising, ProjectionForm::robust).refused, HasSubstr("do not determine"));
}

}  // namespace
}  // namespace minichilla::variable_projection_test
