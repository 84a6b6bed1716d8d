// How long something takes: many short samples, the best and the median of them.
#pragma once

#include <cstdint>
#include <functional>

namespace minichilla {

struct Timing {
  double best_s = 0, median_s = 0;  ///< of one repetition
  /// The median over samples of what `most_per_s` could have done in the time of one repetition; 0 without
  /// it.
  double median_possible = 0;
  std::int64_t samples = 0;      ///< that the two are taken from
  std::int64_t repetitions = 0;  ///< in each sample
};

/// Measures for about so many seconds how much of something is done in a second, at most, just now.
using MostPerSecond = std::function<double(double seconds)>;

/// Times `run(n)`, which does its work n times over and returns when all of it is done, for about `seconds`:
/// two calls to warm up, then at least three samples of as many repetitions as make about `samples` of them:
/// the more, the shorter, and the likelier that one passes undisturbed on a machine with other work.
/// `most_per_s`, which may be empty, measures before and after each sample, for a small part of its time: the
/// speed of a machine with other work, or with a clock that heat governs, changes from second to second.
Timing time_repetitions(double seconds, const std::function<void(std::int64_t)>& run,
                        const MostPerSecond& most_per_s = {}, int samples = 25);

}  // namespace minichilla
