// How wrong approach 2 is on this very grid, were a fitted surface the truth.
//
// A parabola is not the shape of the valley: over a wide range of sizes, or one that drifts off the optimum
// with the budget, its minima are off by an amount that changes with the budget, and so is the exponent, with
// no noise at all (arXiv 2603.22339). Losses of the surface at the runs' own N and D, fitted as the runs
// were, tell by how much.
#pragma once

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// Fills fit.predicted_bias_a and fit.predicted_bias_a_used, with intervals from the surface's resamples.
/// Budgets that approach 2 refused take no part.
void add_predicted_bias(const RunTable& table, const ParametricFit& surface, const FlopsTrend& trend,
                        const FitOptions& options, IsoflopFit& fit);

}  // namespace minichilla
