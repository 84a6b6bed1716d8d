// Straight lines in logarithms: y = coefficient · x^exponent by least squares.
#pragma once

#include <optional>
#include <span>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// ln y = intercept + slope · ln x.
struct LogLine {
  double slope = 0, intercept = 0;
};

/// Least squares in logs; nothing when all x are equal. `weights` may be empty (all one).
std::optional<LogLine> fit_log_line(std::span<const double> x, std::span<const double> y,
                                    std::span<const double> weights = {});

/// The laws N ∝ C^a and D ∝ C^b through points (C, N, D).
std::optional<PowerLaws::Resample> fit_laws(std::span<const double> C, std::span<const double> N,
                                            std::span<const double> D, std::span<const double> weights = {});

/// Values from `laws`, intervals from the resamples that gave laws; `resamples` were asked for.
PowerLaws with_intervals(const PowerLaws::Resample& laws, std::vector<PowerLaws::Resample> given,
                         int resamples);

}  // namespace minichilla
