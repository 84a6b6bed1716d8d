// Who trains a run and how that ends: the decisions, apart from the file system that they are made on.
//
// docs/protocol.md tells them in words. tests/trainer/run_protocol_test.cpp drives this very code through
// every interleaving of several workers on a simulated file system.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace minichilla {

/// What is known of an attempt's owner. It may err: one that is only slow looks dead.
enum class OwnerState { ended, alive, dead, undecided };

/// How an attempt ended. Its text goes to the file that ends it.
struct Ending {
  bool final;        ///< with the run's result; otherwise another attempt may follow
  std::string text;  ///< of outcome.json; of a final one also of result.json
};

/// The files that decide who owns a run. Looks may be late: they may miss what is there, but what they find
/// is true for ever, since nothing here is ever changed or removed. Exclusive calls are not late: of all
/// callers one is told `true`.
class OwnershipFiles {
 public:
  virtual ~OwnershipFiles() = default;
  // Looks.
  virtual bool has_result() = 0;
  virtual std::int64_t newest_attempt() = 0;  ///< 0: none
  /// Whether an attempt ended finally; nothing while it is not seen to have ended.
  virtual std::optional<bool> final(std::int64_t attempt) = 0;
  virtual OwnerState owner(std::int64_t attempt) = 0;
  /// What a taker writes about an attempt whose owner is dead.
  virtual Ending lost(std::int64_t attempt) = 0;
  // Exclusive.
  virtual bool create_attempt(std::int64_t attempt) = 0;
  virtual bool end_attempt(std::int64_t attempt, const Ending& ending) = 0;
  /// Makes the final ending of an attempt the run's result, unless there is one.
  virtual void publish(std::int64_t attempt) = 0;
};

/// One process that wants to train a run.
class RunClaim {
 public:
  enum class Answer {
    taken,     ///< attempt number() is this process'
    ended,     ///< the run has its result
    busy,      ///< somebody else trains it
    undecided  ///< not to be told yet: look again
  };
  explicit RunClaim(OwnershipFiles& files) : files_(files) {}

  /// Looks once, without waiting, and takes the run if nobody has it.
  Answer look();
  std::int64_t number() const { return number_; }

 private:
  OwnershipFiles& files_;
  std::int64_t number_ = 0, newest_ = 0;
};

/// Ends one's own attempt. False when somebody has declared it lost: then nothing was published.
bool finish_attempt(OwnershipFiles& files, std::int64_t attempt, const Ending& ending);

/// The checkpoints of a run, which a lost owner and its successor may both write for a while. Whole ones
/// appear by a rename and are never changed.
class CheckpointFiles {
 public:
  virtual ~CheckpointFiles() = default;
  virtual std::vector<std::int64_t> steps() = 0;    ///< ascending; may be late
  virtual bool is_complete(std::int64_t step) = 0;  ///< by its marker
  virtual bool is_whole(std::int64_t step) = 0;     ///< by its checksums, and of this run's config
  virtual bool place(std::int64_t step) = 0;        ///< the one that was prepared; false when there is one
  virtual void remove(std::int64_t step) = 0;
};

/// Puts the prepared checkpoint in its place, unless somebody else has put a whole one there.
void place_checkpoint(CheckpointFiles& files, std::int64_t step);

/// Removes what is older than the `kept` newest complete ones, not counting those known as `broken`. Newer
/// ones stay, whosever they are.
void prune_checkpoints(CheckpointFiles& files, const std::set<std::int64_t>& broken, std::size_t kept);

/// Where an attempt began: after `step`, with the checkpoint that `attempt` of this run wrote; 0 when it
/// began with none of this run's. A run's log is read along these.
struct AttemptOrigin {
  std::int64_t step = 0, attempt = 0;
};

}  // namespace minichilla
