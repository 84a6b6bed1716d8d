// Constants of a LawFit with bootstrap intervals.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sweeps/analysis/bootstrap.h"
#include "sweeps/analysis/fit.h"
#include "sweeps/analysis/law_fit.h"

namespace minichilla {

/// The constants of a law from how often each observation counts; not-a-number where there are none.
using ConstantsOf = std::function<std::vector<double>(const std::vector<double>& weight)>;
/// How often a resample draws each observation.
using DrawWeights = std::function<std::vector<double>(ResampleRandom&)>;

/// Every observation with replacement.
DrawWeights draw_from(std::size_t observations);

/// Fills constants and runs_used of `fit`, from all observations and from options.bootstrap resamples. Where
/// a constant is not finite there are none, and fit.refused is `undetermined`.
void fill_law(const std::vector<std::string>& names, const ConstantsOf& constants_of, const DrawWeights& draw,
              std::size_t observations, const FitOptions& options, std::uint64_t stream,
              const std::string& undetermined, LawFit& fit);

}  // namespace minichilla
