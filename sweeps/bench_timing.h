// How long something takes: many short samples, the best and the median of them.
#pragma once

#include <cstdint>
#include <functional>

namespace minichilla {

struct Timing {
  double best_s = 0, median_s = 0;  ///< of one repetition
  std::int64_t samples = 0;         ///< that the two are taken from
  std::int64_t repetitions = 0;     ///< in each sample
};

/// Times `run(n)`, which does its work n times over and returns when all of it is done, for about `seconds`:
/// two calls to warm up, then at least three samples of as many repetitions as make about `samples` of them:
/// the more, the shorter, and the likelier that one passes undisturbed on a machine with other work.
Timing time_repetitions(double seconds, const std::function<void(std::int64_t)>& run, int samples = 25);

}  // namespace minichilla
