// Approach 1 of Hoffmann et al. 2022: at each FLOP count, which model has the lowest loss over all training
// curves?
//
// A cosine schedule makes a loss before its end too high, and curves are comparable only at equal progress.
// In a sweep whose schedules are matched to each run's tokens, all runs of a budget C_b have done the same
// share f of their schedule at C = f·C_b; so by default only points with at least 80 % of the run behind them
// are compared, and only with each other. Where these do not reach for a law (long curves of one schedule, or
// curves that end at different C) all points are used, and a note says so.
//
// A C at which the best model is the smallest or the largest of those compared tells only a bound: it is
// dropped, as is one with fewer than four sizes. What remains falls into stretches of C that one size wins.
// Each stretch gives one point, at its middle in log C, weighted by its length: a line through the corners of
// a staircase would be too flat.
//
// Intervals: each curve is shifted by run-to-run noise (from the residuals of approach 2, or else of approach
// 3), and a stretch that ends for want of data rather than because the next size takes over has its N drawn
// anywhere between it and its neighbours, since a winner on a ladder of sizes is known no better than that.
#pragma once

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/fit.h"

namespace minichilla {

EnvelopeFit fit_envelope(const RunTable& table, const FitOptions& options, const LossNoise& noise);

}  // namespace minichilla
