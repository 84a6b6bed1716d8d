// Approach 1 as others read the frontier: the lower convex hull of all curve points (McLeish et al. 2025,
// arXiv 2502.06857), and the best run in each of 1500 bins of C (Hoffmann et al. 2022).
//
// Both use whole curves, whatever the schedule, and fit one line through all points of the staircase; they
// are for comparison with fits made elsewhere. Points won by the smallest or the largest model tell only a
// bound: each reading is given without and with them.
#pragma once

#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// Readings that have two points and more.
std::vector<FrontierLaw> fit_frontier_laws(const std::vector<Curve>& curves);

}  // namespace minichilla
