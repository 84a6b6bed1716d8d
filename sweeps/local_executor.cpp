#include "sweeps/local_executor.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "kernels/error.h"
#include "sweeps/status.h"
#include "sweeps/text_table.h"
#include "sweeps/work_clock.h"
#include "sweeps/worker_process.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{20}, kLookElsewhere{1000}, kLookAtMetrics{500}, kShow{100};
constexpr std::chrono::seconds kTimeToCheckpoint{120};
constexpr int kBadInput = 2;  // a worker's exit status that no retry mends
constexpr int kInterrupted = 75;

/// One run of the sweep in this executor.
struct Job {
  enum class Phase { waiting, working, elsewhere, refused, done, diverged, failed };
  PlannedRun planned;
  fs::path folder;
  Phase phase = Phase::waiting;
  int tries = 0;
  double initial = 0;  ///< fraction that was trained before this call
  double fraction = 0;
  double loss = kUnknown;
  bool owner_lives = false;  ///< elsewhere, and its heartbeat was seen to move
  std::unique_ptr<WorkerProcess> worker;

  bool ended() const { return phase == Phase::done || phase == Phase::diverged || phase == Phase::failed; }
};

class LocalExecutor {
 public:
  LocalExecutor(const ExecutorOptions& options, const ExecutorEvents& events);
  SweepOutcome run();

 private:
  bool settle(Job& job);
  bool owned(Job& job);
  bool may_start(const Job& job) const;
  bool nothing_to_take() const;
  void start(Job& job);
  void start_free_workers();
  void reap();
  void judge_end(Job& job, const ProcessEnd& end);
  void give_up(Job& job, const std::string& message);
  void look_elsewhere();
  void look_at_metrics();
  void show();
  void stop_workers();
  int working() const { return count(Job::Phase::working); }
  int count(Job::Phase phase) const;
  void say(const std::string& message) const {
    if (events_.on_message) events_.on_message(message);
  }
  SweepOutcome outcome(bool interrupted) const;

  const ExecutorOptions& options_;
  const ExecutorEvents& events_;
  StatusReader reader_;
  std::vector<Job> jobs_;  // longest first
  std::vector<SweepOutcome::Failure> failures_;
  WorkClock clock_;
  Clock::time_point looked_elsewhere_{}, looked_at_metrics_{}, shown_{};
  bool said_waiting_ = false;
};

double trained_fraction(const Job& job, double tokens) {
  return std::min(1.0, tokens / static_cast<double>(job.planned.tokens));
}

double work_of(const PlannedRun& run, bool estimated) {
  return estimated ? run.estimated_s : run.flops;
}

LocalExecutor::LocalExecutor(const ExecutorOptions& options, const ExecutorEvents& events)
    : options_(options), events_(events), clock_(options.workers) {
  for (const PlannedRun& planned : read_plan(options.sweep)) {
    Job job;
    job.planned = planned;
    job.folder = fs::absolute(run_folder(options.sweep, planned.run_id));
    if (!settle(job)) job.fraction = trained_fraction(job, newest_metrics(job.folder).tokens);
    job.initial = job.fraction;
    jobs_.push_back(std::move(job));
  }
  const bool estimated =
      std::all_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return job.planned.estimated_s > 0; });
  std::stable_sort(jobs_.begin(), jobs_.end(), [&](const Job& a, const Job& b) {
    return work_of(a.planned, estimated) > work_of(b.planned, estimated);
  });
  for (const Job& job : jobs_) clock_.add(work_of(job.planned, estimated), job.ended() ? 1 : job.initial);
  if (estimated) clock_.expect(1);
}

/// True when the run has a result; then the job has ended.
bool LocalExecutor::settle(Job& job) {
  try {
    const std::optional<RunResult> result = read_result(job.folder);
    if (!result) return false;
    job.phase = result->status == "done" ? Job::Phase::done : Job::Phase::diverged;
    job.fraction = trained_fraction(job, static_cast<double>(result->tokens));
    return true;
  } catch (const std::runtime_error& error) {
    give_up(job, error.what());
    return true;
  }
}

/// True when another process works on the run. A run that cannot be judged has failed, then.
bool LocalExecutor::owned(Job& job) {
  try {
    const OwnerState owner = reader_.owner(job.folder);
    job.owner_lives = owner == OwnerState::alive;
    return owner == OwnerState::alive || owner == OwnerState::undecided;
  } catch (const std::runtime_error& error) {
    give_up(job, error.what());
    return false;
  }
}

void LocalExecutor::give_up(Job& job, const std::string& message) {
  job.phase = Job::Phase::failed;
  failures_.push_back({job.planned.run_id, message});
  say(job.planned.run_id + " failed: " + message);
}

bool LocalExecutor::may_start(const Job& job) const {
  return !options_.may_start || options_.may_start(job.planned, job.fraction);
}

/// Nothing of what is left is for this executor.
bool LocalExecutor::nothing_to_take() const {
  return std::all_of(jobs_.begin(), jobs_.end(), [&](const Job& job) {
    const bool others = job.phase == Job::Phase::elsewhere && job.owner_lives && !options_.wait_for_others;
    return job.ended() || job.phase == Job::Phase::refused || others;
  });
}

void LocalExecutor::start(Job& job) {
  const std::string folder = job.folder.string();
  ++job.tries;
  try {
    job.worker = std::make_unique<WorkerProcess>(
        std::vector<std::string>{options_.program.string(), "train", folder + "/config.yaml", "--output",
                                 folder, "--device", options_.device, "--products", options_.products,
                                 "--threads", "1", "--quiet"},
        job.folder / "worker.log");
    job.phase = Job::Phase::working;
  } catch (const IoError& error) {
    give_up(job, error.what());
  }
}

/// Looks at each run once more before starting it: another executor may have been faster.
void LocalExecutor::start_free_workers() {
  for (Job& job : jobs_) {
    if (job.phase != Job::Phase::waiting) continue;
    if (working() >= options_.workers) return;
    if (settle(job)) continue;
    if (owned(job)) job.phase = Job::Phase::elsewhere;
    if (job.phase == Job::Phase::waiting && !may_start(job)) job.phase = Job::Phase::refused;
    if (job.phase == Job::Phase::waiting) start(job);
  }
}

void LocalExecutor::reap() {
  for (Job& job : jobs_) {
    if (job.phase != Job::Phase::working) continue;
    if (const std::optional<ProcessEnd> end = job.worker->ended()) judge_end(job, *end);
  }
}

std::string describe(const ProcessEnd& end, const std::string& last_line) {
  if (end.signal == SIGKILL)
    return "its worker was killed (signal 9; by hand, or by the system for want of memory)";
  if (end.signal != 0)
    return "its worker died of signal " + std::to_string(end.signal) + " (" + strsignal(end.signal) + ")";
  if (end.status == kInterrupted) return "its worker was asked to stop by somebody else";
  const std::string prefix = "minichilla: ";
  const std::string line = last_line.starts_with(prefix) ? last_line.substr(prefix.size()) : last_line;
  return line.empty() ? "its worker ended with status " + std::to_string(end.status) + " and said nothing"
                      : line;
}

void LocalExecutor::judge_end(Job& job, const ProcessEnd& end) {
  const std::string message = describe(end, job.worker->last_line());
  job.worker.reset();
  job.phase = Job::Phase::waiting;
  if (settle(job)) return;
  if (owned(job)) {  // somebody else was faster
    --job.tries;
    job.phase = Job::Phase::elsewhere;
    return;
  }
  if (job.ended()) return;
  if (options_.stop.requested()) return;
  if ((end.signal == 0 && end.status == kBadInput) || job.tries >= options_.tries) {
    give_up(job, message);
  } else {
    say(job.planned.run_id + ": " + message + "; going on with it (try " + std::to_string(job.tries + 1) +
        " of " + std::to_string(options_.tries) + ")");
  }
}

void LocalExecutor::look_elsewhere() {
  if (Clock::now() - looked_elsewhere_ < kLookElsewhere) return;
  looked_elsewhere_ = Clock::now();
  for (Job& job : jobs_) {
    if (job.phase != Job::Phase::elsewhere || settle(job)) continue;
    if (!owned(job) && !job.ended()) job.phase = Job::Phase::waiting;
  }
  if (options_.wait_for_others && !said_waiting_ && working() == 0 && count(Job::Phase::waiting) == 0 &&
      count(Job::Phase::elsewhere) > 0) {
    said_waiting_ = true;
    say("waiting for " + counted(count(Job::Phase::elsewhere), "run") + " that other processes work on");
  }
}

void LocalExecutor::look_at_metrics() {
  if (Clock::now() - looked_at_metrics_ < kLookAtMetrics) return;
  looked_at_metrics_ = Clock::now();
  for (Job& job : jobs_) {
    if (job.phase != Job::Phase::working && job.phase != Job::Phase::elsewhere) continue;
    const NewestMetrics metrics = newest_metrics(job.folder);
    job.fraction = trained_fraction(job, metrics.tokens);
    job.loss = metrics.loss;
  }
}

void LocalExecutor::show() {
  clock_.pass(working());
  for (std::size_t i = 0; i < jobs_.size(); ++i) clock_.set(i, jobs_[i].ended() ? 1 : jobs_[i].fraction);
  if (!events_.on_progress || Clock::now() - shown_ < kShow) return;
  shown_ = Clock::now();
  SweepProgress progress{static_cast<int>(jobs_.size()),
                         count(Job::Phase::done),
                         count(Job::Phase::diverged),
                         count(Job::Phase::failed),
                         clock_.fraction(),
                         clock_.eta_s(),
                         {},
                         count(Job::Phase::elsewhere)};
  for (const Job& job : jobs_) {
    if (job.phase == Job::Phase::working)
      progress.workers.push_back({job.planned.run_id, job.fraction, job.loss});
  }
  events_.on_progress(progress);
}

/// Workers checkpoint on SIGTERM; one that does not end within kTimeToCheckpoint goes on from an older
/// checkpoint.
void LocalExecutor::stop_workers() {
  if (working() > 0) say("stopping " + counted(working(), "worker") + " at a checkpoint");
  for (Job& job : jobs_) {
    if (job.worker) job.worker->send(SIGTERM);
  }
  const Clock::time_point deadline = Clock::now() + kTimeToCheckpoint;
  while (working() > 0) {
    if (Clock::now() > deadline) {
      for (Job& job : jobs_) {
        if (job.worker) job.worker->send(SIGKILL);
      }
    }
    std::this_thread::sleep_for(kPoll);
    reap();
  }
}

int LocalExecutor::count(Job::Phase phase) const {
  return static_cast<int>(
      std::count_if(jobs_.begin(), jobs_.end(), [&](const Job& job) { return job.phase == phase; }));
}

SweepOutcome LocalExecutor::outcome(bool interrupted) const {
  SweepOutcome outcome;
  outcome.runs = static_cast<int>(jobs_.size());
  outcome.done = count(Job::Phase::done);
  outcome.diverged = count(Job::Phase::diverged);
  outcome.failures = failures_;
  outcome.interrupted = interrupted;
  outcome.elsewhere = count(Job::Phase::elsewhere);
  outcome.refused = count(Job::Phase::refused);
  outcome.wall_s = clock_.elapsed_s();
  for (const Job& job : jobs_) {
    outcome.tokens += std::max(0.0, job.fraction - job.initial) * static_cast<double>(job.planned.tokens);
  }
  return outcome;
}

SweepOutcome LocalExecutor::run() {
  for (;;) {
    if (options_.stop.requested()) {
      stop_workers();
      const bool missing =
          std::any_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return !job.ended(); });
      return outcome(missing);
    }
    reap();
    look_elsewhere();
    start_free_workers();
    if (nothing_to_take()) return outcome(false);
    look_at_metrics();
    show();
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

SweepOutcome run_sweep(const ExecutorOptions& options, const ExecutorEvents& events) {
  return LocalExecutor(options, events).run();
}

nlohmann::ordered_json outcome_json(const SweepOutcome& outcome) {
  nlohmann::ordered_json failures = nlohmann::ordered_json::array();
  for (const SweepOutcome::Failure& failure : outcome.failures) {
    failures.push_back({{"run_id", failure.run_id}, {"message", failure.message}});
  }
  return {{"runs", outcome.runs},
          {"done", outcome.done},
          {"diverged", outcome.diverged},
          {"failed", failures},
          {"interrupted", outcome.interrupted},
          {"elsewhere", outcome.elsewhere},
          {"refused", outcome.refused},
          {"wall_s", outcome.wall_s},
          {"tokens", outcome.tokens},
          {"tokens_per_s", outcome.wall_s > 0 ? outcome.tokens / outcome.wall_s : 0.0}};
}

}  // namespace minichilla
