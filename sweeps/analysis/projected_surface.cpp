#include "sweeps/analysis/projected_surface.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace minichilla {
namespace {

constexpr double kProjectionStep = 0.5;  ///< in an exponent
constexpr double kSmallestStep = 1e-10;  ///< of the exponents: what is left is rounding

Eigen::VectorXd as_vector(const std::vector<double>& values) {
  return Eigen::VectorXd::Map(values.data(), std::ssize(values));
}

/// Minimises c'Gc − 2h'c over c ≥ 0 with c[0] held at `fixed` where given: of all sets of terms that may be
/// zero, the feasible solution with the lowest value.
Eigen::Vector3d non_negative(const Eigen::Matrix3d& gram, const Eigen::Vector3d& right,
                             const std::optional<double>& fixed) {
  Eigen::Vector3d best = Eigen::Vector3d::Zero();
  if (fixed) best[0] = *fixed;
  double lowest = std::numeric_limits<double>::infinity();
  for (int set = fixed ? 6 : 7; set >= 0; set -= fixed ? 2 : 1) {
    std::array<int, 3> members{};
    int count = 0;
    for (int i = 0; i < 3; ++i) {
      if (set & (1 << i)) members[static_cast<std::size_t>(count++)] = i;
    }
    Eigen::Vector3d candidate = Eigen::Vector3d::Zero();
    if (fixed) candidate[0] = *fixed;
    if (count > 0) {
      Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, 0, 3, 3> part(count, count);
      Eigen::Matrix<double, Eigen::Dynamic, 1, 0, 3, 1> side(count);
      for (int i = 0; i < count; ++i) {
        const int row = members[static_cast<std::size_t>(i)];
        side[i] = right[row] - gram.row(row) * candidate;
        for (int j = 0; j < count; ++j) part(i, j) = gram(row, members[static_cast<std::size_t>(j)]);
      }
      const auto solution = part.ldlt().solve(side).eval();
      for (int i = 0; i < count; ++i) candidate[members[static_cast<std::size_t>(i)]] = solution[i];
    }
    if (!candidate.allFinite() || candidate.minCoeff() < 0) continue;
    const double value = candidate.dot(gram * candidate) - 2 * right.dot(candidate);
    if (value < lowest) {
      lowest = value;
      best = candidate;
    }
    if (set == (fixed ? 6 : 7)) break;  // no term wants to be negative: this is the minimum
  }
  return best;
}

double condition_of(const Eigen::MatrixXd& jacobian) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(jacobian.transpose() * jacobian,
                                                              Eigen::EigenvaluesOnly);
  const auto& values = solver.eigenvalues();
  return values[0] > 0 ? values[values.size() - 1] / values[0] : std::numeric_limits<double>::infinity();
}

}  // namespace

ProjectedSurface::ProjectedSurface(const SurfaceData& data, std::vector<double> weight,
                                   SurfaceConstraint constraint)
    : x_(as_vector(data.x)),
      y_(as_vector(data.y)),
      loss_(as_vector(data.z).array().exp()),
      weight_(as_vector(weight)),
      mean_x_(data.mean_x),
      mean_y_(data.mean_y),
      constraint_(constraint) {}

ProjectedSurface::Columns ProjectedSurface::columns(double alpha, double beta) const {
  Columns columns(x_.size(), 3);
  columns.col(0).setOnes();
  columns.col(1) = (-alpha * x_).array().exp();
  columns.col(2) = (-beta * y_).array().exp();
  return columns;
}

Projection ProjectedSurface::at(double alpha, double beta) const {
  const Columns phi = columns(alpha, beta);
  const Columns weighted = weight_.asDiagonal() * phi;
  Projection result;
  result.alpha = alpha;
  result.beta = beta;
  result.terms = non_negative(phi.transpose() * weighted, weighted.transpose() * loss_, constraint_.E);
  const Eigen::VectorXd residuals = loss_ - phi * result.terms;
  result.residuals.assign(residuals.begin(), residuals.end());
  result.squares = residuals.dot(weight_.asDiagonal() * residuals);
  return result;
}

/// ∂L̂/∂(alpha, beta) with what E, A and B can make up for taken out (Kaufman's form of the Jacobian).
Eigen::Matrix<double, Eigen::Dynamic, 2> ProjectedSurface::jacobian(const Projection& p) const {
  const Columns phi = columns(p.alpha, p.beta);
  Eigen::Matrix<double, Eigen::Dynamic, 2> slopes(x_.size(), 2);
  slopes.col(0) = -p.terms[1] * x_.cwiseProduct(phi.col(1));
  slopes.col(1) = -p.terms[2] * y_.cwiseProduct(phi.col(2));
  std::vector<Eigen::Index> active;
  for (Eigen::Index i = constraint_.E ? 1 : 0; i < 3; ++i) {
    if (p.terms[i] > 0) active.push_back(i);
  }
  const Eigen::MatrixXd basis = phi(Eigen::all, active);
  const Eigen::MatrixXd weighted = weight_.asDiagonal() * basis;
  const Eigen::MatrixXd gram = weighted.transpose() * basis;
  return slopes - basis * gram.ldlt().solve(weighted.transpose() * slopes);
}

std::pair<double, double> ProjectedSurface::admitted(double alpha, double beta) const {
  alpha = std::clamp(constraint_.alpha.value_or(alpha), kSmallestExponent, kLargestExponent);
  beta = std::clamp(constraint_.beta.value_or(beta), kSmallestExponent, kLargestExponent);
  if (constraint_.ratio) beta = *constraint_.ratio * alpha;
  return {alpha, beta};
}

Projection ProjectedSurface::minimise(double alpha, double beta, int steps) const {
  std::tie(alpha, beta) = admitted(alpha, beta);
  Projection best = at(alpha, beta);
  // The columns along which the constraint lets the exponents move.
  Eigen::Matrix2d directions = Eigen::Matrix2d::Identity();
  if (constraint_.alpha) directions.col(0).setZero();
  if (constraint_.beta || constraint_.ratio) directions.col(1).setZero();
  if (constraint_.ratio && !constraint_.alpha) directions(1, 0) = *constraint_.ratio;
  double damping = 1e-3;
  for (int iteration = 0; iteration < steps && damping < 1e10; ++iteration) {
    const Eigen::Matrix<double, Eigen::Dynamic, 2> slopes = jacobian(best) * directions;
    const Eigen::Matrix<double, Eigen::Dynamic, 2> weighted = weight_.asDiagonal() * slopes;
    const Eigen::Vector2d gradient = weighted.transpose() * as_vector(best.residuals);
    const Eigen::Matrix2d normal = weighted.transpose() * slopes;
    if (!(normal.trace() > 0)) break;
    bool better = false;
    while (!better && damping < 1e10) {
      Eigen::Matrix2d matrix = normal;
      matrix.diagonal() += damping * normal.diagonal();
      matrix.diagonal().array() += 1e-14 * normal.trace();
      Eigen::Vector2d step = directions * matrix.ldlt().solve(gradient);
      const double largest = step.cwiseAbs().maxCoeff();
      if (largest > kProjectionStep) step *= kProjectionStep / largest;
      const auto [trial_alpha, trial_beta] = admitted(best.alpha + step[0], best.beta + step[1]);
      Projection trial = at(trial_alpha, trial_beta);
      better = trial.squares < best.squares;
      if (better) best = std::move(trial);
      damping = better ? std::max(damping / 8, 1e-12) : damping * 8;
      if (step.cwiseAbs().maxCoeff() < kSmallestStep) return best;
    }
  }
  return best;
}

Projection ProjectedSurface::search(int count, std::size_t followed) const {
  const std::vector<double> grid = exponent_grid(count);
  std::vector<std::pair<double, std::pair<double, double>>> starts;
  for (const double alpha : grid) {
    for (const double beta : grid) {
      if (constraint_.ratio && alpha != beta) continue;
      starts.push_back({at(alpha, beta).squares, {alpha, beta}});
    }
  }
  std::stable_sort(starts.begin(), starts.end(),
                   [](const auto& l, const auto& r) { return l.first < r.first; });
  Projection best;
  best.squares = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < std::min(followed, starts.size()); ++i) {
    Projection found = minimise(starts[i].second.first, starts[i].second.second);
    if (found.squares < best.squares) best = std::move(found);
  }
  return best;
}

bool ProjectedSurface::is_undetermined(const Projection& p) const {
  const auto at_bound = [](double exponent) {
    return exponent <= kSmallestExponent || exponent >= kLargestExponent;
  };
  return at_bound(p.alpha) || at_bound(p.beta) || !(p.terms[1] > 0) || !(p.terms[2] > 0);
}

ParametricFit::Surface ProjectedSurface::surface(const Projection& p) const {
  return {p.terms[0], p.terms[1] * std::exp(p.alpha * mean_x_), p.terms[2] * std::exp(p.beta * mean_y_),
          p.alpha, p.beta};
}

double ProjectedSurface::condition_of_all(const Projection& p) const {
  const Columns phi = columns(p.alpha, p.beta);
  Eigen::MatrixXd jacobian(x_.size(), 5);
  for (int i = 0; i < 3; ++i) jacobian.col(i) = p.terms[i] * phi.col(i);
  // The logarithms of N and D as they are, not centred: that is how the five parameters are published.
  jacobian.col(3) = -(x_.array() + mean_x_) * jacobian.col(1).array();
  jacobian.col(4) = -(y_.array() + mean_y_) * jacobian.col(2).array();
  return condition_of(weight_.cwiseSqrt().asDiagonal() * jacobian);
}

double ProjectedSurface::condition_of_exponents(const Projection& p) const {
  return condition_of(weight_.cwiseSqrt().asDiagonal() * jacobian(p));
}

}  // namespace minichilla
