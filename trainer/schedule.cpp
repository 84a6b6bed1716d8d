#include "trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace minichilla {

LearningRateSchedule::LearningRateSchedule(const ScheduleConfig& config, double peak, std::int64_t steps)
    : peak_(peak),
      final_(config.final * peak),
      steps_(steps),
      warmup_steps_(std::max<std::int64_t>(std::llround(config.warmup * static_cast<double>(steps)), 1)) {}

double LearningRateSchedule::rate(std::int64_t step) const {
  if (step <= warmup_steps_) return peak_ * static_cast<double>(step) / static_cast<double>(warmup_steps_);
  const double progress =
      static_cast<double>(step - warmup_steps_) / static_cast<double>(steps_ - warmup_steps_);
  return final_ + (peak_ - final_) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace minichilla
