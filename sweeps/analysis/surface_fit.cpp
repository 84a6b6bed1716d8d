#include "sweeps/analysis/surface_fit.h"

#include <algorithm>
#include <cmath>

#include "sweeps/analysis/linear_algebra.h"

namespace minichilla {
namespace {

using Matrix5 = std::array<SurfaceParameters, 5>;

enum Index : std::size_t { kLnE, kLnA, kLnB, kAlpha, kBeta };
constexpr int kMaxIterations = 500;
constexpr double kMaxStep = 2;       ///< in any parameter: they are logarithms and exponents
constexpr double kReachOfLogs = 15;  ///< ln E, ln A and ln B are looked for within this of the losses
constexpr double kZero = 10;         ///< a term is called zero when it is e^−10 of the smallest loss
constexpr double kStartE =
    5;  ///< starts have no smaller E than e^−5 of it: in ln E there is no slope near zero

struct Bounds {
  SurfaceParameters low, high;
};

Bounds bounds_of(const SurfaceData& data) {
  const auto [smallest, largest] = std::minmax_element(data.z.begin(), data.z.end());
  Bounds bounds;
  bounds.low = {*smallest - kReachOfLogs, *smallest - kReachOfLogs, *smallest - kReachOfLogs,
                kSmallestExponent, kSmallestExponent};
  bounds.high = {*largest + 1, *largest + kReachOfLogs, *largest + kReachOfLogs, kLargestExponent,
                 kLargestExponent};
  return bounds;
}

/// The three terms at one run as shares of the predicted loss, and ln L̂ − ln L.
struct PointTerms {
  double E, A, B, residual;
};

PointTerms terms_at(const SurfaceData& data, const SurfaceParameters& p, std::size_t i) {
  const double e = p[kLnE];
  const double a = p[kLnA] - p[kAlpha] * data.x[i];
  const double b = p[kLnB] - p[kBeta] * data.y[i];
  const double top = std::max({e, a, b});
  PointTerms terms{std::exp(e - top), std::exp(a - top), std::exp(b - top), 0};
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

double objective(const SurfaceData& data, double delta, const SurfaceParameters& p) {
  double sum = 0;
  for (std::size_t i = 0; i < data.x.size(); ++i) {
    if (data.weight[i] > 0) sum += data.weight[i] * huber(terms_at(data, p, i).residual, delta);
  }
  return sum;
}

/// Derivatives of the objective in units of delta². `majoriser` is the Hessian of the quadratic that touches
/// the objective from above (iteratively reweighted least squares): positive, and the metric of the damping.
struct Derivatives {
  SurfaceParameters gradient{};
  Matrix5 hessian{}, majoriser{};
};

Derivatives derivatives(const SurfaceData& data, double delta, const SurfaceParameters& p) {
  Derivatives result;
  for (std::size_t i = 0; i < data.x.size(); ++i) {
    const double weight = data.weight[i] / (delta * delta);
    if (weight == 0) continue;
    const PointTerms t = terms_at(data, p, i);
    const double x = data.x[i], y = data.y[i];
    const SurfaceParameters slope{t.E, t.A, t.B, -t.A * x, -t.B * y};
    const double size = std::fabs(t.residual);
    const double psi = weight * std::clamp(t.residual, -delta, delta);
    const double trust = weight * (size <= delta ? 1.0 : delta / size);
    const double curvature = (size <= delta ? weight : 0) - psi;
    // The Hessian of a log-sum-exp of linear terms: the mean of the terms' outer products minus that of their
    // mean.
    for (std::size_t row = 0; row < 5; ++row) {
      result.gradient[row] += psi * slope[row];
      for (std::size_t column = 0; column < 5; ++column) {
        result.majoriser[row][column] += trust * slope[row] * slope[column];
        result.hessian[row][column] += curvature * slope[row] * slope[column];
      }
    }
    result.hessian[kLnE][kLnE] += psi * t.E;
    result.hessian[kLnA][kLnA] += psi * t.A;
    result.hessian[kLnB][kLnB] += psi * t.B;
    result.hessian[kAlpha][kAlpha] += psi * t.A * x * x;
    result.hessian[kBeta][kBeta] += psi * t.B * y * y;
    result.hessian[kLnA][kAlpha] -= psi * t.A * x;
    result.hessian[kAlpha][kLnA] -= psi * t.A * x;
    result.hessian[kLnB][kBeta] -= psi * t.B * y;
    result.hessian[kBeta][kLnB] -= psi * t.B * y;
  }
  return result;
}

/// A constraint as a linear map: the five parameters move along `directions`, and direction j is stopped by
/// the bounds of parameter `primary[j]`.
class FreeParameters {
 public:
  explicit FreeParameters(const SurfaceConstraint& constraint) : constraint_(constraint) {
    for (std::size_t i = 0; i < 5; ++i) {
      const bool fixed = (i == kLnE && constraint.E) || (i == kAlpha && constraint.alpha) ||
                         (i == kBeta && (constraint.beta || constraint.ratio));
      if (fixed) continue;
      SurfaceParameters& direction = directions_.emplace_back();
      direction[i] = 1;
      if (i == kAlpha && constraint.ratio) direction[kBeta] = *constraint.ratio;
      primary_.push_back(i);
    }
  }

  /// `p` inside the bounds and where the constraint wants it.
  SurfaceParameters admitted(SurfaceParameters p, const Bounds& bounds) const {
    for (std::size_t i = 0; i < 5; ++i) p[i] = std::clamp(p[i], bounds.low[i], bounds.high[i]);
    if (constraint_.E) p[kLnE] = std::max(std::log(*constraint_.E), bounds.low[kLnE]);
    if (constraint_.alpha) p[kAlpha] = *constraint_.alpha;
    if (constraint_.beta) p[kBeta] = *constraint_.beta;
    if (constraint_.ratio) p[kBeta] = *constraint_.ratio * p[kAlpha];
    return p;
  }

  /// `p` after one damped Newton step, or nothing where the damped Hessian is not positive definite.
  /// Parameters that sit on a bound and push outwards stay where they are.
  std::optional<SurfaceParameters> stepped(SurfaceParameters p, const Bounds& bounds, const Derivatives& d,
                                           double damping) const {
    SymmetricSystem system = reduced(d, damping);
    for (std::size_t j = 0; j < system.size(); ++j) {
      const std::size_t i = primary_[j];
      const bool outwards =
          (p[i] <= bounds.low[i] && system.right(j) < 0) || (p[i] >= bounds.high[i] && system.right(j) > 0);
      if (!outwards) continue;
      system.right(j) = 0;
      for (std::size_t k = 0; k < system.size(); ++k)
        system.matrix(j, k) = system.matrix(k, j) = j == k ? 1 : 0;
    }
    const auto solved = system.solve_positive_definite();
    if (!solved) return std::nullopt;
    SurfaceParameters step{};
    for (std::size_t j = 0; j < directions_.size(); ++j) {
      for (std::size_t i = 0; i < 5; ++i) step[i] += directions_[j][i] * (*solved)[j];
    }
    if (!all_finite(step)) return std::nullopt;
    const double scale = std::min(1.0, kMaxStep / largest_size(step));
    for (std::size_t i = 0; i < 5; ++i) p[i] += scale * step[i];
    return admitted(p, bounds);
  }

 private:
  /// The damped Hessian and the descent, both along the directions.
  SymmetricSystem reduced(const Derivatives& d, double damping) const {
    const auto along = [](const SurfaceParameters& l, const Matrix5& matrix, const SurfaceParameters& r) {
      double sum = 0;
      for (std::size_t i = 0; i < 5; ++i) {
        for (std::size_t j = 0; j < 5; ++j) sum += l[i] * matrix[i][j] * r[j];
      }
      return sum;
    };
    SymmetricSystem system(directions_.size());
    double trace = 0;
    for (std::size_t j = 0; j < directions_.size(); ++j) {
      for (std::size_t i = 0; i < 5; ++i) system.right(j) -= directions_[j][i] * d.gradient[i];
      for (std::size_t k = 0; k < directions_.size(); ++k) {
        const double major = along(directions_[j], d.majoriser, directions_[k]);
        system.matrix(j, k) = along(directions_[j], d.hessian, directions_[k]) + damping * major;
        if (j == k) trace += major;
      }
    }
    for (std::size_t j = 0; j < system.size(); ++j)
      system.matrix(j, j) += 1e-12 * trace * std::min(damping, 1.0);
    return system;
  }

  SurfaceConstraint constraint_;
  std::vector<SurfaceParameters> directions_;
  std::vector<std::size_t> primary_;
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
std::optional<std::array<double, 3>> linear_terms(const SurfaceData& data, const std::vector<double>& one,
                                                  const std::vector<double>& a, const std::vector<double>& b,
                                                  const std::optional<double>& given_E) {
  SymmetricSystem normal(3);
  for (std::size_t i = 0; i < one.size(); ++i) normal.add(std::array{one[i], a[i], b[i]}, 1, data.weight[i]);
  const SymmetricSystem::Vector all = normal.solve();
  std::array terms{all[0], all[1], all[2]};
  if (given_E || !(terms[0] > 0)) {
    terms[0] = given_E.value_or(0);
    SymmetricSystem rest(2);
    for (const std::size_t i : {0, 1}) {
      rest.right(i) = normal.right(i + 1) - terms[0] * normal.matrix(i + 1, 0);
      for (const std::size_t j : {0, 1}) rest.matrix(i, j) = normal.matrix(i + 1, j + 1);
    }
    const SymmetricSystem::Vector two = rest.solve();
    terms[1] = two[0];
    terms[2] = two[1];
  }
  if (!all_finite(terms) || terms[1] <= 0 || terms[2] <= 0) return std::nullopt;
  return terms;
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
  SurfaceParameters p = free.admitted(start, bounds);
  double value = objective(data, delta, p);
  double damping = 1;
  for (int iteration = 0; iteration < kMaxIterations && damping < 1e10; ++iteration) {
    const Derivatives d = derivatives(data, delta, p);
    bool better = false;
    while (!better && damping < 1e10) {
      if (const auto trial = free.stepped(p, bounds, d, damping)) {
        const double trial_value = objective(data, delta, *trial);
        better = trial_value < value;
        if (better) {
          const bool done = value - trial_value < 1e-15 * value;
          p = *trial;
          value = trial_value;
          damping = done ? 1e10 : std::max(damping / 8, 1e-12);
        }
      }
      if (!better) damping *= 8;
    }
  }
  SurfaceSolution solution;
  solution.parameters = p;
  solution.objective = value;
  const auto at_bound = [&](std::size_t i) { return p[i] <= bounds.low[i] || p[i] >= bounds.high[i]; };
  const auto is_zero = [&](std::size_t i) { return p[i] <= bounds.low[i] + kReachOfLogs - kZero; };
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
