#include "sweeps/analysis/least_squares.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

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
      const auto [gradient, normal] = normal_equations(p);
      bool better = false;
      while (!better && damping < 1e12) {
        const std::vector<double> trial = moved(p, gradient, normal, damping);
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

  std::pair<Eigen::VectorXd, Eigen::MatrixXd> normal_equations(const std::vector<double>& p) const {
    const std::vector<double> r = residuals_at(problem_, p);
    const auto n = std::ssize(r), k = std::ssize(free_);
    Eigen::MatrixXd jacobian(n, k);
    for (Eigen::Index j = 0; j < k; ++j) {
      std::vector<double> up = p, down = p;
      const std::size_t at = free_[static_cast<std::size_t>(j)];
      const double step = kDifference * std::max(1.0, std::fabs(p[at]));
      up[at] += step;
      down[at] -= step;
      const std::vector<double> high = residuals_at(problem_, up), low = residuals_at(problem_, down);
      for (Eigen::Index i = 0; i < n; ++i) {
        const auto index = static_cast<std::size_t>(i);
        jacobian(i, j) = (high[index] - low[index]) / (2 * step);
      }
    }
    Eigen::VectorXd pull(n), trust(n);
    for (Eigen::Index i = 0; i < n; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const double size = std::fabs(r[index]);
      trust[i] = weight(index) * (size <= problem_.delta ? 1 : problem_.delta / size);
      pull[i] = trust[i] * r[index];
    }
    return {jacobian.transpose() * pull, jacobian.transpose() * trust.asDiagonal() * jacobian};
  }

  std::vector<double> moved(std::vector<double> p, const Eigen::VectorXd& gradient,
                            const Eigen::MatrixXd& normal, double damping) const {
    Eigen::MatrixXd matrix = normal;
    matrix.diagonal() *= 1 + damping;
    matrix.diagonal().array() += 1e-14 * normal.trace();
    Eigen::VectorXd step = -matrix.ldlt().solve(gradient);
    if (!step.allFinite()) return p;
    const double longest = step.cwiseAbs().maxCoeff();
    if (longest > kLongestStep) step *= kLongestStep / longest;
    for (Eigen::Index j = 0; j < step.size(); ++j) p[free_[static_cast<std::size_t>(j)]] += step[j];
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
