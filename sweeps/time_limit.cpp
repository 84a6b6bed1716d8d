#include "sweeps/time_limit.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <utility>

#include "sweeps/slurm_client.h"
#include "sweeps/slurm_folder.h"
#include "trainer/run_directory.h"

namespace minichilla {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

double seconds_to_checkpoint(const RunConfig& config, const PlannedRun& planned, double fraction) {
  const Interval& every = config.train.checkpoint.every;
  const double to_end = planned.estimated_s > 0 ? (1 - fraction) * planned.estimated_s
                                                : std::numeric_limits<double>::infinity();
  double to_checkpoint = every.value;
  if (every.unit == Interval::Unit::fraction) to_checkpoint *= planned.estimated_s;
  if (every.unit == Interval::Unit::steps) {
    to_checkpoint *= planned.estimated_s / static_cast<double>(config.train.steps());
  }
  return std::min(to_checkpoint, to_end);
}

double slurm_seconds_left(const std::filesystem::path& sweep) {
  const char* job = std::getenv("SLURM_JOB_ID");
  if (!job) return std::numeric_limits<double>::quiet_NaN();
  // The job id of one of an array's tasks is the array's, and names all of them.
  const char* array = std::getenv("SLURM_ARRAY_JOB_ID");
  const char* task = std::getenv("SLURM_ARRAY_TASK_ID");
  const std::string name = array && task ? std::string(array) + "_" + task : job;
  return slurm_time_left(name) - read_slurm_options(sweep).grace_s;
}

TimeLimit::TimeLimit(std::filesystem::path sweep, double seconds_left)
    : sweep_(std::move(sweep)), seconds_left_(seconds_left), begin_s_(steady_seconds()) {}

bool TimeLimit::allows(const PlannedRun& planned, double fraction) {
  if (std::exchange(first_, false)) return true;
  const RunConfig config = read_run_config(run_folder(sweep_, planned.run_id));
  return suffices(seconds_left_, steady_seconds() - begin_s_,
                  seconds_to_checkpoint(config, planned, fraction));
}

}  // namespace minichilla
