// Who works on a sweep: the jobs that SLURM knows and the processes that own the newest attempts, joined.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/slurm_executor.h"
#include "sweeps/status.h"

namespace minichilla {

/// What SLURM says about a sweep that was submitted.
struct JobsView {
  bool submitted = false;  ///< false: the sweep has no jobs, and all else is empty
  int wanted = 0;
  SweepJobs jobs;
  std::map<std::string, SlurmDetail> details;           ///< by job id; what scontrol knows
  std::map<std::string, std::string> accounted_states;  ///< by job id, of tasks that squeue has forgotten
  std::string problem;                                  ///< why it could not be asked; one line
};

/// Asks squeue, scontrol and, where there is one, sacct. What they cannot say is in `problem`, no exception.
JobsView look_at_jobs(const std::filesystem::path& sweep);

struct SweepWorker {
  std::string name;   ///< "17_2", or "pid 123"
  std::string state;  ///< pending, running, requeued, preempted, ending, ended, cancelled or lost
  std::string node;
  std::string run_id;  ///< that it works on
  std::string note;    ///< why it waits, how it was lost
  int restarts = 0;
  double elapsed_s = kUnknown, left_s = kUnknown;
};

/// Workers by SLURM's order, then processes outside of SLURM. Runs whose job has ended are `interrupted` at
/// once, before their heartbeat could be watched for long enough.
std::vector<SweepWorker> join_workers(const std::filesystem::path& sweep, const JobsView& view,
                                      std::vector<RunStatus>& runs);

/// Table of those that wait, work or were lost, at most `most_rows`, a line of counts, and the follower;
/// empty without workers.
std::string workers_text(const JobsView& view, const std::vector<SweepWorker>& workers,
                         std::size_t most_rows);
nlohmann::ordered_json workers_json(const JobsView& view, const std::vector<SweepWorker>& workers);

/// Seconds until the runs at work and those that wait have ended, by what was measured so far, on as many
/// workers as are at work; negative while that is unknown.
double measured_eta_s(const std::vector<RunStatus>& runs);

}  // namespace minichilla
