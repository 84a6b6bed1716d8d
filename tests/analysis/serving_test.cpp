#include "sweeps/analysis/serving.h"

#include <gmock/gmock.h>

#include <cmath>

#include "sweeps/analysis/predict.h"
#include "sweeps/analysis/published_laws.h"

namespace minichilla::serving_test {
namespace {

TEST(Serving, AdjustsTheOptimumForInferenceAsDerivedElsewhere) {
  struct Expected {
    double N, inference, optimum_N, optimum_D, flops_ratio;
  };
  const Fit fit = fit_of_law(parse_law("hoffmann"));
  for (const Expected& e : {Expected{7e9, 1e11, 6339185936.910628, 518047892394.1428, 0.9966565272652096},
                            Expected{13e9, 2e12, 8022778254.677622, 1748902878904.0686, 0.8988993971041677},
                            Expected{70e9, 1e13, 47901046701.81471, 11772509471596.94, 0.9402947925382883}}) {
    const Optimum optimum = predict_for_params(fit, e.N).at(0);
    const auto served =
        inference_adjusted(fit.parametric.surface(), fit.flops_trend, e.N, optimum.D.value, e.inference);
    ASSERT_TRUE(served);
    EXPECT_NEAR(served->N / e.optimum_N, 1, 1e-6);
    EXPECT_NEAR(served->D / e.optimum_D, 1, 1e-6);
    EXPECT_NEAR(served->total / served->total_of_optimum / e.flops_ratio, 1, 1e-9);
    EXPECT_NEAR(fit.parametric.surface().loss(served->N, served->D), served->loss, 1e-9);
  }
}

TEST(Serving, MatchesTheFiguresOfSardanaEtAl) {
  const Fit fit = fit_of_law(parse_law("E=1.69,A=406.4,B=410.7,alpha=0.336,beta=0.283"));
  struct Published {
    double N, inference, optimum_N, tokens_ratio, flops_ratio;
  };
  for (const Published& p :
       {Published{13e9, 2e12, 6.969e9, 2.165, 0.8255}, Published{70e9, 2e12, 57.92e9, 1.223, 0.9869}}) {
    const double D = predict_for_params(fit, p.N).at(0).D.value;
    const auto served = inference_adjusted(fit.parametric.surface(), fit.flops_trend, p.N, D, p.inference);
    ASSERT_TRUE(served);
    EXPECT_NEAR(served->N / p.optimum_N, 1, 0.002);
    EXPECT_NEAR(served->D / D / p.tokens_ratio, 1, 0.002);
    EXPECT_NEAR(served->total / served->total_of_optimum / p.flops_ratio, 1, 0.002);
  }
}

TEST(Serving, NoInferenceLeavesTheOptimum) {
  const Fit fit = fit_of_law(parse_law("besiroglu"));
  const Optimum optimum = predict(fit, 1e21).at(0);
  const auto served =
      inference_adjusted(fit.parametric.surface(), fit.flops_trend, optimum.N.value, optimum.D.value, 1);
  ASSERT_TRUE(served);
  EXPECT_NEAR(served->N / optimum.N.value, 1, 1e-6);
  EXPECT_NEAR(served->total / served->total_of_optimum, 1, 1e-9);
}

TEST(Serving, CountsHoursEnergyAndMoney) {
  Hardware hardware;
  EXPECT_FALSE(training_cost(hardware, 1e21));
  hardware.peak = 1e15;
  hardware.mfu = 0.5;
  const auto hours = training_cost(hardware, 1.8e21);
  ASSERT_TRUE(hours);
  EXPECT_DOUBLE_EQ(hours->hours, 1000);
  EXPECT_FALSE(hours->energy || hours->price);
  hardware.watts = 700;
  hardware.price_hour = 2;
  hardware.price_kwh = 0.1;
  const auto all = training_cost(hardware, 1.8e21);
  EXPECT_DOUBLE_EQ(all->energy.value(), 700);
  EXPECT_DOUBLE_EQ(all->price.value(), 2070);
}

}  // namespace
}  // namespace minichilla::serving_test
