#include "sweeps/analysis/critical_batch.h"

#include <cmath>
#include <map>
#include <set>

#include "sweeps/analysis/law_bootstrap.h"
#include "sweeps/analysis/least_squares.h"
#include "sweeps/analysis/power_law.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kBatchStream = 20;
constexpr std::size_t kFewestBatches = 3, kFewestTargets = 2;

struct Target {
  double loss;
  std::vector<std::size_t> runs;
};

/// Losses that enough batch sizes were trained to.
std::vector<Target> targets_of(const std::vector<BatchRun>& runs) {
  std::map<double, std::vector<std::size_t>> by_loss;
  for (std::size_t i = 0; i < runs.size(); ++i) by_loss[runs[i].loss].push_back(i);
  std::vector<Target> targets;
  for (auto& [loss, members] : by_loss) {
    std::set<double> batches;
    for (const std::size_t i : members) batches.insert(runs[i].batch_tokens);
    if (batches.size() >= kFewestBatches) targets.push_back({loss, std::move(members)});
  }
  return targets;
}

/// ln S = ln S_min + ln(1 + B_crit/B): the critical batch of one target, not-a-number when nothing was drawn.
double critical_batch(const std::vector<BatchRun>& runs, const Target& target,
                      const std::vector<double>& weight) {
  std::set<double> batches;
  LeastSquaresProblem problem;
  double ln_B = 0, ln_S = 0, total = 0;
  for (const std::size_t i : target.runs) {
    problem.weight.push_back(weight[i]);
    if (weight[i] > 0) batches.insert(runs[i].batch_tokens);
    ln_B += weight[i] * std::log(runs[i].batch_tokens);
    ln_S += weight[i] * std::log(runs[i].steps);
    total += weight[i];
  }
  if (batches.size() < kFewestBatches) return std::nan("");
  problem.residuals = target.runs.size();
  problem.evaluate = [&](std::span<const double> p, std::span<double> residuals) {
    for (std::size_t i = 0; i < residuals.size(); ++i) {
      const BatchRun& run = runs[target.runs[i]];
      residuals[i] = p[0] + std::log1p(std::exp(p[1]) / run.batch_tokens) - std::log(run.steps);
    }
  };
  return std::exp(minimise_residuals(problem, {{ln_S / total - 0.7, ln_B / total}}).parameters[1]);
}

}  // namespace

LawFit fit_critical_batch(const std::vector<BatchRun>& runs, const FitOptions& options) {
  LawFit fit;
  fit.name = "B_crit";
  fit.equation = "B_crit = B_star / L^(1/alpha_B)";
  const std::vector<Target> targets = targets_of(runs);
  if (runs.empty()) {
    fit.refused = "no runs of several batch sizes to the same losses (a table with a column loss_target)";
    return fit;
  }
  if (targets.size() < kFewestTargets) {
    fit.refused = std::to_string(targets.size()) + " target losses with three batch sizes, at least " +
                  std::to_string(kFewestTargets) + " are needed";
    return fit;
  }
  const auto constants = [&](const std::vector<double>& weight) -> std::vector<double> {
    std::vector<double> loss, batch;
    for (const Target& target : targets) {
      const double found = critical_batch(runs, target, weight);
      if (!std::isfinite(found) || !(found > 0)) continue;
      loss.push_back(target.loss);
      batch.push_back(found);
    }
    const auto line = fit_log_line(loss, batch);
    if (!line || !(line->slope < 0)) return {std::nan(""), std::nan("")};
    return {std::exp(line->intercept), -1 / line->slope};
  };
  fill_law({"B_star", "alpha_B"}, constants, draw_from(runs.size()), runs.size(), options, kBatchStream,
           "the critical batch does not grow as the loss falls", fit);
  return fit;
}

}  // namespace minichilla
