#include "sweeps/analysis/surface_fit.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

namespace minichilla {
namespace {

using Vector5 = Eigen::Matrix<double, 5, 1>;
using Matrix5 = Eigen::Matrix<double, 5, 5>;

enum Index { kLnE, kLnA, kLnB, kAlpha, kBeta };
constexpr int kMaxIterations = 500;
constexpr double kMaxStep = 2;       ///< in any parameter: they are logarithms and exponents
constexpr double kReachOfLogs = 15;  ///< ln E, ln A and ln B are looked for within this of the losses
constexpr double kZero = 10;         ///< a term is called zero when it is e^−10 of the smallest loss
constexpr double kStartE =
    5;  ///< starts have no smaller E than e^−5 of it: in ln E there is no slope near zero

struct Bounds {
  Vector5 low, high;
};

Bounds bounds_of(const SurfaceData& data) {
  const auto [smallest, largest] = std::minmax_element(data.z.begin(), data.z.end());
  Bounds bounds;
  bounds.low << *smallest - kReachOfLogs, *smallest - kReachOfLogs, *smallest - kReachOfLogs,
      kSmallestExponent, kSmallestExponent;
  bounds.high << *largest + 1, *largest + kReachOfLogs, *largest + kReachOfLogs, kLargestExponent,
      kLargestExponent;
  return bounds;
}

/// The three terms at one run as shares of the predicted loss, and ln L̂ − ln L.
struct Terms {
  double E, A, B, residual;
};

Terms terms_at(const SurfaceData& data, const Vector5& p, std::size_t i) {
  const double e = p[kLnE];
  const double a = p[kLnA] - p[kAlpha] * data.x[i];
  const double b = p[kLnB] - p[kBeta] * data.y[i];
  const double top = std::max({e, a, b});
  Terms terms{std::exp(e - top), std::exp(a - top), std::exp(b - top), 0};
  const double sum = terms.E + terms.A + terms.B;
  terms.residual = top + std::log(sum) - data.z[i];
  terms.E /= sum;
  terms.A /= sum;
  terms.B /= sum;
  return terms;
}

double huber(double residual, double delta) {
  const double size = std::fabs(residual);
  return size <= delta ? residual * residual / 2 : delta * (size - delta / 2);
}

double objective(const SurfaceData& data, double delta, const Vector5& p) {
  double sum = 0;
  for (std::size_t i = 0; i < data.x.size(); ++i) {
    if (data.weight[i] > 0) sum += data.weight[i] * huber(terms_at(data, p, i).residual, delta);
  }
  return sum;
}

/// Derivatives of the objective in units of delta². `majoriser` is the Hessian of the quadratic that touches
/// the objective from above (iteratively reweighted least squares): positive, and the metric of the damping.
struct Derivatives {
  Vector5 gradient = Vector5::Zero();
  Matrix5 hessian = Matrix5::Zero(), majoriser = Matrix5::Zero();
};

Derivatives derivatives(const SurfaceData& data, double delta, const Vector5& p) {
  Derivatives result;
  for (std::size_t i = 0; i < data.x.size(); ++i) {
    const double weight = data.weight[i] / (delta * delta);
    if (weight == 0) continue;
    const Terms t = terms_at(data, p, i);
    const double x = data.x[i], y = data.y[i];
    Vector5 slope;
    slope << t.E, t.A, t.B, -t.A * x, -t.B * y;
    const double size = std::fabs(t.residual);
    const double psi = weight * std::clamp(t.residual, -delta, delta);
    result.gradient += psi * slope;
    const Matrix5 outer = slope * slope.transpose();
    result.majoriser += weight * (size <= delta ? 1.0 : delta / size) * outer;
    // The Hessian of a log-sum-exp of linear terms: the mean of the terms' outer products minus that of their
    // mean.
    result.hessian += ((size <= delta ? weight : 0) - psi) * outer;
    result.hessian(kLnE, kLnE) += psi * t.E;
    result.hessian(kLnA, kLnA) += psi * t.A;
    result.hessian(kLnB, kLnB) += psi * t.B;
    result.hessian(kAlpha, kAlpha) += psi * t.A * x * x;
    result.hessian(kBeta, kBeta) += psi * t.B * y * y;
    result.hessian(kLnA, kAlpha) -= psi * t.A * x;
    result.hessian(kAlpha, kLnA) -= psi * t.A * x;
    result.hessian(kLnB, kBeta) -= psi * t.B * y;
    result.hessian(kBeta, kLnB) -= psi * t.B * y;
  }
  return result;
}

/// A constraint as a linear map: the five parameters move along the columns of `directions`, and column j is
/// stopped by the bounds of parameter `primary[j]`.
class FreeParameters {
 public:
  explicit FreeParameters(const SurfaceConstraint& constraint) : constraint_(constraint) {
    for (int i = 0; i < 5; ++i) {
      const bool fixed = (i == kLnE && constraint.E) || (i == kAlpha && constraint.alpha) ||
                         (i == kBeta && (constraint.beta || constraint.ratio));
      if (fixed) continue;
      directions_.conservativeResize(5, directions_.cols() + 1);
      directions_.rightCols<1>() = Vector5::Unit(i);
      if (i == kAlpha && constraint.ratio) directions_(kBeta, directions_.cols() - 1) = *constraint.ratio;
      primary_.push_back(i);
    }
  }

  /// `p` inside the bounds and where the constraint wants it.
  Vector5 admitted(Vector5 p, const Bounds& bounds) const {
    p = p.cwiseMax(bounds.low).cwiseMin(bounds.high);
    if (constraint_.E) p[kLnE] = std::max(std::log(*constraint_.E), bounds.low[kLnE]);
    if (constraint_.alpha) p[kAlpha] = *constraint_.alpha;
    if (constraint_.beta) p[kBeta] = *constraint_.beta;
    if (constraint_.ratio) p[kBeta] = *constraint_.ratio * p[kAlpha];
    return p;
  }

  /// One damped Newton step, or nothing where the damped Hessian is not positive definite. Parameters that
  /// sit on a bound and push outwards stay where they are.
  std::optional<Vector5> damped_step(const Vector5& p, const Bounds& bounds, const Derivatives& d,
                                     double damping) const {
    ReducedVector gradient = directions_.transpose() * d.gradient;
    const ReducedMatrix majoriser = directions_.transpose() * d.majoriser * directions_;
    ReducedMatrix matrix = directions_.transpose() * d.hessian * directions_ + damping * majoriser;
    matrix.diagonal().array() += 1e-12 * majoriser.trace() * std::min(damping, 1.0);
    for (Eigen::Index j = 0; j < gradient.size(); ++j) {
      const int i = primary_[static_cast<std::size_t>(j)];
      const bool outwards =
          (p[i] <= bounds.low[i] && gradient[j] > 0) || (p[i] >= bounds.high[i] && gradient[j] < 0);
      if (!outwards) continue;
      gradient[j] = 0;
      matrix.row(j).setZero();
      matrix.col(j).setZero();
      matrix(j, j) = 1;
    }
    const Eigen::LLT<ReducedMatrix> factor(matrix);
    if (factor.info() != Eigen::Success) return std::nullopt;
    Vector5 step = -(directions_ * factor.solve(gradient));
    if (!step.allFinite()) return std::nullopt;
    const double largest = step.cwiseAbs().maxCoeff();
    if (largest > kMaxStep) step *= kMaxStep / largest;
    return step;
  }

 private:
  // Of at most five parameters: on the stack.
  using Directions = Eigen::Matrix<double, 5, Eigen::Dynamic, Eigen::ColMajor, 5, 5>;
  using ReducedMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor, 5, 5>;
  using ReducedVector = Eigen::Matrix<double, Eigen::Dynamic, 1, Eigen::ColMajor, 5, 1>;
  SurfaceConstraint constraint_;
  Directions directions_{5, 0};
  std::vector<int> primary_;
};

/// Columns exp(−exponent·x)/L of the relative least-squares problem, one per exponent.
std::vector<std::vector<double>> relative_columns(const std::vector<double>& x, const std::vector<double>& z,
                                                  const std::vector<double>& exponents) {
  std::vector<std::vector<double>> columns;
  for (const double exponent : exponents) {
    std::vector<double>& column = columns.emplace_back();
    for (std::size_t i = 0; i < x.size(); ++i) column.push_back(std::exp(-exponent * x[i] - z[i]));
  }
  return columns;
}

/// Non-negative E (unless it is given), A, B that minimise Σ weight·(L̂/L − 1)²; nothing when A or B would be
/// zero.
std::optional<Eigen::Vector3d> linear_terms(const SurfaceData& data, const std::vector<double>& one,
                                            const std::vector<double>& a, const std::vector<double>& b,
                                            const std::optional<double>& given_E) {
  Eigen::Matrix3d normal = Eigen::Matrix3d::Zero();
  Eigen::Vector3d right = Eigen::Vector3d::Zero();
  for (std::size_t i = 0; i < one.size(); ++i) {
    const Eigen::Vector3d row(one[i], a[i], b[i]);
    normal += data.weight[i] * row * row.transpose();
    right += data.weight[i] * row;
  }
  Eigen::Vector3d terms = normal.ldlt().solve(right);
  if (given_E || !(terms[0] > 0)) {
    terms[0] = given_E.value_or(0);
    const Eigen::Vector2d rest = right.tail<2>() - terms[0] * normal.col(0).tail<2>();
    terms.tail<2>() = normal.bottomRightCorner<2, 2>().ldlt().solve(rest);
  }
  if (!terms.allFinite() || terms[1] <= 0 || terms[2] <= 0) return std::nullopt;
  return terms;
}

Vector5 as_vector(const SurfaceParameters& parameters) {
  return Vector5::Map(parameters.data());
}

}  // namespace

SurfaceData surface_data(std::span<const Observation> runs) {
  SurfaceData data;
  for (const Observation& run : runs) {
    data.mean_x += std::log(run.N) / static_cast<double>(runs.size());
    data.mean_y += std::log(run.D) / static_cast<double>(runs.size());
  }
  for (const Observation& run : runs) {
    data.x.push_back(std::log(run.N) - data.mean_x);
    data.y.push_back(std::log(run.D) - data.mean_y);
    data.z.push_back(std::log(run.loss));
  }
  data.weight.assign(runs.size(), 1);
  return data;
}

int SurfaceConstraint::free_parameters() const {
  return 5 - static_cast<int>(E.has_value()) - static_cast<int>(alpha.has_value()) -
         static_cast<int>(beta.has_value() || ratio.has_value());
}

SurfaceConstraint constraint_of(const FitOptions& options) {
  SurfaceConstraint constraint;
  constraint.E = options.fixed_E;
  if (options.tied_exponents) constraint.ratio = 1;
  return constraint;
}

std::vector<double> exponent_grid(int count) {
  std::vector<double> grid;
  for (int i = 0; i < count; ++i) grid.push_back(0.05 * std::pow(40.0, i / (count - 1.0)));
  return grid;
}

std::vector<SurfaceParameters> surface_starts(const SurfaceData& data, double delta, int grid,
                                              std::size_t count, const SurfaceConstraint& constraint) {
  const std::vector<double> exponents = exponent_grid(grid);
  const std::vector<double> one = relative_columns(data.x, data.z, {0.0}).front();
  const auto a = relative_columns(data.x, data.z, exponents);
  const auto b = relative_columns(data.y, data.z, exponents);
  const double smallest = *std::min_element(data.z.begin(), data.z.end());
  std::vector<std::pair<double, SurfaceParameters>> starts;
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    for (std::size_t j = 0; j < exponents.size(); ++j) {
      if (constraint.ratio == 1 && i != j) continue;
      const auto terms = linear_terms(data, one, a[i], b[j], constraint.E);
      if (!terms) continue;
      double sum = 0;
      for (std::size_t k = 0; k < one.size(); ++k) {
        const double relative = (*terms)[0] * one[k] + (*terms)[1] * a[i][k] + (*terms)[2] * b[j][k];
        sum += data.weight[k] * huber(std::log(relative), delta);
      }
      const double e = std::max(std::log((*terms)[0]), smallest - kStartE);
      starts.push_back({sum, {e, std::log((*terms)[1]), std::log((*terms)[2]), exponents[i], exponents[j]}});
    }
  }
  std::stable_sort(starts.begin(), starts.end(),
                   [](const auto& l, const auto& r) { return l.first < r.first; });
  std::vector<SurfaceParameters> best;
  for (std::size_t i = 0; i < std::min(count, starts.size()); ++i) best.push_back(starts[i].second);
  return best;
}

SurfaceSolution minimise_surface(const SurfaceData& data, double delta, const SurfaceParameters& start,
                                 const SurfaceConstraint& constraint) {
  const Bounds bounds = bounds_of(data);
  const FreeParameters free(constraint);
  Vector5 p = free.admitted(as_vector(start), bounds);
  double value = objective(data, delta, p);
  double damping = 1;
  for (int iteration = 0; iteration < kMaxIterations && damping < 1e10; ++iteration) {
    const Derivatives d = derivatives(data, delta, p);
    bool better = false;
    while (!better && damping < 1e10) {
      if (const auto step = free.damped_step(p, bounds, d, damping)) {
        const Vector5 trial = free.admitted(p + *step, bounds);
        const double trial_value = objective(data, delta, trial);
        better = trial_value < value;
        if (better) {
          const bool done = value - trial_value < 1e-15 * value;
          p = trial;
          value = trial_value;
          damping = done ? 1e10 : std::max(damping / 8, 1e-12);
        }
      }
      if (!better) damping *= 8;
    }
  }
  SurfaceSolution solution;
  Vector5::Map(solution.parameters.data()) = p;
  solution.objective = value;
  const auto at_bound = [&](int i) { return p[i] <= bounds.low[i] || p[i] >= bounds.high[i]; };
  const auto is_zero = [&](int i) { return p[i] <= bounds.low[i] + kReachOfLogs - kZero; };
  solution.undetermined = at_bound(kAlpha) || at_bound(kBeta) || is_zero(kLnA) || is_zero(kLnB);
  solution.E_is_zero = is_zero(kLnE);
  return solution;
}

ParametricFit::Surface surface_of(const SurfaceData& data, const SurfaceParameters& p) {
  const double smallest = *std::min_element(data.z.begin(), data.z.end());
  return {p[kLnE] <= smallest - kZero ? 0 : std::exp(p[kLnE]), std::exp(p[kLnA] + p[kAlpha] * data.mean_x),
          std::exp(p[kLnB] + p[kBeta] * data.mean_y), p[kAlpha], p[kBeta]};
}

}  // namespace minichilla
