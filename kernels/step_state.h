// What changes from optimizer step to step and lives in device memory, so that operations need no host round trip.
#pragma once

#include <cstdint>

namespace minichilla {

/// Written by the host before a step (learning_rate, step) and by operations during it (the rest). Replicas that
/// train together hold an array of R of these; R is 1 now.
struct StepState {
  float learning_rate = 0;    ///< of this step
  std::int64_t step = 0;      ///< 1 for the first update: AdamW's bias correction
  double loss_sum = 0;        ///< nats, summed over the step's tokens
  double gradient_norm = 0;   ///< before clipping
  float gradient_scale = 1;   ///< what AdamW multiplies gradients with: min(1, clip / gradient_norm)
  std::int32_t finite = 1;    ///< 0: a loss or gradient was not finite; AdamW leaves every value as it is
};

}  // namespace minichilla
