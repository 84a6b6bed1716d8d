// The least-squares problem behind variable_projection.h: exponents outside, non-negative E, A and B inside.
#pragma once

#include <array>
#include <vector>

#include "sweeps/analysis/linear_algebra.h"
#include "sweeps/analysis/surface_fit.h"

namespace minichilla {

/// Values at one pair of exponents.
struct Projection {
  double alpha = 0, beta = 0;
  std::array<double, 3> terms{};  ///< E, and A and B at the centre of the data
  std::vector<double> residuals;  ///< L − L̂
  double squares = 0;             ///< Σ weight·residual²
};

class ProjectedSurface {
 public:
  /// `weight` of each run; infinite losses are not expected.
  ProjectedSurface(const SurfaceData& data, std::vector<double> weight, SurfaceConstraint constraint);

  Projection at(double alpha, double beta) const;
  /// The best of a grid of `count`² pairs of exponents, each followed to its minimum when it is among the
  /// best `followed`.
  Projection search(int count, std::size_t followed) const;
  /// Gauss-Newton steps with Marquardt's damping, from exponents to the local minimum or for `steps` steps.
  Projection minimise(double alpha, double beta, int steps = 200) const;

  /// The exponents ran to their bounds, or A or B to zero.
  bool is_undetermined(const Projection& projection) const;
  ParametricFit::Surface surface(const Projection& projection) const;
  /// Of JᵀJ with the columns of ln E, ln A, ln B, alpha, beta, or of the two exponents after projection.
  double condition_of_all(const Projection& projection) const;
  double condition_of_exponents(const Projection& projection) const;

 private:
  using Slopes = std::vector<std::array<double, 2>>;
  /// What E, A and B are multiplied by at run i.
  std::array<double, 3> row(std::size_t i, double alpha, double beta) const;
  Slopes jacobian(const Projection& projection) const;
  std::pair<double, double> admitted(double alpha, double beta) const;

  std::vector<double> x_, y_, loss_, weight_;
  double mean_x_, mean_y_;
  SurfaceConstraint constraint_;
};

}  // namespace minichilla
