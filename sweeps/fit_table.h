// A fit as tables for the terminal.
#pragma once

#include <string>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// What `minichilla fit` prints: the exponents of the three approaches beside those of Hoffmann et al., the
/// surface, the minimum of each budget, predictions, what was left out and why, and the answer in one
/// sentence.
std::string fit_table(const Fit& fit);

/// One row per optimum, with 80 % intervals.
std::string optimum_table(const std::vector<Optimum>& optima);

}  // namespace minichilla
