#include "sweeps/analysis/akima.h"

#include <algorithm>
#include <cmath>

namespace minichilla {
namespace {

/// Slopes of the intervals, with two more on either side that continue their trend linearly.
std::vector<double> extended_slopes(std::span<const double> x, std::span<const double> y) {
  std::vector<double> slopes(2, 0.0);
  for (std::size_t i = 0; i + 1 < x.size(); ++i) slopes.push_back((y[i + 1] - y[i]) / (x[i + 1] - x[i]));
  slopes[1] = 2 * slopes[2] - slopes[3];
  slopes[0] = 2 * slopes[1] - slopes[2];
  for (int i = 0; i < 2; ++i) slopes.push_back(2 * slopes[slopes.size() - 1] - slopes[slopes.size() - 2]);
  return slopes;
}

}  // namespace

AkimaSpline::AkimaSpline(std::span<const double> x, std::span<const double> y)
    : x_(x.begin(), x.end()), y_(y.begin(), y.end()) {
  const std::vector<double> m = extended_slopes(x, y);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double left = std::fabs(m[i + 1] - m[i]), right = std::fabs(m[i + 3] - m[i + 2]);
    const double scale = std::fabs(m[i + 1]) + std::fabs(m[i + 2]);
    // On a straight line both weights vanish, up to rounding.
    slope_.push_back(left + right > 1e-12 * scale ? (right * m[i + 1] + left * m[i + 2]) / (left + right)
                                                  : (m[i + 1] + m[i + 2]) / 2);
  }
}

double AkimaSpline::value(std::size_t i, double offset) const {
  const double width = x_[i + 1] - x_[i], slope = (y_[i + 1] - y_[i]) / width;
  const double second = (3 * slope - 2 * slope_[i] - slope_[i + 1]) / width;
  const double third = (slope_[i] + slope_[i + 1] - 2 * slope) / (width * width);
  return y_[i] + offset * (slope_[i] + offset * (second + offset * third));
}

double AkimaSpline::at(double x) const {
  const auto after = std::upper_bound(x_.begin(), x_.end(), x) - x_.begin();
  const auto i = static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(after, 1, std::ssize(x_) - 1)) - 1;
  return value(i, x - x_[i]);
}

double AkimaSpline::minimum() const {
  double best = x_.front(), lowest = y_.front();
  const auto consider = [&](double x, double y) {
    if (y < lowest) {
      lowest = y;
      best = x;
    }
  };
  for (std::size_t i = 0; i + 1 < x_.size(); ++i) {
    consider(x_[i + 1], y_[i + 1]);
    const double width = x_[i + 1] - x_[i], slope = (y_[i + 1] - y_[i]) / width;
    const double second = (3 * slope - 2 * slope_[i] - slope_[i + 1]) / width;
    const double third = (slope_[i] + slope_[i + 1] - 2 * slope) / (width * width);
    const double root = std::sqrt(std::max(0.0, second * second - 3 * third * slope_[i]));
    // The root of the derivative where the second derivative is positive, in the form that does not cancel.
    const double offset = second >= 0 ? -slope_[i] / (second + root) : (root - second) / (3 * third);
    if (offset > 0 && offset < width) consider(x_[i] + offset, value(i, offset));
  }
  return best;
}

}  // namespace minichilla
