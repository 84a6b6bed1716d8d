// Minimises the sum of Huber losses on log L over the surface L(N, D) = E + A/N^alpha + B/D^beta.
//
// Hoffmann et al. 2022, eq. 3, in their log-sum-exp form. The objective is the sum over runs, not their mean,
// in units of delta², and the logarithms of N and D are centred: otherwise solvers stop early in the long
// flat valley (the fault that Besiroglu et al. 2024 found in the published fit). Five parameters and an
// analytic Hessian make a damped Newton iteration exact and fast enough for thousands of resamples.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// What runs the surface is fitted to, and how often each counts.
struct SurfaceData {
  std::vector<double> x, y, z;  ///< ln N − mean, ln D − mean, ln L
  std::vector<double> weight;   ///< how often the run counts: 1, or how often a resample drew it
  double mean_x = 0, mean_y = 0;
};
SurfaceData surface_data(std::span<const Observation> runs);

/// ln E, ln A and ln B (at the centre of the data), alpha, beta.
using SurfaceParameters = std::array<double, 5>;

/// What is held fixed while the rest is fitted. E and the exponents are themselves, not logarithms.
struct SurfaceConstraint {
  std::optional<double> E, alpha, beta;
  std::optional<double> ratio;  ///< beta / alpha; 1 ties them

  /// How many of the five parameters are free.
  int free_parameters() const;
};
/// Those that the options ask for.
SurfaceConstraint constraint_of(const FitOptions& options);

struct SurfaceSolution {
  SurfaceParameters parameters{};
  double objective = 0;       ///< Σ weight·Huber(ln L̂ − ln L)
  bool undetermined = false;  ///< alpha or beta ran to a bound, or A or B to zero
  bool E_is_zero = false;     ///< E ran to zero
};

inline constexpr double kSmallestExponent = 0.01, kLargestExponent = 5;

/// Starts for minimise(), the best `count` by objective: at each pair of exponents of a grid, `grid`² of
/// them, E, A and B from linear least squares of the relative residual. The exponents cover those of Hoffmann
/// et al.'s grid; its many values of E, A and B are replaced by the best ones.
std::vector<SurfaceParameters> surface_starts(const SurfaceData& data, double delta, int grid,
                                              std::size_t count, const SurfaceConstraint& constraint = {});

/// Damped Newton iteration from `start` to the local minimum.
SurfaceSolution minimise_surface(const SurfaceData& data, double delta, const SurfaceParameters& start,
                                 const SurfaceConstraint& constraint = {});

/// Exponents from 0.05 to 2 in equal ratios.
std::vector<double> exponent_grid(int count);

ParametricFit::Surface surface_of(const SurfaceData& data, const SurfaceParameters& parameters);

}  // namespace minichilla
