#include "sweeps/work_clock.h"

#include <algorithm>

namespace minichilla {
namespace {

// Worker-seconds that an expected speed weighs against the measured one.
constexpr double kExpectationWeight = 5;

}  // namespace

void WorkClock::add(double work, double fraction) {
  jobs_.push_back({work, fraction, fraction});
}

void WorkClock::set(std::size_t job, double fraction) {
  jobs_[job].fraction = fraction;
}

void WorkClock::pass(int working) {
  const auto now = std::chrono::steady_clock::now();
  pass_seconds(std::chrono::duration<double>(now - last_).count(), working);
  last_ = now;
}

void WorkClock::pass_seconds(double seconds, int working) {
  worker_seconds_ += seconds * working;
}

double WorkClock::fraction() const {
  double done = 0, all = 0;
  for (const Job& job : jobs_) {
    all += job.work;
    done += job.work * job.fraction;
  }
  return all > 0 ? done / all : 1;
}

double WorkClock::work_per_second() const {
  double done = 0;
  for (const Job& job : jobs_) done += job.work * std::max(0.0, job.fraction - job.initial);
  const double weight = expected_ > 0 ? kExpectationWeight : 0;
  const double seconds = worker_seconds_ + weight;
  return seconds > 0 ? (done + weight * expected_) / seconds : 0;
}

double WorkClock::eta_s() const {
  const double speed = work_per_second();
  if (speed <= 0) return -1;
  double left = 0, longest = 0;
  for (const Job& job : jobs_) {
    const double remaining = job.work * (1 - job.fraction);
    left += remaining;
    longest = std::max(longest, remaining);
  }
  return std::max(left / workers_, longest) / speed;
}

double WorkClock::elapsed_s() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

}  // namespace minichilla
