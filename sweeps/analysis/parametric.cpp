#include "sweeps/analysis/parametric.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "sweeps/analysis/surface_fit.h"
#include "sweeps/analysis/surface_sample.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kParametricStream = 3;
constexpr int kGrid = 14, kResampleGrid = 7;
constexpr std::size_t kStarts = 40, kResampleStarts = 2;
constexpr double kSquares = 1e3;  ///< a delta beyond any log residual: Huber losses are squares then

/// The minimisation with its options, for any weights of the runs.
class Minimiser {
 public:
  explicit Minimiser(const FitOptions& options)
      : delta_(options.mean_squares ? kSquares : options.huber_delta), constraint_(constraint_of(options)) {}

  double delta() const { return delta_; }
  const SurfaceConstraint& constraint() const { return constraint_; }

  std::vector<SurfaceParameters> starts(const SurfaceData& data, int grid, std::size_t count) const {
    return surface_starts(data, delta_, grid, count, constraint_);
  }
  SurfaceSolution best_of(const SurfaceData& data, const std::vector<SurfaceParameters>& starts) const {
    return best_of_held(data, starts, constraint_);
  }
  SurfaceSolution best_of_held(const SurfaceData& data, const std::vector<SurfaceParameters>& starts,
                               const SurfaceConstraint& held) const {
    SurfaceSolution best;
    best.objective = std::numeric_limits<double>::infinity();
    for (const SurfaceParameters& start : starts) {
      const SurfaceSolution solution = minimise_surface(data, delta_, start, held);
      if (solution.objective < best.objective) best = solution;
    }
    return best;
  }

 private:
  double delta_;
  SurfaceConstraint constraint_;
};

/// Profile intervals: the objective with one parameter held, every other refitted from the nearest solution.
void add_profiles(const SurfaceData& data, const SurfaceSolution& main, const Minimiser& minimiser,
                  const Surface& surface, ParametricFit& fit) {
  std::vector<double> residuals;
  for (std::size_t i = 0; i < data.x.size(); ++i) {
    const double loss = surface.loss(std::exp(data.x[i] + data.mean_x), std::exp(data.y[i] + data.mean_y));
    residuals.push_back(std::log(loss) - data.z[i]);
  }
  const SurfaceConstraint& given = minimiser.constraint();
  const ProfileScale scale = huber_scale(residuals, minimiser.delta(), given.free_parameters());
  if (!(scale.per_unit > 0) || !std::isfinite(scale.per_unit)) return;
  // Far from the estimate the way from it can end in another valley than the way from the last one held.
  SurfaceParameters last = main.parameters;
  const auto rise = [&](const SurfaceConstraint& held) {
    const SurfaceSolution best = minimiser.best_of_held(data, {main.parameters, last}, held);
    last = best.parameters;
    return best.objective - main.objective;
  };
  add_surface_profiles(data, given, surface, 1e-4, scale, rise, fit);
}

}  // namespace

ParametricFit fit_parametric(const RunTable& table, const FitOptions& options) {
  ParametricFit fit;
  fit.refused = surface_refusal(table.runs);
  if (!fit.refused.empty()) return fit;
  const SurfaceData data = surface_data(table.runs);
  const Minimiser minimiser(options);
  const std::vector<SurfaceParameters> starts = minimiser.starts(data, kGrid, kStarts);
  if (starts.empty()) {
    fit.refused = "the loss falls with neither N nor D as the surface does: no start with A > 0 and B > 0";
    return fit;
  }
  const SurfaceSolution main = minimiser.best_of(data, starts);
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
  fit.resamples = bootstrap_surfaces(table.runs, options, kParametricStream, [&](const auto& weight) {
    SurfaceData drawn = data;
    drawn.weight = weight;
    std::vector<SurfaceParameters> from = minimiser.starts(drawn, kResampleGrid, kResampleStarts);
    from.push_back(main.parameters);
    return surface_of(data, minimiser.best_of(drawn, from).parameters);
  });
  fill_estimates(surface, options.bootstrap, fit);
  if (options.bootstrap > 0) add_profiles(data, main, minimiser, surface, fit);
  add_surface_notes(table.runs, main.E_is_zero, options, fit);
  return fit;
}

}  // namespace minichilla
