// What Hoffmann et al. 2022 (arXiv 2203.15556) found, for comparison.
#pragma once

#include <array>

namespace minichilla {

/// Table 2: N_opt ∝ C^a, D_opt ∝ C^b with the 10th and 90th percentiles of their bootstrap.
struct HoffmannExponents {
  double a, a_low80, a_high80;
  double b, b_low80, b_high80;
};
inline constexpr HoffmannExponents kHoffmannEnvelope = {0.50, 0.488, 0.502, 0.50, 0.501, 0.512};
inline constexpr HoffmannExponents kHoffmannIsoflop = {0.49, 0.462, 0.534, 0.51, 0.483, 0.529};
inline constexpr HoffmannExponents kHoffmannParametric = {0.46, 0.454, 0.455, 0.54, 0.542, 0.543};

/// Table 3, approach 1: 1e9 parameters and 20.2e9 tokens are optimal for 1.21e20 FLOPs. With a = b = 0.50
/// this point gives the whole line: about 20 tokens per parameter at every budget.
struct HoffmannPoint {
  double C, N, D;
};
inline constexpr HoffmannPoint kHoffmannAnchor = {1.21e20, 1e9, 20.2e9};

/// The smallest budget of their IsoFLOP profiles: below it the line is an extrapolation.
inline constexpr double kHoffmannSmallestBudget = 6e18;

}  // namespace minichilla
