// Scaling at a fixed degree of over-training (Gadre et al. 2024, arXiv 2403.08540):
//
//   L = E + (a·M^eta + b·M^(−eta))·C^(−eta),   M = D/N tokens per parameter
//
// Runs of small models at two values of M or more predict larger ones, also far from the compute-optimal M.
// It is L(N, D) with alpha = beta = 2·eta, C = 6·N·D and the terms written in C and M.
#pragma once

#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/law_fit.h"

namespace minichilla {

/// Squares of L̂ − L, by variable projection: eta outside, non-negative E, a and b inside. Constants: E, a, b,
/// eta.
LawFit fit_overtraining(const RunTable& table, const FitOptions& options);

/// The loss by the constants of fit_overtraining().
double overtrained_loss(const LawFit& law, double C, double tokens_per_parameter);

}  // namespace minichilla
