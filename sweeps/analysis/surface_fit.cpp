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

/// Takes parameters that sit on a bound and push outwards out of the step.
void freeze_at_bounds(const Vector5& p, const Bounds& bounds, Derivatives& d) {
  for (int i = 0; i < 5; ++i) {
    const bool outwards =
        (p[i] <= bounds.low[i] && d.gradient[i] > 0) || (p[i] >= bounds.high[i] && d.gradient[i] < 0);
    if (!outwards) continue;
    d.gradient[i] = 0;
    for (Matrix5* matrix : {&d.hessian, &d.majoriser}) {
      matrix->row(i).setZero();
      matrix->col(i).setZero();
      (*matrix)(i, i) = 1;
    }
  }
}

/// One damped Newton step, or nothing where the damped Hessian is not positive definite.
std::optional<Vector5> damped_step(const Derivatives& d, double damping) {
  Matrix5 matrix = d.hessian + damping * d.majoriser;
  matrix.diagonal().array() += 1e-12 * d.majoriser.trace() * std::min(damping, 1.0);
  const Eigen::LLT<Matrix5> factor(matrix);
  if (factor.info() != Eigen::Success) return std::nullopt;
  Vector5 step = -factor.solve(d.gradient);
  if (!step.allFinite()) return std::nullopt;
  const double largest = step.cwiseAbs().maxCoeff();
  if (largest > kMaxStep) step *= kMaxStep / largest;
  return step;
}

/// Exponents from 0.05 to 2 in equal ratios.
std::vector<double> exponent_grid(int count) {
  std::vector<double> grid;
  for (int i = 0; i < count; ++i) grid.push_back(0.05 * std::pow(40.0, i / (count - 1.0)));
  return grid;
}

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

/// Non-negative E, A, B that minimise Σ weight·(L̂/L − 1)²; nothing when A or B would be zero.
std::optional<Eigen::Vector3d> linear_terms(const SurfaceData& data, const std::vector<double>& one,
                                            const std::vector<double>& a, const std::vector<double>& b) {
  Eigen::Matrix3d normal = Eigen::Matrix3d::Zero();
  Eigen::Vector3d right = Eigen::Vector3d::Zero();
  for (std::size_t i = 0; i < one.size(); ++i) {
    const Eigen::Vector3d row(one[i], a[i], b[i]);
    normal += data.weight[i] * row * row.transpose();
    right += data.weight[i] * row;
  }
  Eigen::Vector3d terms = normal.ldlt().solve(right);
  if (!(terms[0] > 0)) {
    terms[0] = 0;
    terms.tail<2>() = normal.bottomRightCorner<2, 2>().ldlt().solve(right.tail<2>());
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

std::vector<SurfaceParameters> surface_starts(const SurfaceData& data, double delta, int grid,
                                              std::size_t count) {
  const std::vector<double> exponents = exponent_grid(grid);
  const std::vector<double> one = relative_columns(data.x, data.z, {0.0}).front();
  const auto a = relative_columns(data.x, data.z, exponents);
  const auto b = relative_columns(data.y, data.z, exponents);
  const double smallest = *std::min_element(data.z.begin(), data.z.end());
  std::vector<std::pair<double, SurfaceParameters>> starts;
  for (std::size_t i = 0; i < exponents.size(); ++i) {
    for (std::size_t j = 0; j < exponents.size(); ++j) {
      const auto terms = linear_terms(data, one, a[i], b[j]);
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

SurfaceSolution minimise_surface(const SurfaceData& data, double delta, const SurfaceParameters& start) {
  const Bounds bounds = bounds_of(data);
  Vector5 p = as_vector(start).cwiseMax(bounds.low).cwiseMin(bounds.high);
  double value = objective(data, delta, p);
  double damping = 1;
  for (int iteration = 0; iteration < kMaxIterations && damping < 1e10; ++iteration) {
    Derivatives d = derivatives(data, delta, p);
    freeze_at_bounds(p, bounds, d);
    bool better = false;
    while (!better && damping < 1e10) {
      if (const auto step = damped_step(d, damping)) {
        const Vector5 trial = (p + *step).cwiseMax(bounds.low).cwiseMin(bounds.high);
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
