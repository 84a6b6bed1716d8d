#include "sweeps/analysis/predict.h"

#include <gmock/gmock.h>

#include "tests/analysis/simulated_sweep.h"

namespace minichilla::predict_test {
namespace {

using testing::HasSubstr;

constexpr ParametricFit::Surface kHoffmann{1.69, 406.4, 410.7, 0.34, 0.28};
constexpr ParametricFit::Surface kBesiroglu{1.81686, 482.00572, 2085.4342, 0.34781, 0.36585};

TEST(Predict, GivesTheOptimaOfPublishedSurfaces) {
  const SurfaceOptimum gopher = surface_optimum(kHoffmann, FlopsTrend{}, 5.76e23);
  EXPECT_NEAR(gopher.N / 32189859151.368168, 1, 1e-9);
  EXPECT_NEAR(gopher.D / 2982305686662.796, 1, 1e-9);
  EXPECT_NEAR(gopher.loss / 1.9307481017316481, 1, 1e-9);
  const SurfaceOptimum besiroglu = surface_optimum(kBesiroglu, FlopsTrend{}, 5.76e23);
  EXPECT_NEAR(besiroglu.N / 72352738465.78731, 1, 1e-9);
  EXPECT_NEAR(besiroglu.D / 1326832985670.536, 1, 1e-9);
  const SurfaceOptimum small = surface_optimum(kBesiroglu, FlopsTrend{}, 1e18);
  EXPECT_NEAR(small.N / 80618987.2314004, 1, 1e-9);
}

TEST(Predict, SurvivesExtremeBudgets) {
  for (const double C : {1e-50, 1.0, 1e50, 1e200}) {
    const SurfaceOptimum optimum = surface_optimum({2, 1000, 1000, 1.0 / 3, 0.25}, FlopsTrend{}, C);
    EXPECT_TRUE(std::isfinite(optimum.N) && std::isfinite(optimum.D) && std::isfinite(optimum.loss)) << C;
    EXPECT_NEAR(std::log(6 * optimum.N * optimum.D / C), 0, 1e-9);
  }
}

TEST(Predict, TheOptimumIsTheBestOnItsBudgetWhenSmallModelsCostMore) {
  const FlopsTrend trend{std::log(1.6) + 0.08 * std::log(1e4), -0.08, 1.1, 1.8};
  for (const double C : {1e9, 1e12, 1e20}) {
    const SurfaceOptimum best = surface_optimum(kHoffmann, trend, C);
    EXPECT_NEAR(6 * best.N * best.D * trend.ratio(best.N) / C, 1, 1e-9);
    for (const double factor : {0.9, 1.1}) {
      const double N = best.N * factor;
      EXPECT_GT(kHoffmann.loss(N, C / (6 * N * trend.ratio(N))), best.loss);
    }
  }
}

TEST(Predict, TheTrendOfFlopsIsThatOfTheRuns) {
  std::vector<Observation> runs;
  for (const double N : {1e4, 2e4, 4e4, 8e4}) {
    const double ratio = 1.5 * std::pow(N / 1e4, -0.1);
    runs.push_back({N, 1e6, 6 * N * 1e6 * ratio, 3, 0, "", 0});
  }
  const FlopsTrend trend = flops_trend_of(runs);
  EXPECT_NEAR(trend.ratio(2e4), 1.5 * std::pow(2, -0.1), 1e-9);
  EXPECT_NEAR(trend.ratio(1), 1.5, 1e-9);
  EXPECT_NEAR(trend.ratio(1e9), 1.5 * std::pow(8, -0.1), 1e-9);
  const FlopsTrend single = flops_trend_of(std::vector<Observation>{{1e4, 1e6, 9e10, 3, 0, "", 0}});
  EXPECT_NEAR(single.ratio(77), 1.5, 1e-12);
}

class PredictFromFit : public ::testing::Test {
 protected:
  static Fit fit_once() {
    SweepDesign design;
    design.noise = 0.003;
    design.sizes = 8;
    FitOptions options;
    options.bootstrap = 60;
    return fit_all(simulated_sweep(design, 3), options);
  }
  const Fit fit_ = fit_once();
};

TEST_F(PredictFromFit, ApproachesAreComparable) {
  const std::vector<Optimum> optima = predict(fit_, 1e13);
  ASSERT_EQ(optima.size(), 3u);
  EXPECT_EQ(optima[0].approach, "envelope");
  EXPECT_EQ(optima[1].approach, "isoflop");
  EXPECT_EQ(optima[2].approach, "parametric");
  const double truth = true_optimum(SweepDesign{}.surface, 1e13);
  for (const Optimum& optimum : optima) {
    EXPECT_NEAR(std::log(optimum.N.value / truth), 0, 0.35) << optimum.approach;
    EXPECT_NEAR(6 * optimum.N.value * optimum.D.value / 1e13, 1, 0.01) << optimum.approach;
    ASSERT_TRUE(optimum.N.interval);
    EXPECT_LT(optimum.N.interval->low95, optimum.N.value);
    EXPECT_GT(optimum.N.interval->high95, optimum.N.value);
    EXPECT_EQ(optimum.loss.has_value(), optimum.approach == "parametric");
    EXPECT_FALSE(optimum.C_interval);
  }
  EXPECT_NEAR(optima[2].loss->value, SweepDesign{}.surface.loss(truth, 1e13 / 6 / truth), 0.05);
}

TEST_F(PredictFromFit, InverseQuestionsReturnToTheirBudget) {
  for (const Optimum& there : predict(fit_, 2e12)) {
    const auto of_same_approach = [&](const std::vector<Optimum>& optima) {
      return *std::find_if(optima.begin(), optima.end(),
                           [&](const auto& o) { return o.approach == there.approach; });
    };
    const Optimum by_params = of_same_approach(predict_for_params(fit_, there.N.value));
    const Optimum by_tokens = of_same_approach(predict_for_tokens(fit_, there.D.value));
    EXPECT_NEAR(by_params.C / 2e12, 1, 1e-6) << there.approach;
    EXPECT_NEAR(by_params.D.value / there.D.value, 1, 1e-6);
    EXPECT_NEAR(by_tokens.C / 2e12, 1, 1e-6) << there.approach;
    EXPECT_EQ(by_params.N.value, there.N.value);
    EXPECT_FALSE(by_params.N.interval);
    EXPECT_TRUE(by_params.C_interval);
  }
}

TEST_F(PredictFromFit, TheFitPredictsTenTimesItsLargestBudget) {
  ASSERT_EQ(fit_.predictions.size(), 3u);
  for (const Optimum& optimum : fit_.predictions) EXPECT_DOUBLE_EQ(optimum.C, 10 * fit_.largest_C);
  EXPECT_THAT(fit_.answer, HasSubstr("31.6T FLOPs, ten times the largest budget, train"));
  EXPECT_THAT(fit_.answer, HasSubstr("by approach 3"));
}

TEST(Predict, RefusedApproachesDoNotAnswer) {
  RunTable table = simulated_sweep(SweepDesign{}, 1);
  table.curves.clear();
  table.runs.resize(2);
  const Fit fit = fit_all(table, {});
  EXPECT_TRUE(predict(fit, 1e13).empty());
  EXPECT_TRUE(fit.predictions.empty());
  EXPECT_THAT(fit.answer, HasSubstr("No approach"));
  EXPECT_EQ(fit_all(RunTable{}, {}).runs, 0);
}

}  // namespace
}  // namespace minichilla::predict_test
