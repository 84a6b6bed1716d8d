#include "sweeps/analysis/projected_surface.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace minichilla {
namespace {

constexpr double kProjectionStep = 0.5;  ///< in an exponent
constexpr double kSmallestStep = 1e-10;  ///< of the exponents: what is left is rounding

using Terms = std::array<double, 3>;

/// c'Gc − 2h'c.
double value_of(const SymmetricSystem& normal, const Terms& c) {
  double value = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) value += c[i] * normal.matrix(i, j) * c[j];
    value -= 2 * normal.right(i) * c[i];
  }
  return value;
}

/// The minimum over the terms in `set`, with the rest where they are in `terms`.
Terms solved_for(const std::vector<std::size_t>& set, Terms terms, const SymmetricSystem& normal) {
  SymmetricSystem part(set.size());
  for (std::size_t i = 0; i < set.size(); ++i) {
    part.right(i) = normal.right(set[i]);
    for (std::size_t j = 0; j < 3; ++j) part.right(i) -= normal.matrix(set[i], j) * terms[j];
    for (std::size_t j = 0; j < set.size(); ++j) part.matrix(i, j) = normal.matrix(set[i], set[j]);
  }
  const SymmetricSystem::Vector solution = part.solve();
  for (std::size_t i = 0; i < set.size(); ++i) terms[set[i]] = solution[i];
  return terms;
}

/// Minimises c'Gc − 2h'c over c ≥ 0 with c[0] held at `fixed` where given: of all sets of terms that may be
/// zero, the feasible solution with the lowest value.
Terms non_negative(const SymmetricSystem& normal, const std::optional<double>& fixed) {
  const Terms nothing{fixed.value_or(0), 0, 0};
  Terms best = nothing;
  double lowest = value_of(normal, nothing);
  for (std::size_t bits = fixed ? 6 : 7; bits > 0; bits -= fixed ? 2 : 1) {
    std::vector<std::size_t> set;
    for (std::size_t i = 0; i < 3; ++i) {
      if (bits & (std::size_t{1} << i)) set.push_back(i);
    }
    const Terms candidate = solved_for(set, nothing, normal);
    if (!all_finite(candidate) || *std::min_element(candidate.begin(), candidate.end()) < 0) continue;
    const double value = value_of(normal, candidate);
    if (value < lowest) {
      lowest = value;
      best = candidate;
    }
    if (bits == (fixed ? 6 : 7)) break;  // no term wants to be negative: this is the minimum
  }
  return best;
}

}  // namespace

ProjectedSurface::ProjectedSurface(const SurfaceData& data, std::vector<double> weight,
                                   SurfaceConstraint constraint)
    : x_(data.x),
      y_(data.y),
      weight_(std::move(weight)),
      mean_x_(data.mean_x),
      mean_y_(data.mean_y),
      constraint_(constraint) {
  for (const double log_loss : data.z) loss_.push_back(std::exp(log_loss));
}

std::array<double, 3> ProjectedSurface::row(std::size_t i, double alpha, double beta) const {
  return {1, std::exp(-alpha * x_[i]), std::exp(-beta * y_[i])};
}

Projection ProjectedSurface::at(double alpha, double beta) const {
  std::vector<Terms> rows(x_.size());
  SymmetricSystem normal(3);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = row(i, alpha, beta);
    normal.add(rows[i], loss_[i], weight_[i]);
  }
  Projection result;
  result.alpha = alpha;
  result.beta = beta;
  result.terms = non_negative(normal, constraint_.E);
  const auto& [E, A, B] = result.terms;
  result.residuals.resize(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double residual = loss_[i] - E - A * rows[i][1] - B * rows[i][2];
    result.residuals[i] = residual;
    result.squares += weight_[i] * residual * residual;
  }
  return result;
}

/// ∂L̂/∂(alpha, beta) with what E, A and B can make up for taken out (Kaufman's form of the Jacobian).
ProjectedSurface::Slopes ProjectedSurface::jacobian(const Projection& p) const {
  std::vector<std::size_t> active;
  for (std::size_t i = constraint_.E ? 1 : 0; i < 3; ++i) {
    if (p.terms[i] > 0) active.push_back(i);
  }
  Slopes slopes(x_.size());
  std::vector<double> basis(x_.size() * active.size());
  std::array<SymmetricSystem, 2> made_up{SymmetricSystem(active.size()), SymmetricSystem(active.size())};
  for (std::size_t i = 0; i < slopes.size(); ++i) {
    const Terms phi = row(i, p.alpha, p.beta);
    slopes[i] = {-p.terms[1] * x_[i] * phi[1], -p.terms[2] * y_[i] * phi[2]};
    const std::span<double> in_use = std::span(basis).subspan(i * active.size(), active.size());
    for (std::size_t j = 0; j < active.size(); ++j) in_use[j] = phi[active[j]];
    for (std::size_t k = 0; k < 2; ++k) made_up[k].add(in_use, slopes[i][k], weight_[i]);
  }
  if (active.empty()) return slopes;
  for (std::size_t k = 0; k < 2; ++k) {
    const SymmetricSystem::Vector share = made_up[k].solve();
    for (std::size_t i = 0; i < slopes.size(); ++i) {
      for (std::size_t j = 0; j < active.size(); ++j) slopes[i][k] -= basis[i * active.size() + j] * share[j];
    }
  }
  return slopes;
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
  // How far alpha and beta go with each of two steps: the constraint may hold one, or tie it to the other.
  const std::array<double, 2> along_alpha{constraint_.alpha ? 0.0 : 1.0,
                                          constraint_.alpha ? 0.0 : constraint_.ratio.value_or(0)};
  const std::array<double, 2> along_beta{0, constraint_.beta || constraint_.ratio ? 0.0 : 1.0};
  double damping = 1e-3;
  for (int iteration = 0; iteration < steps && damping < 1e10; ++iteration) {
    const Slopes slopes = jacobian(best);
    SymmetricSystem normal(2);
    for (std::size_t i = 0; i < slopes.size(); ++i) {
      const auto& [to_alpha, to_beta] = slopes[i];
      normal.add(std::array{to_alpha * along_alpha[0] + to_beta * along_alpha[1], to_beta * along_beta[1]},
                 best.residuals[i], weight_[i]);
    }
    const double trace = normal.trace();
    if (!(trace > 0)) break;
    bool better = false;
    while (!better && damping < 1e10) {
      SymmetricSystem damped = normal;
      for (const std::size_t j : {0, 1}) damped.matrix(j, j) += damping * normal.matrix(j, j) + 1e-14 * trace;
      const SymmetricSystem::Vector solved = damped.solve();
      std::array step{solved[0] * along_alpha[0], solved[0] * along_alpha[1] + solved[1] * along_beta[1]};
      const double scale = std::min(1.0, kProjectionStep / largest_size(step));
      for (double& part : step) part *= scale;
      const auto [trial_alpha, trial_beta] = admitted(best.alpha + step[0], best.beta + step[1]);
      Projection trial = at(trial_alpha, trial_beta);
      better = trial.squares < best.squares;
      if (better) best = std::move(trial);
      damping = better ? std::max(damping / 8, 1e-12) : damping * 8;
      if (largest_size(step) < kSmallestStep) return best;
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
  SymmetricSystem normal(5);
  for (std::size_t i = 0; i < x_.size(); ++i) {
    const Terms phi = row(i, p.alpha, p.beta);
    const double A = p.terms[1] * phi[1], B = p.terms[2] * phi[2];
    // The logarithms of N and D as they are, not centred: that is how the five parameters are published.
    normal.add(std::array{p.terms[0], A, B, -(x_[i] + mean_x_) * A, -(y_[i] + mean_y_) * B}, 0, weight_[i]);
  }
  return normal.condition();
}

double ProjectedSurface::condition_of_exponents(const Projection& p) const {
  SymmetricSystem normal(2);
  const Slopes slopes = jacobian(p);
  for (std::size_t i = 0; i < slopes.size(); ++i) normal.add(slopes[i], 0, weight_[i]);
  return normal.condition();
}

}  // namespace minichilla
