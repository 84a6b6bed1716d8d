#include "sweeps/analysis/kaplan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "sweeps/analysis/critical_batch.h"
#include "sweeps/analysis/law_bootstrap.h"
#include "sweeps/analysis/least_squares.h"
#include "sweeps/analysis/power_law.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kKaplanStream = 10;
constexpr std::size_t kFewestPoints = 4, kFewestDifferent = 3, kFewestForTwoTerms = 8;
constexpr const char* kUndetermined =
    "the runs do not determine the law: a constant is beyond what a double holds";
constexpr double kPublishedBatch = 2.1e8, kPublishedBatchExponent = 0.21;  ///< Kaplan et al., eq. 1.4

struct LossPoint {
  double x, loss;
};

/// L = (x_c/x)^alpha through points.
LawFit power_law_of_loss(const char* name, const char* variable, const std::vector<LossPoint>& points,
                         const std::string& too_few, std::uint64_t stream, const FitOptions& options) {
  LawFit fit;
  fit.name = name;
  const std::string letter = variable;
  fit.equation = "L = (" + letter + "_c/" + letter + ")^alpha_" + letter;
  if (points.size() < kFewestPoints) {
    fit.refused = too_few;
    return fit;
  }
  std::vector<double> x, loss;
  for (const LossPoint& point : points) {
    x.push_back(point.x);
    loss.push_back(point.loss);
  }
  const auto constants = [&](const std::vector<double>& weight) -> std::vector<double> {
    const auto line = fit_log_line(x, loss, weight);
    if (!line || !(line->slope < 0)) return {std::nan(""), std::nan("")};
    return {-line->slope, std::exp(-line->intercept / line->slope)};
  };
  fill_law({"alpha_" + letter, letter + "_c"}, constants, draw_from(points.size()), points.size(), options,
           stream, "the loss hardly falls with " + letter, fit);
  return fit;
}

double size_of(const Observation& run) {
  return run.N_non_embedding > 0 ? run.N_non_embedding : run.N;
}

std::vector<LossPoint> longest_of_each_size(std::span<const Observation> runs) {
  std::map<double, const Observation*> longest;
  for (const Observation& run : runs) {
    const Observation*& best = longest[size_of(run)];
    if (!best || run.D > best->D || (run.D == best->D && run.loss < best->loss)) best = &run;
  }
  std::vector<LossPoint> points;
  for (const auto& [N, run] : longest) points.push_back({N, run->loss});
  return points;
}

/// Token counts at which several sizes were trained, each with its lowest loss.
std::vector<LossPoint> best_of_each_token_count(std::span<const Observation> runs) {
  constexpr std::size_t kFewestSizesPerCount = 3;
  std::map<double, std::pair<double, std::set<double>>> counts;
  for (const Observation& run : runs) {
    auto& [loss, sizes] = counts[run.D];
    loss = sizes.empty() ? run.loss : std::min(loss, run.loss);
    sizes.insert(size_of(run));
  }
  std::vector<LossPoint> points;
  for (const auto& [D, best] : counts) {
    if (best.second.size() >= kFewestSizesPerCount) points.push_back({D, best.first});
  }
  return points;
}

std::vector<LossPoint> best_of_each_budget(std::span<const Observation> runs) {
  std::map<double, double> budgets;
  for (const Observation& run : runs) {
    if (run.budget <= 0) continue;
    const auto [place, is_new] = budgets.try_emplace(run.budget, run.loss);
    if (!is_new) place->second = std::min(place->second, run.loss);
  }
  std::vector<LossPoint> points;
  for (const auto& [C, loss] : budgets) points.push_back({C, loss});
  return points;
}

/// ln(e^a + e^b).
double log_sum(double a, double b) {
  return std::max(a, b) + std::log1p(std::exp(-std::fabs(a - b)));
}

/// The middle of the logarithms of a value of each run: what N_c and the like are measured from in a fit.
template <class Value>
double log_centre(std::span<const Observation> runs, Value&& value_of) {
  double sum = 0;
  for (const Observation& run : runs) sum += std::log(value_of(run));
  return sum / static_cast<double>(runs.size());
}

/// Logarithms of a run, of N and D from the centre of all runs.
struct LogRun {
  double N, D, loss;
};

/// Parameters: ln (N_c/N)^(alpha_N/alpha_D) and ln(D_c/D) at the centre of the runs, ln alpha_N, ln alpha_D.
LawFit joint_law(std::span<const Observation> runs, const FitOptions& options) {
  LawFit fit;
  fit.name = "L_ND";
  fit.equation = "L = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D";
  std::set<double> N, D;
  for (const Observation& run : runs) {
    N.insert(size_of(run));
    D.insert(run.D);
  }
  if (runs.size() < kFewestForTwoTerms || N.size() < kFewestDifferent || D.size() < kFewestDifferent) {
    fit.refused = std::to_string(runs.size()) + " runs of " + std::to_string(N.size()) + " sizes and " +
                  std::to_string(D.size()) + " token counts, at least 8 of 3 and 3 are needed";
    return fit;
  }
  const double centre_N = log_centre(runs, size_of);
  const double centre_D = log_centre(runs, [](const Observation& run) { return run.D; });
  LeastSquaresProblem problem;
  problem.residuals = runs.size();
  std::vector<LogRun> logs;
  for (const Observation& run : runs)
    logs.push_back({std::log(size_of(run)) - centre_N, std::log(run.D) - centre_D, std::log(run.loss)});
  problem.evaluate = [&](std::span<const double> p, std::span<double> residuals) {
    const double alpha_N = std::exp(p[2]), alpha_D = std::exp(p[3]), ratio = alpha_N / alpha_D;
    for (std::size_t i = 0; i < logs.size(); ++i) {
      residuals[i] = alpha_D * log_sum(p[0] - ratio * logs[i].N, p[1] - logs[i].D) - logs[i].loss;
    }
  };
  const double loss = log_centre(runs, [](const Observation& run) { return run.loss; });
  std::vector<std::vector<double>> starts;
  for (const double alpha_N : {0.05, 0.1, 0.3}) {
    for (const double alpha_D : {0.05, 0.1, 0.3}) {
      starts.push_back(
          {loss / alpha_D - std::log(2), loss / alpha_D - std::log(2), std::log(alpha_N), std::log(alpha_D)});
    }
  }
  const LeastSquaresSolution main = minimise_residuals(problem, starts);
  const auto constants = [&](const std::vector<double>& weight) -> std::vector<double> {
    LeastSquaresProblem drawn = problem;
    drawn.weight = weight;
    const std::vector<double> p = minimise_residuals(drawn, {main.parameters}).parameters;
    const double alpha_N = std::exp(p[2]), alpha_D = std::exp(p[3]);
    return {alpha_N, alpha_D, std::exp(centre_N + p[0] * alpha_D / alpha_N), std::exp(centre_D + p[1])};
  };
  fill_law({"alpha_N", "alpha_D", "N_c", "D_c"}, constants, draw_from(runs.size()), runs.size(), options,
           kKaplanStream + 3, kUndetermined, fit);
  if (!fit.refused.empty()) return fit;
  fit.objective = 2 * main.objective;
  return fit;
}

/// The batch size whose cost is twice the least in steps and in tokens, at a loss.
struct BatchLaw {
  double B_star = kPublishedBatch, alpha = kPublishedBatchExponent;
  double at(double loss) const { return B_star * std::pow(loss, -1 / alpha); }
};

struct StepPoint {
  double N, steps, loss;  ///< steps: S_min
};

/// Ends of runs whose batch is known; S_min by the law of the critical batch.
std::vector<StepPoint> step_points(std::span<const Observation> runs, const BatchLaw& law) {
  std::vector<StepPoint> points;
  for (const Observation& run : runs) {
    if (!(run.batch_tokens > 0)) continue;
    const double steps = run.steps > 0 ? run.steps : run.D / run.batch_tokens;
    points.push_back({size_of(run), steps / (1 + law.at(run.loss) / run.batch_tokens), run.loss});
  }
  return points;
}

LawFit step_law(std::span<const Observation> runs, const BatchLaw& law, bool own_batch_law,
                const FitOptions& options) {
  LawFit fit;
  fit.name = "L_NS";
  fit.equation = "L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S";
  const std::vector<StepPoint> points = step_points(runs, law);
  if (points.size() < kFewestForTwoTerms) {
    fit.refused = std::to_string(points.size()) + (points.size() == 1 ? " run" : " runs") +
                  " with a known batch size, at least 8 are needed";
    return fit;
  }
  double centre_N = 0, centre_S = 0, loss = 0;
  for (const StepPoint& point : points) {
    const auto n = static_cast<double>(points.size());
    centre_N += std::log(point.N) / n;
    centre_S += std::log(point.steps) / n;
    loss += std::log(point.loss) / n;
  }
  LeastSquaresProblem problem;
  problem.residuals = points.size();
  problem.evaluate = [&](std::span<const double> p, std::span<double> residuals) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      const double of_N = p[0] - std::exp(p[2]) * (std::log(points[i].N) - centre_N);
      const double of_S = p[1] - std::exp(p[3]) * (std::log(points[i].steps) - centre_S);
      residuals[i] = log_sum(of_N, of_S) - std::log(points[i].loss);
    }
  };
  std::vector<std::vector<double>> starts;
  for (const double alpha_N : {0.05, 0.1, 0.3}) {
    for (const double alpha_S : {0.1, 0.3, 0.8}) {
      for (const double share : {0.8, 0.5}) {
        starts.push_back(
            {loss + std::log(share), loss + std::log(1 - share), std::log(alpha_N), std::log(alpha_S)});
      }
    }
  }
  const LeastSquaresSolution main = minimise_residuals(problem, starts);
  const auto constants = [&](const std::vector<double>& weight) -> std::vector<double> {
    LeastSquaresProblem drawn = problem;
    drawn.weight = weight;
    const std::vector<double> p = minimise_residuals(drawn, {main.parameters}).parameters;
    const double alpha_N = std::exp(p[2]), alpha_S = std::exp(p[3]);
    return {alpha_N, alpha_S, std::exp(centre_N + p[0] / alpha_N), std::exp(centre_S + p[1] / alpha_S)};
  };
  fill_law({"alpha_N", "alpha_S", "N_c", "S_c"}, constants, draw_from(points.size()), points.size(), options,
           kKaplanStream + 4, kUndetermined, fit);
  if (!fit.refused.empty()) return fit;
  fit.objective = 2 * main.objective;
  if (!own_batch_law) {
    fit.notes.emplace_back("S_min by the critical batch size that Kaplan et al. published for their text");
  }
  return fit;
}

}  // namespace

std::vector<LawFit> fit_kaplan(const RunTable& table, const FitOptions& options) {
  std::span<const Observation> runs = table.runs;
  std::vector<LawFit> laws;
  LawFit batch = fit_critical_batch(table.batch_runs, options);
  if (runs.empty()) return {batch};
  laws.push_back(power_law_of_loss("L_N", "N", longest_of_each_size(runs), "fewer than four model sizes",
                                   kKaplanStream, options));
  laws.back().notes.emplace_back("each size at its most tokens, which may still limit it");
  laws.push_back(power_law_of_loss("L_D", "D", best_of_each_token_count(runs),
                                   "fewer than four token counts with three sizes or more", kKaplanStream + 1,
                                   options));
  laws.push_back(power_law_of_loss("L_C", "C", best_of_each_budget(runs), "fewer than four budgets",
                                   kKaplanStream + 2, options));
  laws.push_back(joint_law(runs, options));
  BatchLaw law;
  if (batch.refused.empty()) law = {batch.at("B_star").value, batch.at("alpha_B").value};
  laws.push_back(step_law(runs, law, batch.refused.empty(), options));
  laws.push_back(std::move(batch));
  const bool embedding_free =
      std::all_of(runs.begin(), runs.end(), [](const auto& run) { return run.N_non_embedding > 0; });
  if (!embedding_free) {
    for (LawFit& one : laws) {
      if (one.name == "L_N" || one.name == "L_ND" || one.name == "L_NS")
        one.notes.emplace_back("N as the table counts it; Kaplan et al. leave embeddings out");
    }
  }
  return laws;
}

}  // namespace minichilla
