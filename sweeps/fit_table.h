// A fit as tables for the terminal.
#pragma once

#include <string>

#include "sweeps/analysis/compare.h"
#include "sweeps/analysis/extrapolate.h"
#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/predict.h"

namespace minichilla {

/// What `minichilla fit` prints: the exponents of the three approaches beside those of Hoffmann et al., the
/// surface, the minimum of each budget, predictions, what was left out and why, and the answer in one
/// sentence.
std::string fit_table(const Fit& fit);

/// One row per optimum, with 80 % intervals where there are any; PF-days where a budget is worth them.
std::string optimum_table(const std::vector<Optimum>& optima);

/// One row per N and D: the loss, and the FLOPs beside the fewest that reach it.
std::string allocation_table(const std::vector<Allocation>& allocations);

/// One row per end of a schedule: the loss with intervals, and the errors on finished runs. `found` is the
/// run's loss at its own end, where it is known.
std::string extrapolation_table(const Curve& curve, const std::optional<double>& found,
                                const Extrapolation& extrapolation);

/// How wrong approach 2 would be on this grid without any noise; empty where no surface tells.
std::string predicted_bias_sentence(const IsoflopFit& fit);

/// One row per constant that both fits have.
std::string difference_table(const std::vector<Difference>& differences);

}  // namespace minichilla
