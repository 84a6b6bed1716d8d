// Non-linear least squares of a few parameters, robust on demand: Levenberg and Marquardt's method with
// numerical derivatives, for laws that have no solver of their own.
#pragma once

#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace minichilla {

struct LeastSquaresProblem {
  std::size_t residuals = 0;
  /// Fills one residual per observation from the parameters, which should all be of the order of one
  /// (logarithms, exponents).
  std::function<void(std::span<const double> parameters, std::span<double> residuals)> evaluate;
  std::vector<double> weight;                              ///< how often each observation counts; empty: once
  double delta = std::numeric_limits<double>::infinity();  ///< residuals beyond it count linearly
};

struct LeastSquaresSolution {
  std::vector<double> parameters;
  double objective =
      std::numeric_limits<double>::infinity();  ///< Σ weight·Huber(residual), half squares inside delta
};

/// From each of `starts` to a local minimum; the lowest of them. Parameters with `held` true stay.
LeastSquaresSolution minimise_residuals(const LeastSquaresProblem& problem,
                                        const std::vector<std::vector<double>>& starts,
                                        const std::vector<bool>& held = {});

/// The residuals at `parameters`.
std::vector<double> residuals_at(const LeastSquaresProblem& problem, std::span<const double> parameters);

}  // namespace minichilla
