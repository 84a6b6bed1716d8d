#include "sweeps/sweep_workers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "sweeps/schedule.h"
#include "sweeps/text_table.h"
#include "trainer/attempt.h"
#include "trainer/json_fields.h"
#include "trainer/progress_line.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;

std::string in_lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// SLURM's state in our words.
std::string state_of(const std::string& state, int restarts) {
  if (state == "PENDING" || state == "REQUEUED" || state == "REQUEUE_HOLD") {
    return restarts > 0 ? "requeued" : "pending";
  }
  if (state == "RUNNING" || state == "CONFIGURING") return "running";
  if (state == "COMPLETING") return "ending";
  if (state == "COMPLETED") return "ended";
  if (state == "CANCELLED") return "cancelled";
  if (state == "PREEMPTED") return "preempted";
  const bool lost = state == "FAILED" || state == "NODE_FAIL" || state == "TIMEOUT" || state == "BOOT_FAIL" ||
                    state == "OUT_OF_MEMORY" || state == "DEADLINE" || state == "REVOKED";
  return lost ? "lost" : in_lower_case(state);
}

/// Of living attempts: run by job id, and the owners that are in no job.
struct Owners {
  std::map<std::string, RunStatus*> of_job;
  std::vector<std::pair<ProcessIdentity, RunStatus*>> alone;
};

Owners owners_of(const fs::path& sweep, std::vector<RunStatus>& runs) {
  Owners owners;
  for (RunStatus& run : runs) {
    if (run.state != RunState::running) continue;
    const auto owner = read_owner(newest_attempt(run_folder(sweep, run.planned.run_id)));
    if (!owner) continue;
    if (owner->job.empty()) {
      owners.alone.emplace_back(*owner, &run);
    } else {
      owners.of_job[owner->job] = &run;
    }
  }
  return owners;
}

SweepWorker worker_of(const SlurmJob& job, const JobsView& view, Owners& owners) {
  SweepWorker worker;
  const auto detail = view.details.find(job.job_id);
  if (detail != view.details.end()) worker.restarts = detail->second.restarts;
  worker.name = job.id;
  worker.state = state_of(job.state, worker.restarts);
  worker.node = job.node;
  worker.elapsed_s = job.elapsed_s;
  worker.left_s = job.left_s;
  if (worker.state == "lost") worker.note = job.state;
  if (job.pending() && job.reason != "None") worker.note = job.reason;
  if (job.launch_failed()) worker.note += "; `sweep submit` releases it";
  const auto run = owners.of_job.find(job.job_id);
  if (run == owners.of_job.end()) return worker;
  if (job.living()) {
    worker.run_id = run->second->planned.run_id;
  } else {
    run->second->state = RunState::interrupted;
    run->second->reason = "its job " + job.id + " has ended (" + job.state + ")";
  }
  owners.of_job.erase(run);
  return worker;
}

/// What a person has to know of: all but those that came to a good end.
bool worth_a_row(const SweepWorker& worker) {
  return worker.state != "ended" && worker.state != "cancelled";
}

int urgency(const SweepWorker& worker) {
  if (worker.state == "lost" || worker.state == "preempted") return 0;
  return worker.state == "running" || worker.state == "ending" ? 1 : 2;
}

std::string duration_or_dash(double seconds) {
  return std::isnan(seconds) ? "-" : format_duration(seconds);
}

std::map<std::string, int> counts_of(const std::vector<SweepWorker>& workers) {
  std::map<std::string, int> counts;
  for (const SweepWorker& worker : workers) ++counts[worker.state];
  return counts;
}

std::string counts_line(const JobsView& view, const std::vector<SweepWorker>& workers) {
  std::string text;
  for (const auto& [state, count] : counts_of(workers)) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + state;
  }
  text = "workers: " + (text.empty() ? "none" : text);
  if (view.wanted > 0) text += "; " + std::to_string(view.wanted) + " wanted";
  for (const SlurmJob& job : view.jobs.reports) {
    if (job.living()) text += "; follow-up: job " + job.id + " " + in_lower_case(job.state);
  }
  return text + "\n";
}

/// The work of a run in units of the same time: as estimated, where all runs are, else FLOPs.
double work_of(const RunStatus& run, bool estimated) {
  return estimated ? run.planned.estimated_s : run.planned.flops;
}

}  // namespace

JobsView look_at_jobs(const fs::path& sweep) {
  JobsView view;
  view.submitted = !existing_slurm_job_name(sweep).empty();
  if (!view.submitted) return view;
  try {
    view.wanted = read_slurm_options(sweep).workers;
    view.jobs = sweep_jobs(sweep);
    std::set<std::string> living, known, forgotten;
    for (const SlurmJob& job : view.jobs.workers) {
      known.insert(job.array_id);
      if (job.living()) living.insert(job.array_id);
    }
    for (const std::string& array : living) view.details.merge(slurm_details(array));
    for (const SlurmRecord& record : read_slurm_records(sweep)) {
      if (record.kind == "workers" && !known.contains(record.job_id)) forgotten.insert(record.job_id);
    }
    view.accounted_states = slurm_accounted_states({forgotten.begin(), forgotten.end()});
  } catch (const std::runtime_error& error) {
    view.problem = error.what();
  }
  return view;
}

std::vector<SweepWorker> join_workers(const fs::path& sweep, const JobsView& view,
                                      std::vector<RunStatus>& runs) {
  Owners owners = owners_of(sweep, runs);
  std::vector<SweepWorker> workers;
  for (const SlurmJob& job : view.jobs.workers) workers.push_back(worker_of(job, view, owners));
  for (const auto& [job, state] : view.accounted_states) {
    SweepWorker worker;
    worker.name = job;
    worker.state = state_of(state, 0);
    if (worker.state == "lost") worker.note = state;
    workers.push_back(worker);
  }
  for (const auto& [job, run] : owners.of_job) {
    SweepWorker worker;
    worker.name = "job " + job;
    worker.state = "running";
    worker.run_id = run->planned.run_id;
    workers.push_back(worker);
  }
  for (const auto& [owner, run] : owners.alone) {
    SweepWorker worker;
    worker.name = "pid " + std::to_string(owner.pid);
    worker.state = "running";
    worker.node = owner.host;
    worker.run_id = run->planned.run_id;
    workers.push_back(worker);
  }
  return workers;
}

std::string workers_text(const JobsView& view, const std::vector<SweepWorker>& workers,
                         std::size_t most_rows) {
  if (!view.problem.empty()) return "workers: unknown: " + view.problem + "\n";
  if (workers.empty() && !view.submitted) return {};
  using Align = TextTable::Align;
  TextTable table({{"worker", Align::left},
                   {"state", Align::left},
                   {"node", Align::left},
                   {"for", Align::right},
                   {"left", Align::right},
                   {"restarts", Align::right},
                   {"run", Align::left}});
  std::vector<const SweepWorker*> shown;
  for (const SweepWorker& worker : workers) {
    if (worth_a_row(worker)) shown.push_back(&worker);
  }
  std::stable_sort(shown.begin(), shown.end(),
                   [](const SweepWorker* a, const SweepWorker* b) { return urgency(*a) < urgency(*b); });
  for (std::size_t i = 0; i < std::min(most_rows, shown.size()); ++i) {
    const SweepWorker& worker = *shown[i];
    table.add({worker.name, worker.state, worker.node, duration_or_dash(worker.elapsed_s),
               duration_or_dash(worker.left_s), std::to_string(worker.restarts),
               worker.run_id.empty() ? worker.note : worker.run_id});
  }
  if (shown.size() > most_rows)
    table.add_line("... and " + std::to_string(shown.size() - most_rows) + " more");
  return (shown.empty() ? "" : table.text() + "\n") + counts_line(view, workers);
}

nlohmann::ordered_json workers_json(const JobsView& view, const std::vector<SweepWorker>& workers) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const SweepWorker& worker : workers) {
    list.push_back({{"name", worker.name},
                    {"state", worker.state},
                    {"node", worker.node},
                    {"run_id", worker.run_id},
                    {"note", worker.note},
                    {"restarts", worker.restarts},
                    {"elapsed_s", finite_or_null(worker.elapsed_s)},
                    {"left_s", finite_or_null(worker.left_s)}});
  }
  return {{"wanted", view.wanted}, {"counts", counts_of(workers)}, {"problem", view.problem}, {"list", list}};
}

double measured_eta_s(const std::vector<RunStatus>& runs) {
  const bool estimated =
      std::all_of(runs.begin(), runs.end(), [](const RunStatus& run) { return run.planned.estimated_s > 0; });
  double done = 0, seconds = 0;
  int working = 0;
  for (const RunStatus& run : runs) {
    if (run.state == RunState::running) ++working;
    if (run.progress <= 0 || !(run.wall_s > 0)) continue;
    done += run.progress * work_of(run, estimated);
    seconds += run.wall_s;
  }
  if (working == 0 || done <= 0) return -1;
  std::vector<double> left;
  for (const RunStatus& run : runs) {
    const bool ended = run.state == RunState::done || run.state == RunState::diverged;
    if (!ended) left.push_back((1 - run.progress) * work_of(run, estimated) * seconds / done);
  }
  return simulate_schedule(left, working).makespan_s;
}

}  // namespace minichilla
