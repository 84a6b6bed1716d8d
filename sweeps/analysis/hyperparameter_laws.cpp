#include "sweeps/analysis/hyperparameter_laws.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "sweeps/analysis/law_bootstrap.h"
#include "sweeps/analysis/linear_algebra.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kHyperparameterStream = 50;
constexpr double kNearBest = 1.0025;
constexpr std::size_t kFewestSettings = 3;

/// The best value of a setting at one N and D.
struct BestSetting {
  double ln_N, ln_D, ln_value;
};

/// Cells with at least three values of the setting, the best of which is neither the smallest nor the largest
/// tried; `at_edge` counts the others.
std::vector<BestSetting> best_settings(std::span<const Observation> runs, double Observation::*setting,
                                       std::size_t& at_edge) {
  std::map<std::pair<double, double>, std::vector<const Observation*>> cells;
  for (const Observation& run : runs) {
    if (run.*setting > 0) cells[{run.N, run.D}].push_back(&run);
  }
  std::vector<BestSetting> best;
  for (const auto& [cell, members] : cells) {
    std::set<double> values;
    double lowest = members.front()->loss;
    for (const Observation* run : members) {
      values.insert(run->*setting);
      lowest = std::min(lowest, run->loss);
    }
    if (values.size() < kFewestSettings) continue;
    double sum = 0;
    int count = 0;
    for (const Observation* run : members) {
      if (run->loss > kNearBest * lowest) continue;
      sum += std::log(run->*setting);
      ++count;
    }
    const double mean = sum / count;
    if (mean == std::log(*values.begin()) || mean == std::log(*values.rbegin())) {
      ++at_edge;
    } else {
      best.push_back({std::log(cell.first), std::log(cell.second), mean});
    }
  }
  return best;
}

/// Least squares of ln value on 1, ln D and, with `by_size`, ln N: the coefficients in that order.
std::vector<double> power_law_of(const std::vector<BestSetting>& cells, bool by_size,
                                 const std::vector<double>& weight) {
  const std::size_t columns = by_size ? 3 : 2;
  std::vector<double> rows, value;
  std::set<double> sizes, counts;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const BestSetting& cell = cells[i];
    const double root = std::sqrt(weight[i]);
    rows.insert(rows.end(), {root, root * cell.ln_D});
    if (by_size) rows.push_back(root * cell.ln_N);
    value.push_back(root * cell.ln_value);
    if (root == 0) continue;
    sizes.insert(cell.ln_N);
    counts.insert(cell.ln_D);
  }
  if (counts.size() < 2 || (by_size && sizes.size() < 2)) return std::vector<double>(3, std::nan(""));
  const LeastSquares law = solve_least_squares(rows, columns, value);
  if (law.rank < columns) return std::vector<double>(3, std::nan(""));
  return {std::exp(law.solution[0]), law.solution[1], by_size ? law.solution[2] : 0};
}

LawFit setting_law(std::span<const Observation> runs, const char* name, double Observation::*setting,
                   bool by_size, std::uint64_t stream, const FitOptions& options) {
  LawFit fit;
  fit.name = name;
  fit.equation = by_size ? std::string(name) + " = c * D^exponent_D * N^exponent_N"
                         : std::string(name) + " = c * D^exponent_D";
  std::size_t at_edge = 0;
  const std::vector<BestSetting> cells = best_settings(runs, setting, at_edge);
  const std::size_t needed = by_size ? 4 : 3;
  if (cells.size() < needed) {
    fit.refused = std::to_string(cells.size()) + (cells.size() == 1 ? " pair" : " pairs") +
                  " of N and D with three values of " + name + " and the best inside, at least " +
                  std::to_string(needed) + " are needed";
    return fit;
  }
  const auto constants = [&](const std::vector<double>& weight) {
    std::vector<double> found = power_law_of(cells, by_size, weight);
    found.resize(by_size ? 3 : 2);
    return found;
  };
  std::vector<std::string> names = {"c", "exponent_D"};
  if (by_size) names.emplace_back("exponent_N");
  fill_law(names, constants, draw_from(cells.size()), cells.size(), options, stream,
           "all runs have one N or one D", fit);
  fit.notes.push_back(std::to_string(cells.size()) + " pairs of N and D");
  if (at_edge > 0) {
    fit.notes.push_back(std::to_string(at_edge) +
                        " more were left out: their best value is the smallest or largest tried");
  }
  return fit;
}

}  // namespace

std::vector<LawFit> fit_hyperparameter_laws(const RunTable& table, const FitOptions& options) {
  return {setting_law(table.runs, "learning_rate", &Observation::learning_rate, true, kHyperparameterStream,
                      options),
          setting_law(table.runs, "batch_tokens", &Observation::batch_tokens, false,
                      kHyperparameterStream + 1, options)};
}

}  // namespace minichilla
