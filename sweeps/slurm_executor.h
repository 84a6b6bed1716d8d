// Runs a sweep through SLURM: arrays of workers, each of which takes one run after the other, and a job that
// follows them up. Which jobs there are is squeue's to say; what was asked for is in SWEEP/slurm.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/slurm_client.h"
#include "sweeps/slurm_folder.h"

namespace minichilla {

/// What decides how many workers to submit.
struct WorkerDemand {
  int wanted = 0;
  int living = 0;           ///< pending or running
  int throttle = 0;         ///< workers that may run at once; 0: all
  int running_at_most = 0;  ///< of the living ones, by the throttles of their arrays
  int max_array_size = 1001;
};

struct WorkerArray {
  int tasks = 0;
  int throttle = 0;    ///< 0: none
  std::string job_id;  ///< once submitted
};

/// Arrays that bring the workers up to what is wanted: none larger than allowed, all together under the
/// throttle.
std::vector<WorkerArray> arrays_to_submit(const WorkerDemand& demand);

/// How `sweep submit` was called.
struct SubmitRequest {
  enum class Kind {
    top_up,   ///< by a person
    replace,  ///< by a worker's script that SLURM killed, unless its job runs again
    release,  ///< by a worker's script that ends: only `released`, submits nothing
    go_on     ///< by the job that follows the workers up
  };
  Kind kind = Kind::top_up;
  std::filesystem::path sweep;
  SlurmOptions options;
  std::string job;     ///< the job that asks, which is not counted
  int restarts = 0;    ///< of that job when it began
  bool ended = false;  ///< replace: that job ends for good, whatever SLURM says
};

struct Submission {
  int runs = 0, to_do = 0;  ///< to do: neither done nor diverged
  int wanted = 0, living = 0;
  std::vector<std::string> released;  ///< workers whose launch had failed, for SLURM to try again
  std::vector<WorkerArray> arrays;    ///< that were submitted
  std::string report_job;             ///< that was submitted
  std::string note;                   ///< why nothing was; one line
};

/// Submits what is missing, and releases what SLURM holds since it could not start it; one process at a time
/// (others wait). InputError for what SLURM refuses and for options that cannot work; SlurmUnreachable.
Submission submit_sweep(const SubmitRequest& request);

/// What submit_sweep would submit: the script and the calls of sbatch. Changes nothing; works without SLURM.
std::string describe_submission(const SubmitRequest& request);

/// Cancels the job that follows up, then the workers, which checkpoint. Returns what was cancelled.
std::vector<SlurmJob> cancel_sweep(const std::filesystem::path& sweep);

/// Jobs that work on the sweep or follow its workers up, those that ended lately included; those that were
/// replaced excluded.
struct SweepJobs {
  std::vector<SlurmJob> workers, reports;
};
SweepJobs sweep_jobs(const std::filesystem::path& sweep);

}  // namespace minichilla
