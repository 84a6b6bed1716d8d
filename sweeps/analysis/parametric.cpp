#include "sweeps/analysis/parametric.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/surface_fit.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kParametricStream = 3;
constexpr std::size_t kFewestRuns = 8;
constexpr std::size_t kFewestDistinct = 3;
constexpr std::size_t kSmallestStratum = 4;
constexpr double kSmallestSpan =
    1.2;  ///< of C: below it all runs are one budget, along which N and D are tied
constexpr int kGrid = 14, kResampleGrid = 7;
constexpr std::size_t kStarts = 40, kResampleStarts = 2;

using Surface = ParametricFit::Surface;

double a_of(const Surface& s) {
  return s.beta / (s.alpha + s.beta);
}
double b_of(const Surface& s) {
  return s.alpha / (s.alpha + s.beta);
}
double G_of(const Surface& s) {
  return std::pow(s.alpha * s.A / (s.beta * s.B), 1 / (s.alpha + s.beta));
}

std::string refusal(std::span<const Observation> runs) {
  if (runs.size() < kFewestRuns) {
    return std::to_string(runs.size()) + (runs.size() == 1 ? " run" : " runs") +
           ", a surface of five parameters needs at least " + std::to_string(kFewestRuns);
  }
  std::set<double> N, D;
  double smallest = runs[0].C, largest = runs[0].C;
  for (const Observation& run : runs) {
    N.insert(run.N);
    D.insert(run.D);
    smallest = std::min(smallest, run.C);
    largest = std::max(largest, run.C);
  }
  if (N.size() < kFewestDistinct) {
    return std::to_string(N.size()) + (N.size() == 1 ? " model size" : " model sizes") +
           ", at least 3 are needed";
  }
  if (D.size() < kFewestDistinct) {
    return std::to_string(D.size()) + (D.size() == 1 ? " token count" : " token counts") +
           ", at least 3 are needed";
  }
  if (largest < kSmallestSpan * smallest) {
    return "all runs spent nearly the same FLOPs: N and D are tied, at least two budgets are needed";
  }
  return "";
}

SurfaceSolution best_of(const SurfaceData& data, double delta, const std::vector<SurfaceParameters>& starts) {
  SurfaceSolution best;
  best.objective = std::numeric_limits<double>::infinity();
  for (const SurfaceParameters& start : starts) {
    const SurfaceSolution solution = minimise_surface(data, delta, start);
    if (solution.objective < best.objective) best = solution;
  }
  return best;
}

/// Runs by budget: what a resample draws from. Budgets with few runs are drawn from together: one run alone
/// would be drawn in every resample, as if it had no noise.
std::vector<std::vector<std::size_t>> strata_of(std::span<const Observation> runs) {
  std::map<double, std::vector<std::size_t>> budgets;
  for (std::size_t i = 0; i < runs.size(); ++i) budgets[runs[i].budget].push_back(i);
  std::vector<std::vector<std::size_t>> strata;
  std::vector<std::size_t> together;
  for (auto& [budget, members] : budgets) {
    if (members.size() < kSmallestStratum) {
      together.insert(together.end(), members.begin(), members.end());
    } else {
      strata.push_back(std::move(members));
    }
  }
  if (!together.empty()) strata.push_back(std::move(together));
  return strata;
}

std::vector<Surface> bootstrap(std::span<const Observation> runs, const SurfaceData& data,
                               const SurfaceSolution& main, const FitOptions& options) {
  const auto strata = strata_of(runs);
  std::vector<std::optional<Surface>> surfaces(static_cast<std::size_t>(options.bootstrap));
  const auto work = [&](int index) {
    ResampleRandom random(options.seed, kParametricStream, static_cast<std::uint64_t>(index));
    SurfaceData drawn = data;
    std::fill(drawn.weight.begin(), drawn.weight.end(), 0);
    for (const auto& stratum : strata) {
      for (std::size_t i = 0; i < stratum.size(); ++i) ++drawn.weight[stratum[random.below(stratum.size())]];
    }
    std::vector<SurfaceParameters> starts =
        surface_starts(drawn, options.huber_delta, kResampleGrid, kResampleStarts);
    starts.push_back(main.parameters);
    const SurfaceSolution solution = best_of(drawn, options.huber_delta, starts);
    surfaces[static_cast<std::size_t>(index)] = surface_of(data, solution.parameters);
  };
  for_each_resample(options.bootstrap, options.threads, work, options.on_progress);
  std::vector<Surface> given;
  for (const auto& surface : surfaces) {
    if (surface && std::isfinite(G_of(*surface)) && std::isfinite(surface->A) && std::isfinite(surface->B)) {
      given.push_back(*surface);
    }
  }
  return given;
}

void fill_estimates(const Surface& main, const std::vector<Surface>& resamples, int asked,
                    ParametricFit& fit) {
  const auto estimate = [&](auto&& value_of) {
    std::vector<double> samples;
    for (const Surface& surface : resamples) samples.push_back(value_of(surface));
    return Estimate{value_of(main), interval_of(std::move(samples), asked)};
  };
  fit.E = estimate([](const Surface& s) { return s.E; });
  fit.A = estimate([](const Surface& s) { return s.A; });
  fit.B = estimate([](const Surface& s) { return s.B; });
  fit.alpha = estimate([](const Surface& s) { return s.alpha; });
  fit.beta = estimate([](const Surface& s) { return s.beta; });
  fit.a = estimate(a_of);
  fit.b = estimate(b_of);
  fit.G = estimate(G_of);
}

void add_notes(std::span<const Observation> runs, const SurfaceSolution& main, ParametricFit& fit) {
  double smallest = runs[0].loss;
  for (const Observation& run : runs) smallest = std::min(smallest, run.loss);
  if (main.E_is_zero) {
    fit.notes.emplace_back("E ran to zero: the runs do not determine the irreducible loss");
  } else if (fit.E.interval && fit.E.interval->low95 < 0.01 * smallest) {
    fit.notes.emplace_back(
        "the interval of E reaches down to zero: the runs bound the irreducible loss from above only");
  }
  if (runs.size() < 20) {
    char text[120];
    std::snprintf(text, sizeof text, "%zu runs for five parameters: intervals from so few are rough",
                  runs.size());
    fit.notes.emplace_back(text);
  }
}

}  // namespace

ParametricFit fit_parametric(const RunTable& table, const FitOptions& options) {
  ParametricFit fit;
  fit.refused = refusal(table.runs);
  if (!fit.refused.empty()) return fit;
  const SurfaceData data = surface_data(table.runs);
  const std::vector<SurfaceParameters> starts = surface_starts(data, options.huber_delta, kGrid, kStarts);
  if (starts.empty()) {
    fit.refused = "the loss falls with neither N nor D as the surface does: no start with A > 0 and B > 0";
    return fit;
  }
  const SurfaceSolution main = best_of(data, options.huber_delta, starts);
  const Surface surface = surface_of(data, main.parameters);
  if (main.undetermined || !std::isfinite(G_of(surface))) {
    char text[160];
    std::snprintf(text, sizeof text, "the runs do not determine the surface: alpha ran to %.3g, beta to %.3g",
                  surface.alpha, surface.beta);
    fit.refused = text;
    return fit;
  }
  fit.objective = main.objective;
  fit.runs_used = static_cast<int>(table.runs.size());
  fit.resamples = bootstrap(table.runs, data, main, options);
  fill_estimates(surface, fit.resamples, options.bootstrap, fit);
  add_notes(table.runs, main, fit);
  return fit;
}

}  // namespace minichilla
