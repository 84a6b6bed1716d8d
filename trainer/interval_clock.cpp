#include "trainer/interval_clock.h"

#include <chrono>
#include <cmath>

namespace minichilla {
namespace {

/// How many intervals of `length` steps have ended after `step`; the small number lets 0.1 of 10 steps be one
/// step.
double ended_intervals(std::int64_t step, double length) {
  return std::floor(static_cast<double>(step) / length + 1e-9);
}

}  // namespace

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool IntervalClock::due(std::int64_t step, double now_s) {
  if (interval_.unit == Interval::Unit::seconds) {
    if (now_s - last_s_ < interval_.value) return false;
    last_s_ = now_s;
    return true;
  }
  const double length = interval_.unit == Interval::Unit::steps
                            ? interval_.value
                            : interval_.value * static_cast<double>(steps_);
  return ended_intervals(step, length) > ended_intervals(step - 1, length);
}

}  // namespace minichilla
