// One run, from its config to its outcome.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>

#include "kernels/device.h"
#include "trainer/run_config.h"
#include "trainer/run_directory.h"

namespace minichilla {

class Corpus;

/// Asked once per step; the command line sets it from its signal handlers.
class StopToken {
 public:
  StopToken() = default;
  explicit StopToken(const std::atomic<int>* requested) : requested_(requested) {}
  /// 0, or the signal that asked for a stop.
  int requested() const { return requested_ ? requested_->load(std::memory_order_relaxed) : 0; }

 private:
  const std::atomic<int>* requested_ = nullptr;
};

/// Told after every step.
struct Progress {
  std::int64_t step, steps;
  double loss, tokens_per_s, eta_s;
  double val_loss;  ///< of the newest evaluation; not-a-number before the first
};

/// What a run is handed; nothing is global.
struct TrainContext {
  Device& device;
  const Corpus& corpus;
  std::function<void(const Progress&)> on_progress = {};  ///< may be empty
  /// Told what the user should know and the run goes on from, such as a broken checkpoint; may be empty. The
  /// attempt's log has it too.
  std::function<void(const std::string&)> on_warning = {};
  /// The folder of another run's checkpoint, of the same config and corpus, with which a run begins that has
  /// none of its own yet; empty: none.
  std::filesystem::path resume_from = {};
};

struct Outcome {
  enum class Kind { done, diverged, interrupted };
  Kind kind;
  RunResult result;     ///< of done and diverged
  std::string message;  ///< of diverged and interrupted: what happened, and how to go on
};

/// Trains `config` (resolved) in the run folder `run`: starts an attempt, goes on from the newest good
/// checkpoint, logs, checkpoints, and publishes result.json. Knows no signals, no exit and no other runs. A
/// run that already has a result returns it at once. InputError: a run folder or checkpoint of another config
/// or corpus, or a run that does not fit in the device's free memory (nothing is created then); RunBusyError
/// (an InputError): another process trains this run; IoError: disk full and the like (what was checkpointed
/// stays good); std::runtime_error with out_of_memory_message().
Outcome train(const RunConfig& config, TrainContext& context, const std::filesystem::path& run,
              StopToken stop);

}  // namespace minichilla
