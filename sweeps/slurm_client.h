// SLURM's own commands: what they say about jobs, and what they are asked to do.
#pragma once

#include <filesystem>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace minichilla {

/// A job, or one task of an array.
struct SlurmJob {
  std::string id;        ///< "12" or "12_3", for scancel and people
  std::string job_id;    ///< of this task alone, as it sees itself in SLURM_JOB_ID
  std::string array_id;  ///< "12"
  std::string name, state, reason, node;
  double elapsed_s = 0;
  double left_s = std::numeric_limits<double>::quiet_NaN();  ///< NaN: unlimited or not said

  /// Waits, runs, or is about to.
  bool living() const;
  bool pending() const { return state == "PENDING"; }
  /// SLURM could not start it where it wanted to, and holds it until it is released: so after a crash of
  /// slurmctld, which starts again what it had forgotten of.
  bool launch_failed() const;
};

/// What scontrol adds.
struct SlurmDetail {
  int restarts = 0;
  bool preempted = false;  ///< for good: a job that is requeued instead has one more restart
  bool timed_out = false;  ///< it has had all of its time
};

/// SLURM's controller does not answer now.
class SlurmUnreachable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// "1-02:03:04", "1-02", "2:03:04", "03:04" as seconds; NaN for "UNLIMITED" and the like.
double parse_slurm_time(const std::string& text);

/// One line per job, as jobs() asks squeue for them. InputError quotes a line that is not.
std::vector<SlurmJob> parse_squeue(const std::string& text);
/// `scontrol -o show job`, by the job id of each task.
std::map<std::string, SlurmDetail> parse_scontrol_jobs(const std::string& text);

// Each of these asks one of SLURM's commands, found in PATH. Where it is missing or refuses what it was asked
// for, InputError; where it cannot reach its controller or does not answer, std::runtime_error. Both are one
// line.

/// Throws for a command of those that submitting needs.
void require_slurm();
/// Jobs of these names that squeue knows, the ones that ended lately included.
std::vector<SlurmJob> slurm_jobs(const std::vector<std::string>& names);
/// By job id, of a job or all of an array; empty when SLURM has forgotten it.
std::map<std::string, SlurmDetail> slurm_details(const std::string& job);
/// States of jobs and tasks of arrays by sacct, by job id; empty when there is no sacct or accounting is off.
std::map<std::string, std::string> slurm_accounted_states(const std::vector<std::string>& jobs);
/// Seconds that a running job or task ("12_3") has left; not-a-number when it has no limit or squeue cannot
/// tell.
double slurm_time_left(const std::string& job);
/// The most tasks that an array may have.
int slurm_max_array_size();
/// Job id of what `sbatch --parsable OPTIONS… SCRIPT` submitted.
std::string slurm_submit(const std::vector<std::string>& options, const std::filesystem::path& script);
/// Jobs or tasks that are held, as in SlurmJob::id. Those that are not held any more are no error.
void slurm_release(const std::vector<std::string>& jobs);
/// Jobs, arrays or tasks, as in SlurmJob::id. Those that have ended meanwhile are no error.
void slurm_cancel(const std::vector<std::string>& jobs);

}  // namespace minichilla
