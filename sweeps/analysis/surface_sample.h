// What the fits of the surface L(N, D) share, however they minimise: which runs they need, how runs are drawn
// anew, estimates from resamples, and profile intervals.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/fit.h"

namespace minichilla {

struct SurfaceConstraint;
struct SurfaceData;
using Surface = ParametricFit::Surface;

double a_of(const Surface& surface);
double b_of(const Surface& surface);
double G_of(const Surface& surface);

/// Why these runs cannot determine a surface; empty when they may.
std::string surface_refusal(std::span<const Observation> runs);

/// Draws runs with replacement inside each budget; budgets with few runs are drawn from together. Seeds of
/// one N and D stay together, and so do the rows of one run.
class RunSampler {
 public:
  explicit RunSampler(std::span<const Observation> runs);
  /// How often a resample draws each run.
  std::vector<double> draw(ResampleRandom& random) const;

 private:
  std::size_t runs_;
  std::vector<std::vector<std::vector<std::size_t>>> strata_;  ///< of groups of runs that stay together
};

/// Fits `surface_of(resample)` for each of options.bootstrap resamples on all threads; those whose constants
/// are not finite are left out.
std::vector<Surface> bootstrap_surfaces(std::span<const Observation> runs, const FitOptions& options,
                                        std::uint64_t stream,
                                        const std::function<Surface(const std::vector<double>&)>& surface_of);

/// The scalars of `fit` from the main fit and its resamples, fit.resamples.
void fill_estimates(const Surface& main, int asked, ParametricFit& fit);

/// How a profiled objective turns into a likelihood.
struct ProfileScale {
  double per_unit = 0;  ///< the squared t value of a rise of the objective by one
  int degrees = 0;      ///< of freedom: runs − free parameters
};

/// Of a sum of Huber losses of `residuals`: twice the rise, times E[psi'] / E[psi²] (the quasi-likelihood
/// ratio of an M-estimator).
ProfileScale huber_scale(std::span<const double> residuals, double delta, int free_parameters);

/// First steps of profile_interval(): of an exponent relative to it, of E relative to the smallest loss, of
/// `a`.
inline constexpr double kProfileStep = 0.01;

/// Where the squared t value reaches that of 80 % and 95 %, on both sides of `value`. `rise` gives the
/// profiled objective minus its minimum with the parameter held fixed; an end that is not found inside
/// [lowest, highest] is infinite.
Interval80And95 profile_interval(double value, double step, double lowest, double highest,
                                 const ProfileScale& scale, const std::function<double(double)>& rise);

/// fit.profile of what `given` leaves free of E, alpha, beta and a, around `surface`. `rise` gives the
/// objective minus its minimum under a constraint; E is looked for above `lowest_E` times the smallest loss.
void add_surface_profiles(const SurfaceData& data, const SurfaceConstraint& given, const Surface& surface,
                          double lowest_E, const ProfileScale& scale,
                          const std::function<double(const SurfaceConstraint&)>& rise, ParametricFit& fit);

/// Notes on a small sample and on an E that is not determined; `E_is_zero` of the main fit.
void add_surface_notes(std::span<const Observation> runs, bool E_is_zero, const FitOptions& options,
                       ParametricFit& fit);

}  // namespace minichilla
