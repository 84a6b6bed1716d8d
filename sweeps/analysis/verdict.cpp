#include "sweeps/analysis/verdict.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <numeric>

#include "sweeps/analysis/power_law.h"
#include "sweeps/analysis/predict.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::size_t kFewBudgets = 4;
constexpr double kOffCentre = 2, kNarrow = 4;  ///< factors of N
constexpr double kAsymmetric = 1.25;           ///< ratio of alpha and beta
constexpr double kVarianceRatio = 5;           ///< of residuals between and within budgets: no accident
constexpr double kSmallestTrend = 1e-4;        ///< of the loss: below it a trend does not matter
constexpr double kFewestForTrend = 8;

std::string sentence(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string sentence(const char* format, ...) {
  char text[300];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

/// What is wrong with the grid of sizes for approach 2.
void judge_grid(const Fit& fit, std::vector<std::string>& reasons) {
  double off = 1, narrowest = INFINITY;
  std::size_t used = 0;
  for (const IsoflopProfile& profile : fit.isoflop.profiles) {
    if (!profile.used) continue;
    ++used;
    const double low = profile.runs.front().N, high = profile.runs.back().N;
    const double ratio = profile.params_opt.value / std::sqrt(low * high);
    off = std::max({off, ratio, 1 / ratio});
    narrowest = std::min(narrowest, high / low);
  }
  if (used == 0) return;
  if (used < kFewBudgets) reasons.push_back(sentence("few budgets: approach 2 rests on %zu minima", used));
  if (used < fit.isoflop.profiles.size()) {
    reasons.push_back(sentence("approach 2 refused %zu of %zu budgets", fit.isoflop.profiles.size() - used,
                               fit.isoflop.profiles.size()));
  }
  if (off > kOffCentre) {
    reasons.push_back(sentence(
        "the grid is off-centre: a minimum lies a factor of %.2g from the middle of its sizes", off));
  }
  if (narrowest < kNarrow) {
    reasons.push_back(sentence("the grid is narrow: the sizes of a budget span a factor of %.2g", narrowest));
  }
}

/// Whether the bias predicted for approach 2 matters beside its interval.
bool judge_bias(const Fit& fit, std::vector<std::string>& reasons) {
  const ParametricFit* surface = best_surface(fit);
  if (!surface || !fit.isoflop.predicted_bias_a_used || !fit.isoflop.refused.empty()) return false;
  const double skew =
      std::max(surface->alpha.value / surface->beta.value, surface->beta.value / surface->alpha.value);
  if (skew > kAsymmetric) {
    reasons.push_back(sentence("the valleys are asymmetric: alpha %.2g, beta %.2g", surface->alpha.value,
                               surface->beta.value));
  }
  const double bias = fit.isoflop.predicted_bias_a_used->value;
  const auto& interval = fit.isoflop.laws.a.interval;
  const double allowed = interval ? (interval->high80 - interval->low80) / 4 : 0.005;
  if (std::fabs(bias) <= allowed) return false;
  reasons.push_back(sentence(
      "approach 2 is biased on this grid: a is predicted to be off by %+.3f without any noise", bias));
  return true;
}

/// Log residuals of the surface by budget, or by sixths of the range of ln C where there are no budgets.
std::vector<std::vector<double>> residuals_by_compute(const RunTable& table, const Fit& fit,
                                                      const ParametricFit::Surface& surface) {
  constexpr int kParts = 6;
  std::map<double, std::vector<double>> groups;
  const bool budgets = std::any_of(table.runs.begin(), table.runs.end(),
                                   [](const Observation& run) { return run.budget > 0; });
  for (const Observation& run : table.runs) {
    const double share = std::log(run.C / fit.smallest_C) / std::log(fit.largest_C / fit.smallest_C);
    const double key = budgets ? run.budget : std::min(std::floor(kParts * share), kParts - 1.0);
    groups[key].push_back(std::log(run.loss / surface.loss(run.N, run.D)));
  }
  std::vector<std::vector<double>> result;
  for (auto& [key, residuals] : groups) result.push_back(std::move(residuals));
  return result;
}

/// Whether the surface misses the runs in a way that changes with compute: their residuals differ more
/// between budgets than within them (an analysis of variance).
bool judge_residuals(const RunTable& table, const Fit& fit, std::vector<std::string>& reasons) {
  const ParametricFit* best = best_surface(fit);
  if (!best || !(fit.largest_C > fit.smallest_C)) return false;
  const auto groups = residuals_by_compute(table, fit, best->surface());
  double total = 0, count = 0;
  for (const auto& group : groups) {
    total = std::accumulate(group.begin(), group.end(), total);
    count += static_cast<double>(group.size());
  }
  double between = 0, within = 0, farthest = 0;
  for (const auto& group : groups) {
    const auto members = static_cast<double>(group.size());
    const double mean = std::accumulate(group.begin(), group.end(), 0.0) / members;
    between += members * std::pow(mean - total / count, 2);
    for (const double residual : group) within += std::pow(residual - mean, 2);
    if (members > 1) farthest = std::max(farthest, std::fabs(mean));
  }
  const double freedom = static_cast<double>(groups.size()) - 1;
  if (freedom < 2 || count - freedom < kFewestForTrend) return false;
  const double ratio = between / freedom / (within / (count - freedom - 1));
  if (!(ratio > kVarianceRatio) || farthest < kSmallestTrend) return false;
  reasons.push_back(
      sentence("the surface's residuals change with compute, by up to %.2g %% of the loss: the laws bend",
               100 * farthest));
  return true;
}

double width_of(const Estimate& a) {
  return a.interval ? a.interval->high80 - a.interval->low80 : INFINITY;
}

std::string choose(const Fit& fit, bool biased, bool drifts, std::vector<std::string>& reasons) {
  const bool isoflop = fit.isoflop.refused.empty();
  const ParametricFit* surface = best_surface(fit);
  if (!isoflop && !surface) return fit.envelope.refused.empty() ? "envelope" : "";
  const std::string surface_name = name_of_surface(fit);
  if (!surface) return "isoflop";
  if (!isoflop) return surface_name;
  if (biased && !drifts) return surface_name;
  if (drifts && !biased) {
    reasons.emplace_back("approach 2 assumes nothing about the surface between budgets");
    return "isoflop";
  }
  const bool narrower = width_of(surface->a) < width_of(fit.isoflop.laws.a);
  reasons.push_back(std::string("the 80 % interval of a is narrower by ") +
                    (narrower ? "the surface" : "approach 2"));
  return narrower ? surface_name : "isoflop";
}

}  // namespace

Verdict verdict_of(const RunTable& table, const Fit& fit) {
  Verdict verdict;
  verdict.approaches_agree = approaches_agree(fit);
  judge_grid(fit, verdict.reasons);
  const bool biased = judge_bias(fit, verdict.reasons);
  const bool drifts = judge_residuals(table, fit, verdict.reasons);
  verdict.believed = choose(fit, biased, drifts, verdict.reasons);
  return verdict;
}

std::optional<HeldOut> hold_out_largest(const RunTable& table, const Fit& fit, const FitOptions& options) {
  constexpr double kTop = 3;
  double largest = 0;
  for (const Observation& run : table.runs) largest = std::max(largest, run.budget);
  const bool budgets = largest > 0;
  RunTable smaller, held;
  for (const Observation& run : table.runs) {
    const bool top = budgets ? run.budget == largest : run.C > fit.largest_C / kTop;
    (top ? held : smaller).runs.push_back(run);
  }
  smaller.budgets_planned = table.budgets_planned;
  if (held.runs.empty() || smaller.runs.empty()) return std::nullopt;
  FitOptions plain = options;
  plain.bootstrap = 0;
  plain.on_progress = nullptr;
  plain.check_verdict = false;
  plain.approaches.clear();
  if (best_surface(fit)) plain.approaches.emplace_back("parametric");
  if (fit.isoflop.refused.empty()) plain.approaches.emplace_back("isoflop");
  if (plain.approaches.empty()) return std::nullopt;
  const Fit before = fit_all(smaller, plain);
  HeldOut result;
  result.budget = budgets;
  result.C = budgets ? largest : fit.largest_C / kTop;
  result.runs = static_cast<int>(held.runs.size());
  if (before.parametric.refused.empty()) {
    const auto surface = before.parametric.surface();
    double sum = 0, squares = 0;
    for (const Observation& run : held.runs) {
      const double error = surface.loss(run.N, run.D) / run.loss - 1;
      sum += error / result.runs;
      squares += error * error / result.runs;
    }
    result.loss_error = sum;
    result.loss_error_rms = std::sqrt(squares);
  }
  if (budgets && before.isoflop.refused.empty()) {
    for (const IsoflopProfile& profile : fit.isoflop.profiles) {
      if (profile.C != largest || !profile.used) continue;
      const PowerLaws& laws = before.isoflop.laws;
      result.params_predicted = laws.coefficient_params.value * std::pow(largest, laws.a.value);
      result.params_found = profile.params_opt.value;
    }
  }
  if (!result.loss_error && !result.params_found) return std::nullopt;
  return result;
}

std::vector<Accounting> account_flops(const RunTable& table, const Fit& fit, const FitOptions& options) {
  std::vector<Accounting> rows;
  const ParametricFit* best = best_surface(fit);
  if (!best || table.runs.empty()) return rows;
  const auto known = [&](double Observation::*member) {
    return std::all_of(table.runs.begin(), table.runs.end(),
                       [&](const Observation& run) { return run.*member > 0; });
  };
  FitOptions plain = options;
  plain.bootstrap = 0;
  plain.on_progress = nullptr;
  plain.check_verdict = false;
  plain.approaches = {name_of_surface(fit) == "parametric" ? "parametric" : "variable_projection"};
  const auto add = [&](const std::string& name, auto&& N_of, auto&& C_of, bool refit) {
    RunTable counted = table;
    counted.curves.clear();
    for (Observation& run : counted.runs) {
      const double N = N_of(run);
      run.C = C_of(run, N);
      run.N = N;
    }
    Fit other;
    if (refit) other = fit_all(counted, plain);
    const ParametricFit* surface = refit ? best_surface(other) : best;
    if (!surface) return;
    const auto [low, high] = std::minmax_element(counted.runs.begin(), counted.runs.end(),
                                                 [](const auto& l, const auto& r) { return l.C < r.C; });
    const FlopsTrend trend = flops_trend_of(counted.runs);
    const std::vector<double> C = {low->C, high->C};
    const SurfaceOptimum from = surface_optimum(surface->surface(), trend, C[0]);
    const SurfaceOptimum to = surface_optimum(surface->surface(), trend, C[1]);
    const auto law = fit_laws(C, std::vector<double>{from.N, to.N}, std::vector<double>{from.D, to.D});
    if (law) rows.push_back({name, law->a, law->b});
  };
  const auto given_N = [](const Observation& run) { return run.N; };
  const auto without_embeddings = [](const Observation& run) { return run.N_non_embedding; };
  const auto six_ND = [](const Observation& run, double N) { return 6 * N * run.D; };
  const auto of_column = [](double Observation::*member) {
    return [member](const Observation& run, double) { return run.*member; };
  };
  add("C as given", given_N, of_column(&Observation::C), false);
  add("6ND", given_N, six_ND, false);
  if (known(&Observation::N_non_embedding)) add("6ND without embeddings", without_embeddings, six_ND, true);
  if (known(&Observation::C_exact)) {
    add("exact", given_N, of_column(&Observation::C_exact), false);
    add("exact, N without embeddings", without_embeddings, of_column(&Observation::C_exact), true);
  }
  if (known(&Observation::C_hoffmann))
    add("Hoffmann et al., full attention", given_N, of_column(&Observation::C_hoffmann), false);
  return rows;
}

}  // namespace minichilla
