#include "sweeps/slurm_executor.h"

#include <spdlog/logger.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <stdexcept>
#include <thread>

#include "kernels/error.h"
#include "sweeps/slurm_script.h"
#include "sweeps/status.h"
#include "sweeps/text_table.h"
#include "trainer/attempt.h"
#include "trainer/files.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kTurnPatience{60};
constexpr std::chrono::milliseconds kTurnPoll{200};

std::string report_name(const std::string& name) {
  return name + "-report";
}

/// Submitting is an attempt in SWEEP/slurm: nobody else submits meanwhile, and a process that died here is
/// followed by the next.
std::unique_ptr<Attempt> take_turn(const fs::path& sweep) {
  const auto deadline = std::chrono::steady_clock::now() + kTurnPatience;
  for (;;) {
    try {
      return std::make_unique<Attempt>(slurm_folder(sweep));
    } catch (const RunBusyError&) {
      if (std::chrono::steady_clock::now() > deadline) {
        throw std::runtime_error(
            slurm_folder(sweep).string() + ": another `sweep submit` has been at work for " +
            std::to_string(kTurnPatience.count()) + " s (" +
            describe_owner(newest_attempt(slurm_folder(sweep))) + "); try again after it");
      }
      std::this_thread::sleep_for(kTurnPoll);
    }
  }
}

void check_options(const SlurmOptions& options) {
  const double time = options.time.empty() ? kUnknown : parse_slurm_time(options.time);
  // SLURM reads a number alone as minutes.
  const bool minutes = options.time.find_first_not_of("0123456789") == std::string::npos;
  if ((minutes ? 60 : 1) * time <= options.grace_s) {
    throw InputError("--grace: found " + std::to_string(options.grace_s) +
                     " s, expected less than the time limit --time " + options.time);
  }
}

int wanted_workers(const SlurmOptions& options, int to_do) {
  return std::min(options.workers > 0 ? options.workers : kMostDefaultWorkers, to_do);
}

/// Everything that a submission depends on.
struct Situation {
  StatusCounts counts;
  int runs = 0;
  std::string name;
  SweepJobs jobs;
  std::vector<SlurmRecord> records;

  int to_do() const { return runs - counts.ended(); }
  std::vector<SlurmJob> living_workers(const std::string& but) const;
  bool followed_up(const std::string& but) const;
  /// `max_array_size` is left as it is.
  WorkerDemand demand(const SlurmOptions& options, const std::string& but) const;
};

std::vector<SlurmJob> Situation::living_workers(const std::string& but) const {
  std::vector<SlurmJob> living;
  for (const SlurmJob& job : jobs.workers) {
    if (job.living() && job.job_id != but) living.push_back(job);
  }
  return living;
}

bool Situation::followed_up(const std::string& but) const {
  return std::any_of(jobs.reports.begin(), jobs.reports.end(),
                     [&](const SlurmJob& job) { return job.living() && job.job_id != but; });
}

WorkerDemand Situation::demand(const SlurmOptions& options, const std::string& but) const {
  WorkerDemand demand;
  std::map<std::string, int> living_of, throttle_of;
  for (const SlurmJob& job : living_workers(but)) ++living_of[job.array_id];
  for (const SlurmRecord& record : records) throttle_of[record.job_id] = record.throttle;
  for (const auto& [array, living] : living_of) {
    const int throttle = throttle_of[array];
    demand.living += living;
    demand.running_at_most += throttle > 0 ? std::min(throttle, living) : living;
  }
  demand.wanted = wanted_workers(options, to_do());
  demand.throttle = options.throttle;
  return demand;
}

Situation look(const fs::path& sweep) {
  Situation situation;
  const std::vector<RunStatus> runs = sweep_status(sweep);
  situation.runs = static_cast<int>(runs.size());
  situation.counts = count_states(runs);
  situation.jobs = sweep_jobs(sweep);
  situation.records = read_slurm_records(sweep);
  return situation;
}

std::string array_option(const WorkerArray& array) {
  std::string option = "--array=0-" + std::to_string(array.tasks - 1);
  if (array.throttle > 0) option += "%" + std::to_string(array.throttle);
  return option;
}

/// Workers of a sweep end in many ways that are no failure (preempted, cancelled, out of time), and what is
/// done is read off the folder: so their follower waits for any end.
std::string dependency_option(const std::set<std::string>& arrays) {
  std::string option = "--dependency=afterany";
  for (const std::string& array : arrays) option += ":" + array;
  return option;
}

std::set<std::string> arrays_of(const std::vector<SlurmJob>& jobs) {
  std::set<std::string> arrays;
  for (const SlurmJob& job : jobs) arrays.insert(job.array_id);
  return arrays;
}

void submit_arrays(const SubmitRequest& request, Situation& situation, Submission& submission) {
  const fs::path folder = slurm_folder(request.sweep), script = folder / "worker.sbatch";
  create_synced_folders(folder / "logs");
  replace_file(script, worker_script(request.sweep, situation.name, request.options));
  for (WorkerArray& array : submission.arrays) {
    array.job_id = slurm_submit({array_option(array)}, script);
    append_slurm_record(request.sweep,
                        {"workers", array.job_id, array.tasks, array.throttle, situation.counts.progress});
  }
}

void submit_report(const SubmitRequest& request, const Situation& situation, Submission& submission) {
  std::set<std::string> arrays = arrays_of(situation.living_workers(request.job));
  for (const WorkerArray& array : submission.arrays) arrays.insert(array.job_id);
  if (arrays.empty()) return;
  const fs::path script = slurm_folder(request.sweep) / "report.sbatch";
  replace_file(script, report_script(request.sweep, situation.name, request.options));
  submission.report_job = slurm_submit({dependency_option(arrays)}, script);
  append_slurm_record(request.sweep, {"report", submission.report_job, 1, 0, situation.counts.progress});
}

/// Progress of the sweep when the workers that `job` follows up were submitted.
double progress_before(const Situation& situation, const std::string& job) {
  double progress = 0;
  for (const SlurmRecord& record : situation.records) {
    if (record.kind == "report" && (job.empty() || record.job_id == job)) progress = record.progress;
  }
  return progress;
}

/// Whether somebody ended the workers on purpose: some were cancelled, and none went in another way.
bool called_off(const Situation& situation) {
  int cancelled = 0, others = 0;
  for (const SlurmJob& job : situation.jobs.workers) {
    if (job.state == "CANCELLED") {
      ++cancelled;
    } else if (job.state != "COMPLETED" && !job.living()) {
      ++others;
    }
  }
  return cancelled > 0 && others == 0;
}

/// Why nobody shall be submitted, or nothing.
std::string reason_against(const SubmitRequest& request, const Situation& situation) {
  if (situation.to_do() == 0) return "nothing is left to do";
  if (request.kind == SubmitRequest::Kind::top_up || !situation.living_workers(request.job).empty())
    return {};
  if (request.kind == SubmitRequest::Kind::replace) return {};
  const std::string left = counted(situation.to_do(), "run") + " left";
  if (called_off(situation)) return "the workers were cancelled, with " + left;
  if (situation.counts.progress <= progress_before(situation, request.job)) {
    return "the workers ended without getting on, with " + left +
           "; see slurm/logs and `minichilla sweep status`";
  }
  return {};
}

/// Whether the job that asks to be replaced runs again, or was cancelled by somebody.
bool needs_no_replacement(const SubmitRequest& request) {
  if (request.ended) return false;
  const auto details = slurm_details(request.job);
  const auto detail = details.find(request.job);
  if (detail == details.end()) return true;
  return detail->second.restarts > request.restarts ||
         !(detail->second.preempted || detail->second.timed_out);
}

/// A held worker would keep the job that follows the workers up from starting for ever.
std::vector<std::string> release_failed_launches(const std::vector<SlurmJob>& workers) {
  std::vector<std::string> held;
  for (const SlurmJob& job : workers) {
    if (job.launch_failed()) held.push_back(job.id);
  }
  slurm_release(held);
  return held;
}

Submission submit_in_turn(const SubmitRequest& request) {
  Submission submission;
  if (request.kind == SubmitRequest::Kind::replace) {
    if (needs_no_replacement(request)) {
      submission.note = "job " + request.job + " runs again or was cancelled";
      return submission;
    }
    append_slurm_record(request.sweep, {"replaced", request.job});
  }
  Situation situation = look(request.sweep);
  situation.name = slurm_job_name(request.sweep);
  submission.released = release_failed_launches(situation.jobs.workers);
  submission.runs = situation.runs;
  submission.to_do = situation.to_do();
  submission.note = reason_against(request, situation);
  if (!submission.note.empty()) return submission;
  WorkerDemand demand = situation.demand(request.options, request.job);
  if (demand.wanted > demand.living) demand.max_array_size = slurm_max_array_size();
  submission.wanted = demand.wanted;
  submission.living = demand.living;
  submission.arrays = arrays_to_submit(demand);
  const SlurmOptions before = read_slurm_options(request.sweep);
  write_slurm_options(request.sweep, request.options);  // a worker reads them when it begins
  try {
    if (!submission.arrays.empty()) submit_arrays(request, situation, submission);
  } catch (const InputError&) {
    write_slurm_options(request.sweep, before);  // what SLURM refuses is not worth remembering
    throw;
  }
  if (request.options.report && !situation.followed_up(request.job)) {
    submit_report(request, situation, submission);
  }
  return submission;
}

}  // namespace

std::vector<WorkerArray> arrays_to_submit(const WorkerDemand& demand) {
  int missing = demand.wanted - demand.living;
  const int room = demand.throttle > 0 ? demand.throttle - demand.running_at_most : missing;
  if (missing <= 0 || room <= 0) return {};
  int arrays = (missing + demand.max_array_size - 1) / demand.max_array_size;
  if (arrays > room) {  // each array runs one task at least
    arrays = room;
    missing = arrays * demand.max_array_size;
  }
  std::vector<WorkerArray> chunks;
  for (int i = 0; i < arrays; ++i) {
    const auto share = [&](int whole) { return whole / arrays + (i < whole % arrays ? 1 : 0); };
    WorkerArray chunk{share(missing), demand.throttle > 0 ? share(room) : 0, {}};
    if (chunk.throttle >= chunk.tasks) chunk.throttle = 0;
    chunks.push_back(chunk);
  }
  return chunks;
}

SweepJobs sweep_jobs(const fs::path& sweep) {
  SweepJobs jobs;
  const std::string name = existing_slurm_job_name(sweep);
  if (name.empty()) return jobs;
  std::set<std::string> replaced;
  for (const SlurmRecord& record : read_slurm_records(sweep)) {
    if (record.kind == "replaced") replaced.insert(record.job_id);
  }
  for (SlurmJob& job : slurm_jobs({name, report_name(name)})) {
    if (job.name != name) {
      jobs.reports.push_back(std::move(job));
    } else if (!replaced.contains(job.job_id)) {
      jobs.workers.push_back(std::move(job));
    }
  }
  return jobs;
}

Submission submit_sweep(const SubmitRequest& request) {
  check_options(request.options);
  read_plan(request.sweep);  // without a sweep or SLURM nothing is created
  require_slurm();
  if (request.kind == SubmitRequest::Kind::release) {
    Submission submission;
    submission.released = release_failed_launches(sweep_jobs(request.sweep).workers);
    return submission;
  }
  create_synced_folders(slurm_folder(request.sweep));
  const std::unique_ptr<Attempt> turn = take_turn(request.sweep);
  try {
    const Submission submission = submit_in_turn(request);
    turn->finish("done",
                 submission.note.empty()
                     ? counted(static_cast<std::int64_t>(submission.arrays.size()), "array") + " submitted"
                     : submission.note);
    return submission;
  } catch (const std::exception& error) {
    turn->finish("failed", error.what());
    throw;
  }
}

std::string describe_submission(const SubmitRequest& request) {
  check_options(request.options);
  Situation situation = look(request.sweep);
  situation.name = existing_slurm_job_name(request.sweep);
  if (situation.name.empty()) situation.name = "NAME";  // given when it is submitted
  WorkerDemand demand = situation.demand(request.options, request.job);
  std::string unknown;
  try {
    demand.max_array_size = slurm_max_array_size();
  } catch (const std::runtime_error& error) {
    unknown = error.what();
  }
  const std::vector<WorkerArray> arrays = arrays_to_submit(demand);
  std::string text = worker_script(request.sweep, situation.name, request.options);
  for (const WorkerArray& array : arrays) text += "# sbatch " + array_option(array) + " worker.sbatch\n";
  if (request.options.report && !situation.followed_up(request.job)) {
    text += "# sbatch --dependency=afterany:ARRAYS report.sbatch\n";
  }
  if (arrays.empty()) text += "# nothing to submit now\n";
  if (!unknown.empty()) text += "# MaxArraySize is not known here: " + unknown + "\n";
  return text;
}

std::vector<SlurmJob> cancel_sweep(const fs::path& sweep) {
  read_plan(sweep);
  const SweepJobs jobs = sweep_jobs(sweep);
  std::vector<SlurmJob> cancelled;
  // First who would submit others.
  for (const std::vector<SlurmJob>* kind : {&jobs.reports, &jobs.workers}) {
    std::vector<SlurmJob> living;
    for (const SlurmJob& job : *kind) {
      if (job.living()) living.push_back(job);
    }
    const std::set<std::string> ids = arrays_of(living);
    slurm_cancel({ids.begin(), ids.end()});
    cancelled.insert(cancelled.end(), living.begin(), living.end());
  }
  return cancelled;
}

}  // namespace minichilla
