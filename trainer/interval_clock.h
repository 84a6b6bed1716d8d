// When something that happens at intervals is due.
#pragma once

#include <cstdint>

#include "trainer/run_config.h"

namespace minichilla {

/// Seconds on a clock that never goes backwards, since some moment.
double seconds_now();

/// Asked once for every step. Fractions and numbers of steps depend on the step alone, so a resumed run
/// does the same things after the same steps; times count from the construction and from the last time it was
/// due.
class IntervalClock {
 public:
  /// `steps`: of the whole run. `now_s`: seconds on any steady clock.
  IntervalClock(const Interval& interval, std::int64_t steps, double now_s)
      : interval_(interval), steps_(steps), last_s_(now_s) {}

  /// Whether it is due after step 1 … steps.
  bool due(std::int64_t step, double now_s);

 private:
  Interval interval_;
  std::int64_t steps_;
  double last_s_;
};

}  // namespace minichilla
