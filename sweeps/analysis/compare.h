// Do two sweeps have different laws?
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/analysis/fit.h"

namespace minichilla {

/// One constant of an approach that both fits have.
struct Difference {
  std::string approach, constant;
  Estimate first, second;
  Estimate change;  ///< second − first, with the interval of the difference of independent resamples
  /// Whether the 95 % interval of the change leaves zero out; nothing without an interval.
  std::optional<bool> differs() const;
};

/// Both fits need bootstraps with different seeds for the intervals to be those of independent sweeps.
std::vector<Difference> compare_fits(const Fit& first, const Fit& second);

nlohmann::json to_json(const std::vector<Difference>& differences);

}  // namespace minichilla
