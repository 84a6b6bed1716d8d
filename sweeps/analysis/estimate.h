// A number with its uncertainty.
#pragma once

#include <optional>

namespace minichilla {

struct Interval80And95 {
  double low80, high80;  ///< 10th to 90th percentile of the bootstrap, as Hoffmann et al.
  double low95, high95;
};

/// A value with its bootstrap interval; none where fewer than half of the resamples gave one.
struct Estimate {
  double value = 0;
  std::optional<Interval80And95> interval;
};

}  // namespace minichilla
