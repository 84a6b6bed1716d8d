// attempts/<n>: who works on a run, whether he still lives, and how it ended.
//
// An attempt's folder appears with its owner.json and heartbeat inside, by a rename that succeeds for one
// process alone. The owner writes only there and into checkpoints/. outcome.json ends an attempt; one without
// it belongs to a process that lives or was killed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernels/error.h"

namespace spdlog {
class logger;
}

namespace minichilla {

/// How long another host's heartbeat may stand still, by the watcher's own monotonic clock, before its owner
/// counts as dead. The owner beats about once a second.
inline constexpr std::chrono::milliseconds kOwnerPatience{10'000};

/// The run's newest attempt belongs to a process that lives.
class RunBusyError : public InputError {
 public:
  using InputError::InputError;
};

/// Tells one process from every other: pid and start time within a boot and a pid namespace.
struct ProcessIdentity {
  std::string host;
  std::int64_t pid = 0;
  std::string boot_id, pid_namespace;
  std::int64_t start_ticks = 0;  ///< since boot
  std::string job;               ///< SLURM_JOB_ID; empty outside of SLURM
};
/// Under SLURM the host is the node's name there: virtual nodes share their machine's.
ProcessIdentity this_process();

/// How an attempt ended: "done", "diverged", "interrupted" or "failed".
struct AttemptOutcome {
  std::string status, reason;
};

/// From the text of outcome.json and owner.json; InputError begins with `where` when Attempt did not write
/// it.
AttemptOutcome parse_outcome(const std::string& text, const std::string& where);
ProcessIdentity parse_owner(const std::string& text, const std::string& where);
/// Of attempts/<n>; nothing while there is no such file. InputError as above.
std::optional<AttemptOutcome> read_outcome(const std::filesystem::path& attempt);
std::optional<ProcessIdentity> read_owner(const std::filesystem::path& attempt);
/// "pid 123 on host"
std::string describe_owner(const std::filesystem::path& attempt);

/// The attempt folder with the highest number; empty when the run has none.
std::filesystem::path newest_attempt(const std::filesystem::path& run);

enum class OwnerState { ended, alive, dead, undecided };

/// Judges attempts without waiting. An owner in the same boot and pid namespace is looked up there and then;
/// for any other the heartbeat has to be watched: `undecided` until it moved (alive) or stood still for
/// `patience` (dead).
class OwnerWatch {
 public:
  explicit OwnerWatch(std::chrono::milliseconds patience = kOwnerPatience) : patience_(patience) {}
  OwnerState judge(const std::filesystem::path& attempt);

 private:
  struct Beat {
    std::string counter;
    std::chrono::steady_clock::time_point seen;
    bool moved = false;
  };
  std::chrono::milliseconds patience_;
  std::map<std::filesystem::path, Beat> beats_;
};

/// The same in one call that waits up to `patience` for another host's heartbeat. False for an attempt that
/// has ended.
bool owner_is_alive(const std::filesystem::path& attempt,
                    std::chrono::milliseconds patience = kOwnerPatience);

/// This process' attempt at a run: beats while it exists. Destroyed without finish(), it counts as failed.
class Attempt {
 public:
  /// Creates attempts/<n> under `run`. RunBusyError when the newest attempt's owner lives; IoError.
  explicit Attempt(const std::filesystem::path& run, std::chrono::milliseconds patience = kOwnerPatience);
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  int number() const { return number_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// attempts/<n>/log
  spdlog::logger& log() { return *log_; }
  /// Another process has taken the run over (it saw no heartbeat: this one was stopped, or cut off from the
  /// disk).
  bool superseded() const;
  /// Writes outcome.json and stops beating. IoError.
  void finish(const std::string& status, const std::string& reason);
  /// finish("failed", reason) for use while another error is on its way: throws nothing.
  void fail(const std::string& reason) noexcept;

 private:
  class Heartbeat;
  bool claim(int number);

  std::filesystem::path run_, folder_;
  int number_ = 0;
  bool finished_ = false;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::shared_ptr<spdlog::logger> log_;
};

}  // namespace minichilla
