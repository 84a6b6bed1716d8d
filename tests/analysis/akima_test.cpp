#include "sweeps/analysis/akima.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace minichilla::akima_test {
namespace {

TEST(Akima, PassesThroughItsPointsAndKeepsStraightLinesStraight) {
  const std::vector<double> x = {0, 1, 2.5, 3, 5, 6}, y = {1, 3, 6, 7, 11, 13};
  const AkimaSpline line(x, y);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(line.at(x[i]), y[i], 1e-12);
  for (const double at : {0.3, 2.0, 4.9, 5.5}) EXPECT_NEAR(line.at(at), 1 + 2 * at, 1e-12);
}

TEST(Akima, WeighsTheSlopesOnBothSidesByHowStraightTheOtherSideIs) {
  const std::vector<double> x = {0, 1, 2, 3, 4, 5, 6}, y = {4, 1.2, 0.1, 0.4, 2.2, 2.3, 5};
  const AkimaSpline spline(x, y);
  // The slope at x = 2 weighs −1.1 by |1.8 − 0.3| and 0.3 by |−1.1 + 2.8|.
  const double slope = (1.5 * -1.1 + 1.7 * 0.3) / 3.2;
  const double h = 1e-6;
  EXPECT_NEAR((spline.at(2 + h) - spline.at(2 - h)) / (2 * h), slope, 1e-5);
}

TEST(Akima, FindsItsLowestPoint) {
  const std::vector<double> x = {0, 1, 2, 3, 4}, y = {4.1, 1.05, 0.02, 0.9, 4};
  const AkimaSpline spline(x, y);
  const double best = spline.minimum();
  for (double at = 0; at <= 4; at += 0.001) EXPECT_GE(spline.at(at), spline.at(best) - 1e-9);
  EXPECT_NEAR(best, 2, 0.2);
  const std::vector<double> rising = {1, 2, 3, 4, 5};
  EXPECT_EQ(AkimaSpline(x, rising).minimum(), 0);
}

}  // namespace
}  // namespace minichilla::akima_test
