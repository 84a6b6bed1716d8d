#include "sweeps/analysis/isoflop_bias.h"

#include <algorithm>
#include <cmath>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/isoflop.h"
#include "sweeps/analysis/power_law.h"
#include "sweeps/analysis/predict.h"

namespace minichilla {
namespace {

constexpr std::size_t kMostResamples = 200;

/// The exponent that approach 2 finds from losses of `surface`, minus the surface's own; not-a-number where
/// it finds none.
double bias_of(RunTable grid, const ParametricFit::Surface& surface, const FlopsTrend& trend,
               const FitOptions& options, const IsoflopFit& fit) {
  for (Observation& run : grid.runs) run.loss = surface.loss(run.N, run.D);
  LossNoise unused;
  const IsoflopFit found = fit_isoflop(grid, options, unused);
  if (!found.refused.empty()) return std::nan("");
  std::vector<double> C, N;
  for (const IsoflopProfile& profile : fit.profiles) {
    if (!profile.used) continue;
    C.push_back(profile.C);
    N.push_back(surface_optimum(surface, trend, profile.C).N);
  }
  const auto truth = fit_log_line(C, N);
  return truth ? found.laws.a.value - truth->slope : std::nan("");
}

}  // namespace

void add_predicted_bias(const RunTable& table, const ParametricFit& surface, const FlopsTrend& trend,
                        const FitOptions& options, IsoflopFit& fit) {
  if (!fit.refused.empty() || !surface.refused.empty()) return;
  RunTable grid;
  for (const IsoflopProfile& profile : fit.profiles) {
    if (profile.used) grid.runs.insert(grid.runs.end(), profile.runs.begin(), profile.runs.end());
  }
  grid.budgets_planned = table.budgets_planned;
  const auto estimate = [&](Interpolation interpolation) -> std::optional<Estimate> {
    FitOptions plain = options;
    plain.bootstrap = 0;
    plain.on_progress = nullptr;
    plain.interpolation = interpolation;
    const double value = bias_of(grid, surface.surface(), trend, plain, fit);
    if (!std::isfinite(value)) return std::nullopt;
    const std::size_t count = std::min(surface.resamples.size(), kMostResamples);
    std::vector<double> samples(count);
    for_each_resample(
        static_cast<int>(count), options.threads,
        [&](int i) {
          const auto index = static_cast<std::size_t>(i);
          samples[index] = bias_of(grid, surface.resamples[index], trend, plain, fit);
        },
        nullptr);
    return Estimate{value, interval_of(std::move(samples), static_cast<int>(count))};
  };
  fit.predicted_bias_a = estimate(Interpolation::parabola);
  fit.predicted_bias_a_used = estimate(options.interpolation);
}

}  // namespace minichilla
