// What a fit says about other budgets: optima, their inverses, losses and costs elsewhere, and how FLOPs
// depend on model size.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// The trend of C / (6·N·D) in ln N over the runs by least squares; no slope when all N are equal.
FlopsTrend flops_trend_of(std::span<const Observation> runs);

/// Minimises E + A/N^alpha + B/D^beta over N with C = 6·N·D·ratio(N): with a constant ratio, N =
/// G·(C/(6·ratio))^a (Hoffmann et al. 2022, eq. 4); a slope s of the ratio in ln N gives a = beta/(alpha +
/// beta·(1 + s)).
struct SurfaceOptimum {
  double N, D, loss;
};
SurfaceOptimum surface_optimum(const ParametricFit::Surface& surface, const FlopsTrend& trend, double C);

/// What any N and D reach by the surface of approach 3, and what they cost.
struct Allocation {
  double C, N, D;  ///< C = 6·N·D·ratio(N)
  Estimate loss;
  Estimate
      least_C;    ///< the fewest FLOPs with that loss, by the best N and D; NaN where that is beyond e^±600
  Estimate cost;  ///< C / least_C: 1 for the optimum, 2 where twice the FLOPs are spent
};

/// By the surface that stands for the fit; nothing when there is none. C is infinite where a double cannot
/// hold it; the loss is right all the same.
std::optional<Allocation> allocation(const Fit& fit, double N, double D);

/// The same for the tokens that a budget of C FLOPs pays for a model of N parameters.
std::optional<Allocation> allocation_of_budget(const Fit& fit, double N, double C);

/// As to_json() of optima, with `least_flops` and `cost`; `approach` names where the surface came from.
nlohmann::json to_json(const std::vector<Allocation>& allocations, const std::string& approach);

/// The model sizes of Hoffmann et al. 2022 (arXiv 2203.15556), table 3.
inline constexpr double kHoffmannTable3Params[] = {400e6, 1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12, 10e12};

/// A petaFLOP/s for a day.
inline constexpr double kFlopsPerPfDay = 8.64e19;

}  // namespace minichilla
