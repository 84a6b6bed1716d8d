// Akima's spline (1970): a piecewise cubic through all points whose slope at each point looks at two
// neighbours on either side only, so that one odd point does not make waves.
#pragma once

#include <span>
#include <vector>

namespace minichilla {

class AkimaSpline {
 public:
  /// `x` ascending, at least three points.
  AkimaSpline(std::span<const double> x, std::span<const double> y);

  double at(double x) const;
  /// Where the spline is lowest on [x.front(), x.back()].
  double minimum() const;

 private:
  double value(std::size_t interval, double offset) const;
  std::vector<double> x_, y_, slope_;
};

}  // namespace minichilla
