// Whether a run is worth starting in the time that a worker's job has left.
#pragma once

#include <filesystem>

#include "sweeps/analysis/sweep_folder.h"
#include "trainer/run_config.h"

namespace minichilla {

/// Seconds until a run, of which `fraction` is trained, has written its next regular checkpoint or ended. 0
/// where neither an interval in seconds nor an estimate of the plan tells.
double seconds_to_checkpoint(const RunConfig& config, const PlannedRun& planned, double fraction);

/// Seconds until the SLURM job that this process belongs to is told to stop; not-a-number outside of SLURM,
/// without a limit, and while squeue cannot say. The sweep's submit.yaml has how long before the limit the
/// signal comes.
double slurm_seconds_left(const std::filesystem::path& sweep);

/// Asked before each run that a worker takes. The first one is always allowed: a job that has just begun
/// cannot get more time than it has, and a worker that refused would be started again for ever.
class TimeLimit {
 public:
  /// `seconds_left`: from now; not-a-number: no limit.
  TimeLimit(std::filesystem::path sweep, double seconds_left);
  bool allows(const PlannedRun& planned, double fraction);
  /// The decision alone; `now_s` after construction.
  static bool suffices(double seconds_left, double now_s, double needed_s) {
    return !(seconds_left - now_s < needed_s);
  }

 private:
  std::filesystem::path sweep_;
  double seconds_left_, begin_s_;
  bool first_ = true;
};

}  // namespace minichilla
