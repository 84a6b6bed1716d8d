// attempts/<n>: who works on a run, whether he still lives, and how it ended: run_protocol.h on real files.
//
// An attempt's folder appears with its owner.json and heartbeat inside, by a rename that succeeds for one
// process alone. The owner writes only there and into checkpoints/. outcome.json ends an attempt: a link that
// succeeds for one process alone, its owner or one that found it dead. A final one is linked as result.json.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernels/error.h"
#include "trainer/run_directory.h"
#include "trainer/run_protocol.h"

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

/// The run has its result.
class RunEndedError : public InputError {
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

/// How an attempt ended: "done", "diverged", "interrupted", "failed", or "lost" when its owner vanished.
struct AttemptOutcome {
  std::string status, reason;
  std::string cause = {};  ///< of failed and lost: one of the names below
  std::int64_t step = 0;   ///< of the newest checkpoint at that time; of done and diverged: trained
  bool final = false;      ///< it is the run's result too
};

/// Why attempts fail. Retrying mends some of these.
namespace cause {
inline constexpr const char* kCrash = "crash";
inline constexpr const char* kOutOfMemory = "out_of_memory";
inline constexpr const char* kBadInput = "bad_input";
inline constexpr const char* kInputOutput = "input_output";
inline constexpr const char* kDiskFull = "disk_full";
inline constexpr const char* kKilled = "killed";  ///< or its machine went down
inline constexpr const char* kDiverged = "diverged";
inline constexpr const char* kRetry = "retry";  ///< nothing: a user asked to forget what was before
}  // namespace cause

/// From the text of outcome.json and owner.json; InputError begins with `where` when Attempt did not write
/// it.
AttemptOutcome parse_outcome(const std::string& text, const std::string& where);
ProcessIdentity parse_owner(const std::string& text, const std::string& where);
/// Of attempts/<n>; nothing while there is no such file. InputError as above.
std::optional<AttemptOutcome> read_outcome(const std::filesystem::path& attempt);
std::optional<ProcessIdentity> read_owner(const std::filesystem::path& attempt);
/// Where attempts/<n> began; nothing before it has. InputError as above.
std::optional<AttemptOrigin> read_origin(const std::filesystem::path& attempt);
/// "pid 123 on host"
std::string describe_owner(const std::filesystem::path& attempt);

/// The attempt folder with the highest number; empty when the run has none.
std::filesystem::path newest_attempt(const std::filesystem::path& run);
/// Its number; 0 when the run has none.
std::int64_t newest_attempt_number(const std::filesystem::path& run);
/// Whether process `pid` of this boot and pid namespace owns the attempt.
bool is_owner(const std::filesystem::path& attempt, std::int64_t pid);

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
  /// Creates attempts/<n> under `run`. RunBusyError when the newest attempt's owner lives; RunEndedError;
  /// IoError.
  explicit Attempt(const std::filesystem::path& run, std::chrono::milliseconds patience = kOwnerPatience);
  ~Attempt();
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  int number() const { return number_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// attempts/<n>/log
  spdlog::logger& log() { return *log_; }
  /// Writes down where training begins, before the first row of metrics, and under which numerics. IoError.
  void begin_after(const AttemptOrigin& origin, const std::string& numerics_id, const std::string& numerics);
  /// Somebody has declared this attempt lost (it saw no heartbeat: this process was stopped, or cut off from
  /// the disk). Looks at the disk, which may show that late.
  bool superseded() const;
  /// The same as of the last beat, without a look of its own.
  bool lost() const;
  /// Ends the attempt and stops beating. False when it was declared lost before. IoError.
  bool finish(const std::string& status, const std::string& reason, const std::string& cause = "");
  /// Ends it with the run's result, and publishes that. False when the attempt was declared lost before: then
  /// nothing is published. IoError.
  bool publish(const RunResult& result);
  /// finish("failed", …) for use while another error is on its way: throws nothing.
  void fail(const char* cause, const std::string& reason) noexcept;

 private:
  class Heartbeat;
  bool end(const Ending& ending);

  std::filesystem::path run_, folder_;
  int number_ = 0;
  bool finished_ = false;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::shared_ptr<spdlog::logger> log_;
};

/// Writes down an attempt that failed without saying so itself: the newest one, when process `pid` of this
/// host is its owner; otherwise one more, which ends at once. Nothing when it did say so, or somebody else
/// has the run. IoError.
void record_failure(const std::filesystem::path& run, std::int64_t pid, const std::string& cause,
                    const std::string& reason);

}  // namespace minichilla
