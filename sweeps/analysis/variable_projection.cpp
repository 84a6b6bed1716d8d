#include "sweeps/analysis/variable_projection.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "sweeps/analysis/projected_surface.h"
#include "sweeps/analysis/surface_sample.h"

namespace minichilla {
namespace {

constexpr std::uint64_t kPlainStream = 5, kRobustStream = 6;
constexpr int kDenseGrid = 24, kWarmGrid = 6;
constexpr std::size_t kFollowed = 6, kWarmFollowed = 1;
constexpr double kHuberThreshold = 1.345;      ///< robust standard deviations
constexpr double kDeviationOfMedian = 1.4826;  ///< a normal distribution's, over its median absolute value
constexpr int kReweightings = 200, kScaleReweightings = 10;
constexpr int kStepsPerReweighting = 2;  ///< the weights change anyway before more would pay
constexpr double kStill = 1e-8;          ///< change of the exponents at which reweighting ends

/// A solution and the weights that it belongs to.
struct Solution {
  Projection projection;
  std::vector<double> weight;  ///< of squares of L̂ − L
  double objective = 0;
  double delta = 0;  ///< the robust form's threshold of relative residuals
};

/// Residuals relative to the fitted loss.
std::vector<double> relative_residuals(const SurfaceData& data, const Projection& projection) {
  std::vector<double> relative;
  for (std::size_t i = 0; i < data.z.size(); ++i) {
    const double residual = projection.residuals[i];
    relative.push_back(residual / std::max(std::exp(data.z[i]) - residual, 1e-300));
  }
  return relative;
}

/// Robust standard deviation of the residuals that count, from their median size.
double deviation_of(const std::vector<double>& residuals, const std::vector<double>& counts,
                    int free_parameters) {
  std::vector<double> sizes;
  for (std::size_t i = 0; i < residuals.size(); ++i) {
    for (int j = 0; j < static_cast<int>(counts[i]); ++j) sizes.push_back(std::fabs(residuals[i]));
  }
  std::sort(sizes.begin(), sizes.end());
  const auto n = static_cast<double>(sizes.size());
  return kDeviationOfMedian * percentile(sizes, 0.5) * std::sqrt(n / std::max(1.0, n - free_parameters));
}

class Projector {
 public:
  Projector(const SurfaceData& data, ProjectionForm form, SurfaceConstraint constraint)
      : data_(data), form_(form), constraint_(constraint) {}

  ProjectedSurface problem(const std::vector<double>& weight, const SurfaceConstraint& constraint) const {
    return {data_, weight, constraint};
  }

  /// `counts`: how often each run counts. From a search on a grid, and from `warm` where there is one; the
  /// robust form from `warm` alone, which outliers have not pulled.
  Solution solve(const std::vector<double>& counts, int grid, std::size_t followed,
                 const Projection* warm) const {
    const ProjectedSurface plain = problem(counts, constraint_);
    if (form_ == ProjectionForm::robust && warm) {
      Solution solution{plain.at(warm->alpha, warm->beta), counts, 0, 0};
      reweight(counts, constraint_, 0, solution);
      return solution;
    }
    Projection best = plain.search(grid, followed);
    if (warm) {
      Projection other = plain.minimise(warm->alpha, warm->beta);
      if (other.squares < best.squares) best = std::move(other);
    }
    Solution solution{std::move(best), counts, 0, 0};
    solution.objective = solution.projection.squares;
    if (form_ == ProjectionForm::robust) reweight(counts, constraint_, 0, solution);
    return solution;
  }

  /// Reweighted to convergence; with a `delta` above zero that threshold is kept, else it follows the spread
  /// of the residuals.
  void reweight(const std::vector<double>& counts, const SurfaceConstraint& constraint, double delta,
                Solution& solution) const {
    for (int i = 0; i < kReweightings; ++i) {
      const std::vector<double> relative = relative_residuals(data_, solution.projection);
      if (delta > 0) {
        solution.delta = delta;
      } else if (i < kScaleReweightings) {
        // The scale is held after a while, so that what follows has one objective to descend.
        const double deviation = deviation_of(relative, counts, constraint.free_parameters());
        solution.delta = kHuberThreshold * std::max(deviation, 1e-13);
      }
      for (std::size_t j = 0; j < counts.size(); ++j) {
        const double fitted = std::exp(data_.z[j]) - solution.projection.residuals[j];
        const double size = std::fabs(relative[j]);
        const double trust = size > solution.delta ? solution.delta / size : 1;
        solution.weight[j] = counts[j] * trust / (fitted * fitted);
      }
      const Projection before = solution.projection;
      solution.projection =
          problem(solution.weight, constraint).minimise(before.alpha, before.beta, kStepsPerReweighting);
      const double moved = std::fabs(solution.projection.alpha - before.alpha) +
                           std::fabs(solution.projection.beta - before.beta);
      if (i >= kScaleReweightings && moved < kStill) break;
    }
    solution.objective = 0;
    const std::vector<double> relative = relative_residuals(data_, solution.projection);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const double size = std::fabs(relative[i]);
      const double loss =
          size <= solution.delta ? size * size / 2 : solution.delta * (size - solution.delta / 2);
      solution.objective += counts[i] * loss;
    }
  }

  /// How much the objective rises with `held` more than in `main`.
  double rise(const Solution& main, const std::vector<double>& counts, const SurfaceConstraint& held) const {
    Solution solution = main;
    solution.projection = problem(main.weight, held).minimise(main.projection.alpha, main.projection.beta);
    if (form_ == ProjectionForm::plain) return solution.projection.squares - main.projection.squares;
    reweight(counts, held, main.delta, solution);
    return solution.objective - main.objective;
  }

  const SurfaceConstraint& constraint() const { return constraint_; }

 private:
  const SurfaceData& data_;
  ProjectionForm form_;
  SurfaceConstraint constraint_;
};

ProfileScale scale_of(const SurfaceData& data, const Solution& main, ProjectionForm form, int free) {
  if (form == ProjectionForm::robust) {
    return huber_scale(relative_residuals(data, main.projection), main.delta, free);
  }
  const int degrees = static_cast<int>(data.x.size()) - free;
  return {degrees / main.projection.squares, degrees};
}

void add_profiles(const SurfaceData& data, const Solution& main, const Projector& projector,
                  ProjectionForm form, const Surface& surface, ParametricFit& fit) {
  const SurfaceConstraint& given = projector.constraint();
  const ProfileScale scale = scale_of(data, main, form, given.free_parameters());
  if (scale.degrees < 1 || !(scale.per_unit > 0) || !std::isfinite(scale.per_unit)) return;
  const auto rise = [&](const SurfaceConstraint& held) { return projector.rise(main, data.weight, held); };
  add_surface_profiles(data, given, surface, 0, scale, rise, fit);
}

void note_outliers(const SurfaceData& data, const Solution& main, std::span<const Observation> runs,
                   ParametricFit& fit) {
  constexpr double kFar = 3;  ///< thresholds: about four standard deviations
  const std::vector<double> relative = relative_residuals(data, main.projection);
  std::string names;
  int far = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (std::fabs(relative[i]) <= kFar * main.delta) continue;
    if (++far <= 3) names += (names.empty() ? "" : ", ") + runs[i].run;
  }
  if (far == 0) return;
  fit.notes.push_back(std::to_string(far) + (far == 1 ? " run lies" : " runs lie") +
                      " beyond four standard deviations of the surface and count less: " + names +
                      (far > 3 ? ", …" : ""));
}

}  // namespace

ParametricFit fit_variable_projection(const RunTable& table, ProjectionForm form, const FitOptions& options) {
  ParametricFit fit;
  fit.refused = surface_refusal(table.runs);
  if (!fit.refused.empty()) return fit;
  const SurfaceData data = surface_data(table.runs);
  const Projector projector(data, form, constraint_of(options));
  const Solution main = projector.solve(data.weight, kDenseGrid, kFollowed, nullptr);
  const ProjectedSurface problem = projector.problem(main.weight, projector.constraint());
  const Surface surface = problem.surface(main.projection);
  if (problem.is_undetermined(main.projection) || !std::isfinite(G_of(surface))) {
    char text[200];
    std::snprintf(
        text, sizeof text,
        "the runs do not determine the surface: alpha ran to %.3g, beta to %.3g, A to %.3g, B to %.3g",
        surface.alpha, surface.beta, surface.A, surface.B);
    fit.refused = text;
    return fit;
  }
  fit.objective = main.objective;
  fit.runs_used = static_cast<int>(table.runs.size());
  fit.condition_number = problem.condition_of_all(main.projection);
  fit.condition_number_projected = problem.condition_of_exponents(main.projection);
  const bool robust = form == ProjectionForm::robust;
  fit.resamples =
      bootstrap_surfaces(table.runs, options, robust ? kRobustStream : kPlainStream, [&](const auto& counts) {
        const Solution drawn = projector.solve(counts, kWarmGrid, kWarmFollowed, &main.projection);
        return problem.surface(drawn.projection);
      });
  fill_estimates(surface, options.bootstrap, fit);
  if (options.bootstrap > 0) add_profiles(data, main, projector, form, surface, fit);
  add_surface_notes(table.runs, surface.E == 0, options, fit);
  if (robust) note_outliers(data, main, table.runs, fit);
  return fit;
}

}  // namespace minichilla
