// Approach 2 of Hoffmann et al. 2022: at each budget the loss against ln N is a valley; a parabola gives its
// minimum.
//
// The valley is not symmetric (alpha ≠ beta, and sizes are rarely centred), so a parabola over a wide range
// of sizes is biased (Porian et al. 2024; arXiv 2603.22339). It is therefore fitted to a window of sizes
// around its own minimum: those within a factor of FitOptions::isoflop_window, and at least the nearest five.
// A minimum is never made up: a parabola that opens downwards, has its minimum outside the sampled sizes, or
// rests on fewer than four sizes is refused with its reason.
//
// Intervals: the sizes of a sweep are chosen, not drawn, and often have one run each, so runs are not
// resampled (with five sizes a pairs bootstrap would drop two of them at every budget). Instead every run's
// loss is drawn anew: the fitted parabola times a residual of any budget, in the manner of a regression
// bootstrap with leverage-corrected residuals, scaled for the few degrees of freedom as in Student's t.
// Window and refusals are decided anew each time.
// Where the minima scatter about the law more than that explains, the excess is added to each resample's
// minima.
#pragma once

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/fit.h"

namespace minichilla {

/// `noise` receives the pooled residuals, for approach 1; unknown when no budget was used.
IsoflopFit fit_isoflop(const RunTable& table, const FitOptions& options, LossNoise& noise);

}  // namespace minichilla
