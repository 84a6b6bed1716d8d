// Runs what is missing of a sweep on this machine: one single-threaded worker process per core, or a single
// one that leaves the rest to others (`sweep work`).
//
// The executor keeps nothing on disk of its own: runs are done, owned or free by their folders, so several
// executors may work on one sweep, and one that was killed is followed by the next.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sweeps/analysis/sweep_folder.h"
#include "sweeps/device_choice.h"
#include "sweeps/memory_watch.h"
#include "sweeps/run_history.h"
#include "trainer/train.h"

namespace minichilla {

/// Which run is taken next.
enum class RunOrder { longest, shortest, planned };

struct ExecutorOptions {
  std::filesystem::path sweep;
  /// The program that trains: called as `PROGRAM train RUN/config.yaml --output RUN --device DEVICE
  /// --products PRODUCTS --threads 1 --quiet`.
  std::filesystem::path program = "/proc/self/exe";
  std::string device = "cpu", products = kLibraryProducts;  ///< as choose_device takes them
  MemoryWatch::GpuMaker make_gpu = {};                      ///< of the memory watch
  std::vector<int> gpus;  ///< when not empty: instead of `device`, workers have these in turn, several each
                          ///< where there are more workers
  int workers = 1;
  bool pin = false;  ///< each worker on the CPU gets a core to itself, while there are enough
  RunOrder order = RunOrder::longest;
  RetryPolicy retry;      ///< after which a run is reported as failed and the others go on
  int host_failures = 3;  ///< different runs that fail here in a row, after which this host takes no more
  /// Whether to wait in the end for runs that other processes work on, to take over those that they lose.
  bool wait_for_others = true;
  /// Asked before a worker begins or goes on with a run, of which `fraction` is trained: false leaves it to
  /// others, for instance because the time that is left does not suffice. Empty: yes.
  std::function<bool(const PlannedRun&, double fraction)> may_start = {};
  StopToken stop;  ///< ends all workers at a checkpoint; may be set from a signal handler or another thread
};

/// A running worker, for progress lines.
struct WorkerView {
  std::string run_id;
  double progress;  ///< 0 to 1
  double loss;      ///< of its last step; NaN before the first
};

struct SweepProgress {
  int runs, done, diverged, failed;
  double fraction;  ///< of the work of all runs
  double eta_s;     ///< negative while unknown
  std::vector<WorkerView> workers;
  int elsewhere;  ///< runs that another executor works on
};

/// Told what happens; both may be empty.
struct ExecutorEvents {
  std::function<void(const SweepProgress&)> on_progress;  ///< about ten times a second
  std::function<void(const std::string&)> on_message;     ///< one line: a failure, a retry, a wait
};

struct SweepOutcome {
  struct Failure {
    std::string run_id, message;
  };
  int runs = 0, done = 0, diverged = 0;
  std::vector<Failure> failures;  ///< runs that were given up
  bool interrupted = false;       ///< stopped before everything had ended
  int elsewhere = 0;              ///< runs that other processes work on, when they were not waited for
  int refused = 0;                ///< runs that `may_start` left to others
  bool host_failed = false;       ///< too many runs failed here in a row
  double wall_s = 0, tokens = 0;  ///< of this call
};

/// Takes the runs in their order, those with the longest estimate first unless told otherwise. A run does not
/// begin where it would not fit in memory beside those that this call trains; while the disk is full none
/// does. Returns when every run of the sweep is done, diverged or failed (or left to others, see the
/// options), or, after `stop` asked for it, when all workers have checkpointed and ended. A failing run never
/// stops the others. InputError: no sweep.
SweepOutcome run_sweep(const ExecutorOptions& options, const ExecutorEvents& events);

nlohmann::ordered_json outcome_json(const SweepOutcome& outcome);

}  // namespace minichilla
