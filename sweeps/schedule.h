// Runs on workers that take the longest first: when the last one ends, and how busy the workers were.
#pragma once

#include <vector>

namespace minichilla {

struct Schedule {
  int workers = 0;
  double makespan_s = 0;  ///< until the last run has ended
  double work_s = 0;      ///< of all runs
  double longest_s = 0;   ///< of one run: no number of workers ends earlier
  /// Of the workers' time until then, 0 to 1.
  double utilisation() const { return makespan_s > 0 ? work_s / (makespan_s * workers) : 1; }
};

/// `seconds`: of each run. At least one worker.
Schedule simulate_schedule(std::vector<double> seconds, int workers);

}  // namespace minichilla
