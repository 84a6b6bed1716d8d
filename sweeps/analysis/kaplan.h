// The laws of Kaplan et al. 2020 (arXiv 2001.08361), which have no irreducible loss:
//
//   L_N   L = (N_c/N)^alpha_N                          each size at its most tokens
//   L_D   L = (D_c/D)^alpha_D                          each token count at its best size
//   L_C   L = (C_c/C)^alpha_C                          the best loss of each budget
//   L_ND  L = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D                (eq. 1.5), all runs
//   L_NS  L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S                      (eq. 1.6), S_min = S/(1 + B_crit/B)
//   B_crit = B_star / L^(1/alpha_B), from runs of several batch sizes to the same losses:
//            (S/S_min − 1)(E/E_min − 1) = 1 with E = B·S tokens, and B_crit = E_min/S_min
//
// N is the parameters without embeddings where the runs tell them. Constants come from squares of log-loss
// residuals, with pairs bootstraps. S counts steps, B tokens per step.
#pragma once

#include <vector>

#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/law_fit.h"

namespace minichilla {

/// All of them, those refused with their reason.
std::vector<LawFit> fit_kaplan(const RunTable& table, const FitOptions& options);

}  // namespace minichilla
