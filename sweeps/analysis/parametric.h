// Approach 3 of Hoffmann et al. 2022: the surface L(N, D) = E + A/N^alpha + B/D^beta through the ends of all
// runs.
//
// Needs at least eight runs of three sizes and three token counts, and more than one budget. An exponent that
// runs to the edge of what is looked at (0.01 to 5) means that the runs do not determine the surface:
// refused. E that runs to zero is reported, not refused.
//
// Intervals: runs are drawn with replacement inside each budget (the stratified pairs bootstrap of Hoffmann
// et al. and Besiroglu et al. 2024), each resample started from the main fit and from its own best grid
// points. docs/fitting.md gives the measured coverage with few runs.
#pragma once

#include "sweeps/analysis/fit.h"

namespace minichilla {

ParametricFit fit_parametric(const RunTable& table, const FitOptions& options);

}  // namespace minichilla
