// How far many jobs on several workers are, and when the last of them will end.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace minichilla {

/// Work is in any unit that is proportional to time (estimated seconds, else FLOPs).
class WorkClock {
 public:
  explicit WorkClock(int workers) : workers_(workers) {}

  /// A job, of which `fraction` was done before.
  void add(double work, double fraction);
  /// Work per second of one worker before anything was measured.
  void expect(double work_per_second) { expected_ = work_per_second; }

  void set(std::size_t job, double fraction);
  /// Time has passed with `working` busy workers since the last call.
  void pass(int working);
  /// For tests: as pass(), but `seconds` of it.
  void pass_seconds(double seconds, int working);

  /// Of all work, 0 to 1.
  double fraction() const;
  /// The larger of: what is left over all workers, and the longest job that is left. Negative while unknown.
  double eta_s() const;
  /// Since construction.
  double elapsed_s() const;

 private:
  struct Job {
    double work, initial, fraction;
  };
  double work_per_second() const;

  int workers_;
  double expected_ = 0;
  double worker_seconds_ = 0;
  std::vector<Job> jobs_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now(), last_ = begin_;
};

}  // namespace minichilla
