// SWEEP/slurm: what a sweep keeps about its jobs. submit.yaml (what they ask for) · name · jobs.jsonl · logs/
// · worker.sbatch, report.sbatch (as submitted) · attempts/ (of submitting: one process at a time).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/config_fields.h"

namespace minichilla {

/// What the jobs of a sweep ask SLURM for. Empty and 0 leave it to SLURM.
struct SlurmOptions {
  int workers = 0;    ///< wanted; 0: one per run that is to do, at most kMostDefaultWorkers
  int throttle = 0;   ///< workers that run at once; 0: all
  int grace_s = 120;  ///< from the signal to the time limit
  int cpus = 1;       ///< per worker
  std::string time;   ///< limit of a worker, as SLURM writes it: "4:00:00"
  std::string partition, account, qos, gres, constraint, mem;
  std::vector<std::string> modules;  ///< loaded before the worker starts
  std::string container;             ///< a command that others are given to: "apptainer exec --nv image.sif"
  std::vector<std::string> extra;    ///< more options of sbatch, one each
  std::string worker_template;       ///< file in place of the built-in scripts/slurm/worker.sbatch
  std::string program;               ///< minichilla as the nodes see it; empty: the one that submits
  std::string device = "auto";
  bool report = true;  ///< follow the workers up: resubmit them, and fit and report in the end
};
inline constexpr int kMostDefaultWorkers = 32;

template <class Fields>
void describe(Fields& fields, SlurmOptions& options) {
  fields.number("workers", options.workers, 0, 1'000'000);
  fields.number("throttle", options.throttle, 0, 1'000'000);
  fields.number("grace_s", options.grace_s, 1, 86'400);
  fields.number("cpus", options.cpus, 1, 4096);
  fields.text("time", options.time);
  fields.text("partition", options.partition);
  fields.text("account", options.account);
  fields.text("qos", options.qos);
  fields.text("gres", options.gres);
  fields.text("constraint", options.constraint);
  fields.text("mem", options.mem);
  fields.texts("modules", options.modules);
  fields.text("container", options.container);
  fields.texts("extra", options.extra);
  fields.text("worker_template", options.worker_template);
  fields.text("program", options.program);
  fields.text("device", options.device);
  fields.flag("report", options.report);
}

/// SWEEP/slurm
std::filesystem::path slurm_folder(const std::filesystem::path& sweep);

/// SWEEP/slurm/submit.yaml; the defaults when there is none. InputError names file, line and key.
SlurmOptions read_slurm_options(const std::filesystem::path& sweep);
void write_slurm_options(const std::filesystem::path& sweep, const SlurmOptions& options);

/// Name of the sweep's jobs in SLURM, the same for ever: the folder's name and a random part.
std::string slurm_job_name(const std::filesystem::path& sweep);
/// The same without making one: empty when nothing was submitted yet.
std::string existing_slurm_job_name(const std::filesystem::path& sweep);

/// A line of jobs.jsonl.
struct SlurmRecord {
  std::string kind;  ///< "workers" (an array), "report", or "replaced": a task that does not run again
  std::string job_id;
  int tasks = 1;
  int throttle = 0;
  double progress = 0;  ///< of the sweep's FLOPs when it was submitted, 0 to 1
};

/// In the order they were written; a torn last line is skipped. InputError names file and line.
std::vector<SlurmRecord> read_slurm_records(const std::filesystem::path& sweep);
std::vector<SlurmRecord> parse_slurm_records(const std::string& text, const std::string& file);
/// Durable when it returns.
void append_slurm_record(const std::filesystem::path& sweep, const SlurmRecord& record);

}  // namespace minichilla
