// The critical batch size (McCandlish et al. 2018, arXiv 1812.06162): runs of several batch sizes to one loss
// trade steps for tokens along (S/S_min − 1)(E/E_min − 1) = 1, and E_min/S_min is the batch at which both
// cost twice the least.
#pragma once

#include <vector>

#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/law_fit.h"

namespace minichilla {

/// B_crit(L) = B_star / L^(1/alpha_B) (Kaplan et al. 2020, eq. 1.4): S_min and E_min of each target loss by
/// squares of ln S, then a line through the ln B_crit. Needs two losses with three batch sizes each.
LawFit fit_critical_batch(const std::vector<BatchRun>& runs, const FitOptions& options);

}  // namespace minichilla
