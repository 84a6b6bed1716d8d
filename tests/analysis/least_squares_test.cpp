#include "sweeps/analysis/least_squares.h"

#include <gtest/gtest.h>

#include <cmath>

namespace minichilla::least_squares_test {
namespace {

/// y = p0·exp(−p1·x) at x = 0 … 19.
LeastSquaresProblem decay(const std::vector<double>& y) {
  LeastSquaresProblem problem;
  problem.residuals = y.size();
  problem.evaluate = [y](std::span<const double> p, std::span<double> residuals) {
    for (std::size_t i = 0; i < y.size(); ++i)
      residuals[i] = p[0] * std::exp(-p[1] * static_cast<double>(i) / 10) - y[i];
  };
  return problem;
}

std::vector<double> clean() {
  std::vector<double> y;
  for (int i = 0; i < 20; ++i) y.push_back(3 * std::exp(-0.7 * i / 10));
  return y;
}

TEST(LeastSquares, FindsTheTruthFromAfar) {
  const LeastSquaresSolution found = minimise_residuals(decay(clean()), {{0.1, 3}, {10, 0}});
  EXPECT_NEAR(found.parameters[0], 3, 1e-8);
  EXPECT_NEAR(found.parameters[1], 0.7, 1e-8);
  EXPECT_LT(found.objective, 1e-16);
}

TEST(LeastSquares, HuberLossesResistOutliersAndWeightsLeaveThemOut) {
  std::vector<double> y = clean();
  y[3] += 2;
  LeastSquaresProblem problem = decay(y);
  const double plain = minimise_residuals(problem, {{1, 1}}).parameters[1];
  problem.delta = 1e-4;
  const double robust = minimise_residuals(problem, {{1, 1}}).parameters[1];
  EXPECT_GT(std::fabs(plain - 0.7), 0.05);
  EXPECT_NEAR(robust, 0.7, 1e-3);
  problem.delta = std::numeric_limits<double>::infinity();
  problem.weight.assign(20, 1);
  problem.weight[3] = 0;
  EXPECT_NEAR(minimise_residuals(problem, {{1, 1}}).parameters[1], 0.7, 1e-8);
}

TEST(LeastSquares, HeldParametersStay) {
  const LeastSquaresSolution found = minimise_residuals(decay(clean()), {{1, 0.5}}, {false, true});
  EXPECT_EQ(found.parameters[1], 0.5);
  EXPECT_GT(found.objective, 1e-3);
}

}  // namespace
}  // namespace minichilla::least_squares_test
