// The learning rate of every step.
#pragma once

#include <cstdint>

#include "trainer/run_config.h"

namespace minichilla {

/// Linear warmup, then half a cosine whose length is matched to the run (Loshchilov & Hutter 2017, without
/// restarts; Hoffmann et al. 2022 show why the lengths must match). With S steps of which W = round(warmup ·
/// S), at least 1, warm up: step s ≤ W has peak · s / W, so step W has the peak; step S has final · peak.
/// When W ≥ S the run ends inside its warmup and the last step of S = W has the peak.
class LearningRateSchedule {
 public:
  LearningRateSchedule(const ScheduleConfig& config, double peak, std::int64_t steps);

  /// The rate of step 1 … steps.
  double rate(std::int64_t step) const;
  std::int64_t warmup_steps() const { return warmup_steps_; }

 private:
  double peak_, final_;
  std::int64_t steps_, warmup_steps_;
};

}  // namespace minichilla
