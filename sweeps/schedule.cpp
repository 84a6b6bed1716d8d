#include "sweeps/schedule.h"

#include <algorithm>
#include <functional>
#include <queue>

namespace minichilla {

Schedule simulate_schedule(std::vector<double> seconds, int workers) {
  std::sort(seconds.begin(), seconds.end(), std::greater<>());
  Schedule schedule;
  schedule.workers = workers;
  if (!seconds.empty()) schedule.longest_s = seconds.front();
  std::priority_queue<double, std::vector<double>, std::greater<>> busy_until;
  for (int worker = 0; worker < workers; ++worker) busy_until.push(0);
  for (const double duration : seconds) {
    const double done = busy_until.top() + duration;
    busy_until.pop();
    busy_until.push(done);
    schedule.makespan_s = std::max(schedule.makespan_s, done);
    schedule.work_s += duration;
  }
  return schedule;
}

}  // namespace minichilla
