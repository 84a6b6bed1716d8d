#include "sweeps/analysis/least_squares.h"

#include <algorithm>
#include <cmath>

#include "sweeps/analysis/linear_algebra.h"

namespace minichilla {
namespace {

constexpr int kSteps = 300;
constexpr double kLongestStep = 2, kShortestStep = 1e-10, kDifference = 1e-5;

class Descent {
 public:
  Descent(const LeastSquaresProblem& problem, const std::vector<bool>& held) : problem_(problem) {
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (!held[i]) free_.push_back(i);
    }
  }

  LeastSquaresSolution from(std::vector<double> p) const {
    double value = objective(p), damping = 1e-3;
    for (int step = 0; step < kSteps && damping < 1e12; ++step) {
      const SymmetricSystem normal = normal_equations(p);
      bool better = false;
      while (!better && damping < 1e12) {
        const std::vector<double> trial = moved(p, normal, damping);
        const double trial_value = objective(trial);
        better = trial_value < value;
        damping = better ? std::max(damping / 8, 1e-12) : damping * 8;
        if (longest_change(p, trial) < kShortestStep) damping = 1e12;
        if (!better) continue;
        p = trial;
        value = trial_value;
      }
    }
    return {std::move(p), value};
  }

 private:
  double weight(std::size_t i) const { return problem_.weight.empty() ? 1 : problem_.weight[i]; }

  double objective(const std::vector<double>& p) const {
    const std::vector<double> r = residuals_at(problem_, p);
    double sum = 0;
    for (std::size_t i = 0; i < r.size(); ++i) {
      const double size = std::fabs(r[i]);
      sum += weight(i) *
             (size <= problem_.delta ? size * size / 2 : problem_.delta * (size - problem_.delta / 2));
    }
    return std::isfinite(sum) ? sum : std::numeric_limits<double>::infinity();
  }

  /// The residuals' derivatives on the left, on the right what they would have to make up for.
  SymmetricSystem normal_equations(const std::vector<double>& p) const {
    const std::vector<double> r = residuals_at(problem_, p);
    std::vector<std::vector<double>> slopes;
    for (const std::size_t at : free_) {
      std::vector<double> up = p, down = p;
      const double step = kDifference * std::max(1.0, std::fabs(p[at]));
      up[at] += step;
      down[at] -= step;
      const std::vector<double> high = residuals_at(problem_, up), low = residuals_at(problem_, down);
      std::vector<double>& slope = slopes.emplace_back(r.size());
      for (std::size_t i = 0; i < r.size(); ++i) slope[i] = (high[i] - low[i]) / (2 * step);
    }
    SymmetricSystem system(free_.size());
    std::vector<double> row(free_.size());
    for (std::size_t i = 0; i < r.size(); ++i) {
      for (std::size_t j = 0; j < row.size(); ++j) row[j] = slopes[j][i];
      const double size = std::fabs(r[i]);
      system.add(row, -r[i], weight(i) * (size <= problem_.delta ? 1 : problem_.delta / size));
    }
    return system;
  }

  std::vector<double> moved(std::vector<double> p, SymmetricSystem system, double damping) const {
    const double ridge = 1e-14 * system.trace();
    for (std::size_t j = 0; j < free_.size(); ++j)
      system.matrix(j, j) += damping * system.matrix(j, j) + ridge;
    const SymmetricSystem::Vector solved = system.solve();
    const std::span<const double> step(solved.data(), free_.size());
    if (!all_finite(step)) return p;
    const double scale = std::min(1.0, kLongestStep / largest_size(step));
    for (std::size_t j = 0; j < step.size(); ++j) p[free_[j]] += scale * step[j];
    return p;
  }

  static double longest_change(const std::vector<double>& before, const std::vector<double>& after) {
    double longest = 0;
    for (std::size_t i = 0; i < before.size(); ++i)
      longest = std::max(longest, std::fabs(after[i] - before[i]));
    return longest;
  }

  const LeastSquaresProblem& problem_;
  std::vector<std::size_t> free_;
};

}  // namespace

std::vector<double> residuals_at(const LeastSquaresProblem& problem, std::span<const double> parameters) {
  std::vector<double> residuals(problem.residuals);
  problem.evaluate(parameters, residuals);
  return residuals;
}

LeastSquaresSolution minimise_residuals(const LeastSquaresProblem& problem,
                                        const std::vector<std::vector<double>>& starts,
                                        const std::vector<bool>& held) {
  LeastSquaresSolution best;
  for (const std::vector<double>& start : starts) {
    const std::vector<bool> stays = held.empty() ? std::vector<bool>(start.size(), false) : held;
    LeastSquaresSolution found = Descent(problem, stays).from(start);
    if (best.parameters.empty() || found.objective < best.objective) best = std::move(found);
  }
  return best;
}

}  // namespace minichilla
