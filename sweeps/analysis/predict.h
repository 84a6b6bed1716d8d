// What a fit says about other budgets: optima, their inverses, and how FLOPs depend on model size.
#pragma once

#include <span>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// The trend of C / (6·N·D) in ln N over the runs by least squares; no slope when all N are equal.
FlopsTrend flops_trend_of(std::span<const Observation> runs);

/// Minimises E + A/N^alpha + B/D^beta over N with C = 6·N·D·ratio(N): with a constant ratio, N =
/// G·(C/(6·ratio))^a (Hoffmann et al. 2022, eq. 4); a slope s of the ratio in ln N gives a = beta/(alpha +
/// beta·(1 + s)).
struct SurfaceOptimum {
  double N, D, loss;
};
SurfaceOptimum surface_optimum(const ParametricFit::Surface& surface, const FlopsTrend& trend, double C);

}  // namespace minichilla
