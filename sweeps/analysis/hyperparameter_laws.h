// How the best learning rate and batch size grow with N and D (Li et al. 2025, arXiv 2503.04715): power laws
// through the best settings of each N and D.
//
// One best run per cell would be mostly noise, so the settings of all runs within 0.25 % of the cell's lowest
// loss are averaged in logarithms. Cells are resampled for intervals.
#pragma once

#include <vector>

#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/law_fit.h"

namespace minichilla {

/// "learning_rate" = c·N^exponent_N·D^exponent_D and "batch_tokens" = c·D^exponent_D.
std::vector<LawFit> fit_hyperparameter_laws(const RunTable& table, const FitOptions& options);

}  // namespace minichilla
