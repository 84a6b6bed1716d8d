// Training on repeated data (Muennighoff et al. 2023, arXiv 2305.16264): a repetition of the text is worth
// less than fresh text, and parameters beyond what the text can fill are worth less too.
//
//   D' = U_D + U_D·R_D*·(1 − exp(−R_D/R_D*)),   R_D = D/U_D − 1 repetitions of U_D unique tokens
//   N' = U_N + U_N·R_N*·(1 − exp(−R_N/R_N*)),   R_N = N/U_N − 1, U_N the best size for U_D tokens
//   L = E + A/N'^alpha + B/D'^beta
//
// E, A, B, alpha and beta are those of training on each token once: given, or fitted to the runs of one
// epoch. R_D* and R_N* minimise Huber losses of ln L. The objective is often a nearly flat valley in R_D*:
// its profile interval says more than its value.
#pragma once

#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/law_fit.h"

namespace minichilla {

/// Uses the runs whose unique tokens are known; FitOptions::base_law gives the surface.
LawFit fit_repeated_data(const RunTable& table, const FitOptions& options);

/// The loss of N parameters and D tokens of a text of `unique` tokens.
double repeated_loss(const ParametricFit::Surface& base, double repetitions_tokens, double repetitions_params,
                     double N, double D, double unique);

}  // namespace minichilla
