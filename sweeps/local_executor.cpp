#include "sweeps/local_executor.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include "kernels/error.h"
#include "sweeps/disk_space.h"
#include "sweeps/status.h"
#include "sweeps/text_table.h"
#include "sweeps/work_clock.h"
#include "sweeps/worker_process.h"
#include "sweeps/worker_slots.h"

namespace minichilla {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{20}, kLookAgain{1000}, kLookAtMetrics{500}, kShow{100};
constexpr std::chrono::seconds kTimeToCheckpoint{120};
constexpr int kMostDoublings = 10;  // of the number of runs that one is picked of
constexpr int kBadInput = 2, kInputOutput = 74, kInterrupted = 75;  // exit statuses of a worker

/// One run of the sweep in this executor.
struct Job {
  enum class Phase { waiting, working, elsewhere, refused, done, diverged, failed };
  PlannedRun planned;
  fs::path folder;
  Phase phase = Phase::waiting;
  double initial = 0;  ///< fraction that was trained before this call
  double fraction = 0;
  double loss = kUnknown;
  bool owner_lives = false;          ///< elsewhere, and its heartbeat was seen to move
  std::int64_t seen_attempt = 0;     ///< the newest, since `seen`
  Clock::time_point seen{}, look{};  ///< `look`: not to be looked at before

  bool is_ready(Clock::time_point now) const { return phase == Phase::waiting && now >= look; }
  bool ended() const { return phase == Phase::done || phase == Phase::diverged || phase == Phase::failed; }
};

/// A place for one worker.
struct Slot {
  std::string device;
  CoreClaim core;
  Job* job = nullptr;
  std::unique_ptr<WorkerProcess> worker;
  std::int64_t attempts_before = 0;  ///< the run's newest attempt when the worker was started
  long oom_kills_before = 0;
};

/// Whether the worker's attempt says where it began, which it does when all of its memory is allocated.
bool has_begun(const Slot& slot) {
  std::error_code error;
  const std::string attempt = std::to_string(slot.attempts_before + 1);
  return fs::exists(slot.job->folder / "attempts" / attempt / "origin.json", error);
}

class LocalExecutor {
 public:
  LocalExecutor(const ExecutorOptions& options, const ExecutorEvents& events);
  SweepOutcome run();

 private:
  void read_jobs();
  void make_slots();
  bool settle(Job& job);
  bool owned(Job& job);
  bool may_be_tried(Job& job);
  void consider(Job& job, Slot& slot);
  void start(Job& job, Slot& slot, const WorkerMemory& memory);
  std::vector<Job>::iterator first_to_consider();
  void start_free_workers();
  bool nothing_to_take() const;
  void reap();
  void judge_end(Job& job, const Slot& slot, const ProcessEnd& end);
  std::string cause_of(const Job& job, const Slot& slot, const ProcessEnd& end);
  void count_against_host(const Job& job);
  bool is_host_bad() const { return static_cast<int>(failed_here_.size()) >= options_.host_failures; }
  void give_up(Job& job, const std::string& message);
  void pause_while_full(const Job& job);
  void look_for_space();
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
  MemoryWatch memory_;
  std::vector<Job> jobs_;  // in the order in which they are taken
  std::vector<Slot> slots_;
  std::vector<SweepOutcome::Failure> failures_;
  std::set<std::string> failed_here_;  // runs that failed in a row
  std::uint64_t space_wanted_ =
      0;  // bytes that a full disk has to have before anything starts; 0: it is not full
  WorkClock clock_;
  Clock::time_point looked_elsewhere_{}, looked_at_metrics_{}, looked_for_space_{}, shown_{};
  bool said_waiting_ = false;
  int lost_races_ = 0;  // for runs, less the runs that ended
  std::mt19937 random_{std::random_device()()};
};

double trained_fraction(const Job& job, double tokens) {
  return std::min(1.0, tokens / static_cast<double>(job.planned.tokens));
}

double work_of(const PlannedRun& run, bool estimated) {
  return estimated ? run.estimated_s : run.flops;
}

/// Bytes that a run's checkpoints take while a third is written.
std::uint64_t space_for(const Job& job) {
  return 3 * 12 * static_cast<std::uint64_t>(job.planned.params) + (1 << 20);
}

LocalExecutor::LocalExecutor(const ExecutorOptions& options, const ExecutorEvents& events)
    : options_(options), events_(events), memory_(options.make_gpu), clock_(options.workers) {
  read_jobs();
  make_slots();
}

void LocalExecutor::read_jobs() {
  for (const PlannedRun& planned : read_plan(options_.sweep)) {
    Job job;
    job.planned = planned;
    job.folder = fs::absolute(run_folder(options_.sweep, planned.run_id));
    if (!settle(job)) job.fraction = trained_fraction(job, newest_metrics(job.folder).tokens);
    job.initial = job.fraction;
    jobs_.push_back(std::move(job));
  }
  const bool estimated =
      std::all_of(jobs_.begin(), jobs_.end(), [](const Job& job) { return job.planned.estimated_s > 0; });
  if (options_.order != RunOrder::planned) {
    const double sign = options_.order == RunOrder::longest ? 1 : -1;
    std::stable_sort(jobs_.begin(), jobs_.end(), [&](const Job& a, const Job& b) {
      return sign * work_of(a.planned, estimated) > sign * work_of(b.planned, estimated);
    });
  }
  for (const Job& job : jobs_) clock_.add(work_of(job.planned, estimated), job.ended() ? 1 : job.initial);
  if (estimated) clock_.expect(1);
}

void LocalExecutor::make_slots() {
  const std::vector<int> cores = options_.pin ? allowed_cores() : std::vector<int>();
  const auto workers = static_cast<std::size_t>(options_.workers);
  for (std::size_t i = 0; i < workers; ++i) {
    Slot slot;
    slot.device = options_.gpus.empty() ? options_.device
                                        : "cuda:" + std::to_string(options_.gpus[i % options_.gpus.size()]);
    if (slot.device == "cpu" && workers <= cores.size()) slot.core = CoreClaim(cores);
    slots_.push_back(std::move(slot));
  }
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

/// True when another process works on the run.
bool LocalExecutor::owned(Job& job) {
  const OwnerState owner = reader_.owner(job.folder);
  job.owner_lives = owner == OwnerState::alive;
  return owner == OwnerState::alive || owner == OwnerState::undecided;
}

/// Nothing of what is left is for this executor.
bool LocalExecutor::nothing_to_take() const {
  if (is_host_bad() && working() == 0) return true;
  return std::all_of(jobs_.begin(), jobs_.end(), [&](const Job& job) {
    const bool others = job.phase == Job::Phase::elsewhere && job.owner_lives && !options_.wait_for_others;
    return job.ended() || job.phase == Job::Phase::refused || others;
  });
}

void LocalExecutor::give_up(Job& job, const std::string& message) {
  job.phase = Job::Phase::failed;
  failures_.push_back({job.planned.run_id, message});
  say(job.planned.run_id + " failed: " + message);
}

/// False when it has failed too often, or not long enough ago by this process' clock.
bool LocalExecutor::may_be_tried(Job& job) {
  const std::int64_t newest = newest_attempt_number(job.folder);
  if (newest == 0) return true;
  const RunHistory history = read_history(job.folder);
  if (is_given_up(history, options_.retry)) {
    give_up(job, history.reason);
    return false;
  }
  if (newest != job.seen_attempt) {
    job.seen_attempt = newest;
    job.seen = Clock::now();
  }
  job.look = job.seen + time_to_wait(history, options_.retry);
  return Clock::now() >= job.look;
}

/// Starts the run unless it is somebody else's, has to wait or does not fit. A run that cannot be judged has
/// failed.
void LocalExecutor::consider(Job& job, Slot& slot) {
  try {
    slot.attempts_before =
        newest_attempt_number(job.folder);  // before the looks: whoever comes later was faster
    if (settle(job)) return;
    if (owned(job)) {
      job.phase = Job::Phase::elsewhere;
      return;
    }
    if (!may_be_tried(job)) return;
  } catch (const std::runtime_error& error) {
    return give_up(job, error.what());
  }
  const WorkerMemory memory = memory_.needed(job.folder, slot.device, options_.products);
  if (working() > 0 && !memory_.fits(slot.device, memory)) {
    job.look = Clock::now() + kLookAgain;
  } else if (options_.may_start && !options_.may_start(job.planned, job.fraction)) {
    job.phase = Job::Phase::refused;
  } else {
    start(job, slot, memory);
  }
}

void LocalExecutor::start(Job& job, Slot& slot, const WorkerMemory& memory) {
  const std::string folder = job.folder.string();
  slot.oom_kills_before = oom_kills();
  try {
    slot.worker = std::make_unique<WorkerProcess>(
        std::vector<std::string>{options_.program.string(), "train", folder + "/config.yaml", "--output",
                                 folder, "--device", slot.device, "--products", options_.products,
                                 "--threads", "1", "--quiet"},
        job.folder / "worker.log", slot.core.core());
    slot.job = &job;
    job.phase = Job::Phase::working;
    memory_.started(slot.worker->pid(), slot.device, memory);
  } catch (const IoError& error) {
    if (is_disk_full(options_.sweep, space_for(job))) return pause_while_full(job);
    give_up(job, error.what());
  }
}

/// The first run that could be taken. Where others were faster lately, one of the first so many: workers that
/// began together would go on to want the same ones.
std::vector<Job>::iterator LocalExecutor::first_to_consider() {
  const auto ready = [now = Clock::now()](const Job& job) { return job.is_ready(now); };
  const auto all = std::count_if(jobs_.begin(), jobs_.end(), ready);
  const auto window = std::min<std::ptrdiff_t>(all, std::ptrdiff_t{1} << lost_races_);
  auto job = std::find_if(jobs_.begin(), jobs_.end(), ready);
  if (window < 2) return job;
  for (auto skip = std::uniform_int_distribution<std::ptrdiff_t>(0, window - 1)(random_); skip > 0; --skip)
    job = std::find_if(job + 1, jobs_.end(), ready);
  return job;
}

/// Looks at each run once more before starting it: another executor may have been faster.
void LocalExecutor::start_free_workers() {
  if (std::ranges::all_of(slots_, [](const Slot& slot) { return slot.worker != nullptr; })) return;
  auto job = first_to_consider();
  for (Slot& slot : slots_) {
    for (; !slot.worker && job != jobs_.end(); ++job) {
      if (space_wanted_ != 0 || is_host_bad()) return;
      if (job->is_ready(Clock::now())) consider(*job, slot);
    }
  }
}

void LocalExecutor::reap() {
  for (Slot& slot : slots_) {
    if (!slot.worker) continue;
    const std::optional<ProcessEnd> end = slot.worker->ended();
    if (!end) continue;
    memory_.ended(slot.worker->pid());
    slot.job->phase = Job::Phase::waiting;
    judge_end(*slot.job, slot, *end);
    slot.worker.reset();
    slot.job = nullptr;
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

std::string LocalExecutor::cause_of(const Job& job, const Slot& slot, const ProcessEnd& end) {
  if (end.signal == SIGKILL)
    return oom_kills() > slot.oom_kills_before ? cause::kOutOfMemory : cause::kKilled;
  if (end.signal != 0) return cause::kCrash;
  if (end.status == kBadInput) return cause::kBadInput;
  if (end.status != kInputOutput) return cause::kCrash;
  return is_disk_full(options_.sweep, space_for(job)) ? cause::kDiskFull : cause::kInputOutput;
}

/// Writes down what the worker could not say itself, and says how it goes on.
void LocalExecutor::judge_end(Job& job, const Slot& slot, const ProcessEnd& end) {
  if (settle(job)) {
    lost_races_ = std::max(0, lost_races_ - 1);
    return failed_here_.clear();
  }
  try {
    const bool own = is_owner(newest_attempt(job.folder), slot.worker->pid());
    // Another process was faster, or this one was asked to stop.
    if (!own && newest_attempt_number(job.folder) > slot.attempts_before) {
      lost_races_ = std::min(lost_races_ + 1, kMostDoublings);
      return;
    }
    if (own && end.signal == 0 && end.status == kInterrupted) return;
    if (options_.stop.requested()) return;
    const std::string message = describe(end, slot.worker->last_line());
    const std::string cause = cause_of(job, slot, end);
    if (cause == cause::kDiskFull) pause_while_full(job);
    record_failure(job.folder, slot.worker->pid(), cause, message);
    const RunHistory history = read_history(job.folder);
    if (cause != cause::kKilled && cause != cause::kDiskFull) count_against_host(job);
    if (is_given_up(history, options_.retry)) return give_up(job, message);
    say(job.planned.run_id + ": " + message + "; going on with it" +
        (history.cause.empty() ? "" : " (" + describe_failures(history, options_.retry) + ")"));
  } catch (const IoError& error) {
    if (!is_disk_full(options_.sweep, space_for(job))) return give_up(job, error.what());
    pause_while_full(job);
  } catch (const InputError& error) {
    give_up(job, error.what());
  }
}

void LocalExecutor::count_against_host(const Job& job) {
  const bool was_good = !is_host_bad();
  failed_here_.insert(job.planned.run_id);
  if (was_good && is_host_bad())
    say(counted(options_.host_failures, "run") + " in a row failed on this host: it takes no more");
}

void LocalExecutor::pause_while_full(const Job& job) {
  if (space_wanted_ == 0)
    say("the disk of " + options_.sweep.string() + " is full (or a quota is used up): waiting for space");
  space_wanted_ = std::max(space_wanted_, space_for(job));
}

void LocalExecutor::look_for_space() {
  if (space_wanted_ == 0 || Clock::now() - looked_for_space_ < kLookAgain) return;
  looked_for_space_ = Clock::now();
  if (is_disk_full(options_.sweep, space_wanted_)) return;
  space_wanted_ = 0;
  say("there is space again: going on");
}

void LocalExecutor::look_elsewhere() {
  if (Clock::now() - looked_elsewhere_ < kLookAgain) return;
  looked_elsewhere_ = Clock::now();
  for (Job& job : jobs_) {
    if (job.phase != Job::Phase::elsewhere || settle(job)) continue;
    try {
      if (!owned(job)) job.phase = Job::Phase::waiting;
    } catch (const std::runtime_error& error) {
      give_up(job, error.what());
    }
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
  for (const Slot& slot : slots_) {
    if (slot.worker && has_begun(slot)) memory_.has_gpu_memory(slot.worker->pid());
  }
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
  const auto send = [&](int signal) {
    for (Slot& slot : slots_) {
      if (slot.worker) slot.worker->send(signal);
    }
  };
  send(SIGTERM);
  const Clock::time_point deadline = Clock::now() + kTimeToCheckpoint;
  while (working() > 0) {
    if (Clock::now() > deadline) send(SIGKILL);
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
  outcome.host_failed = is_host_bad();
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
    look_for_space();
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
          {"host_failed", outcome.host_failed},
          {"wall_s", outcome.wall_s},
          {"tokens", outcome.tokens},
          {"tokens_per_s", outcome.wall_s > 0 ? outcome.tokens / outcome.wall_s : 0.0}};
}

}  // namespace minichilla
