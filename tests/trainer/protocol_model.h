// A run's folder as several workers see it on a file system that shows things late, and workers that can
// crash, stall and be taken for dead at any moment: everything that trainer/run_protocol.h has to cope with.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "trainer/run_protocol.h"

namespace minichilla::protocol_model {

/// How far a search goes.
struct Bounds {
  int workers = 2;
  int crashes = 0;           ///< of processes, each followed by another; stalls are not bounded
  std::int64_t steps = 2;    ///< of the run; a checkpoint is written after each
  std::size_t attempts = 3;  ///< beyond which it does not look
};

/// How an attempt stands on the server.
enum class Fate : std::uint8_t { open, lost, failed, final };

struct AttemptState {
  int owner = -1;  ///< the worker that made it
  Fate fate = Fate::open;
  AttemptOrigin origin;
  std::int64_t logged = 0;  ///< the last step in its metrics
};

/// A checkpoint holds the steps of the log that led to it, and whether two writers' files are mixed in it.
struct CheckpointFile {
  std::int64_t attempt = 0;
};

/// What is on the server: the truth that looks may miss.
struct Server {
  std::vector<AttemptState> attempts;  ///< attempts[n - 1]
  std::map<std::int64_t, CheckpointFile> checkpoints;
  std::int64_t result = 0;             ///< the attempt that was published; 0: none
  std::int64_t newest_checkpoint = 0;  ///< the newest step that was ever placed
};

/// A deliberate mistake in how the protocol is used or what it relies on.
enum class Mistake {
  none,
  attempts_are_not_exclusive,    ///< look whether there is one, then make it
  endings_are_not_exclusive,     ///< the last writer of outcome.json wins
  takers_end_nothing,            ///< a dead owner's attempt is followed without being ended
  losing_the_ending_is_ignored,  ///< the owner publishes although it was declared lost
  newest_are_removed,            ///< checkpoints of later steps count as given up
  whole_ones_are_replaced,       ///< a checkpoint in the way is removed unseen
  the_log_is_joined_by_number,   ///< the next attempt's first row replaces what was before
};

/// A worker asked for one call more than was answered so far.
struct NeedsAnswer {
  int choices;  ///< ways in which the call may come out
};

/// The answers that a worker's present stage was given: a stage is run again from its beginning for each
/// call.
using Answers = std::vector<int>;

/// Both interfaces on the server, for one stage of one worker. A call takes its answer from `answers`; its
/// effect on the server is made when it is new, that is when its answer is the last one.
class SimulatedFiles final : public OwnershipFiles, public CheckpointFiles {
 public:
  SimulatedFiles(Server& server, int worker, std::int64_t attempt, Mistake mistake, const Answers& answers,
                 std::vector<std::int64_t>& replies)
      : server_(server),
        worker_(worker),
        attempt_(attempt),
        mistake_(mistake),
        answers_(answers),
        replies_(replies) {}

  bool has_result() override {
    return call(server_.result != 0 ? 2 : 1, [&](int late) { return server_.result != 0 && late == 0; }) != 0;
  }
  std::int64_t newest_attempt() override {
    const auto newest = static_cast<std::int64_t>(server_.attempts.size());
    return call(newest > 0 ? 2 : 1, [&](int late) { return newest - late; });
  }
  std::optional<bool> final(std::int64_t number) override {
    const std::int64_t reply = call(fate(number) == Fate::open ? 1 : 2, [&](int late) -> std::int64_t {
      if (late != 0 || fate(number) == Fate::open) return -1;
      return fate(number) == Fate::final ? 1 : 0;
    });
    return reply < 0 ? std::nullopt : std::optional(reply == 1);
  }
  /// Whoever watches may be wrong either way.
  OwnerState owner(std::int64_t) override {
    return static_cast<OwnerState>(call(2, [](int dead) {
      return static_cast<std::int64_t>(dead != 0 ? OwnerState::dead : OwnerState::alive);
    }));
  }
  Ending lost(std::int64_t) override { return {false, "lost"}; }

  bool create_attempt(std::int64_t number) override {
    if (mistake_ == Mistake::attempts_are_not_exclusive) {
      if (call(1, [&](int) { return exists(number); }) != 0) return false;
      call(1, [&](int) { return make(number); });
      return true;
    }
    return call(1, [&](int) { return exists(number) ? 0 : make(number); }) != 0;
  }
  bool end_attempt(std::int64_t number, const Ending& ending) override {
    const Fate fate = ending.final ? Fate::final : ending.text == "lost" ? Fate::lost : Fate::failed;
    if (mistake_ == Mistake::takers_end_nothing && fate == Fate::lost) return true;
    return call(1, [&](int) {
             AttemptState& attempt = server_.attempts[static_cast<std::size_t>(number - 1)];
             if (attempt.fate != Fate::open && mistake_ != Mistake::endings_are_not_exclusive) return 0;
             attempt.fate = fate;
             return 1;
           }) != 0;
  }
  void publish(std::int64_t number) override {
    call(1, [&](int) {
      if (server_.result != 0) return 0;
      server_.result = number;
      return 1;
    });
  }

  std::vector<std::int64_t> steps() override {
    // A late look misses the newest.
    const std::int64_t mask = call(server_.checkpoints.empty() ? 1 : 2, [&](int late) {
      std::int64_t bits = 0;
      for (const auto& [step, file] : server_.checkpoints) bits |= std::int64_t{1} << step;
      if (late != 0) bits &= ~(std::int64_t{1} << server_.checkpoints.rbegin()->first);
      return bits;
    });
    std::vector<std::int64_t> found;
    for (std::int64_t step = 0; mask >> step != 0; ++step) {
      if ((mask >> step & 1) != 0) found.push_back(step);
    }
    return found;
  }
  bool is_complete(std::int64_t) override { return true; }  // what steps() shows appeared by a rename
  bool is_whole(std::int64_t step) override {
    return call(1, [&](int) {
             return server_.checkpoints.contains(step) && mistake_ != Mistake::whole_ones_are_replaced;
           }) != 0;
  }
  bool place(std::int64_t step) override {
    return call(1, [&](int) {
             if (server_.checkpoints.contains(step)) return 0;
             server_.checkpoints[step] = {attempt_};
             server_.newest_checkpoint = std::max(server_.newest_checkpoint, step);
             return 1;
           }) != 0;
  }
  void remove(std::int64_t step) override {
    call(1, [&](int) { return static_cast<int>(server_.checkpoints.erase(step)); });
  }
  /// The attempt whose checkpoint of `step` was read; nothing when it was not there.
  std::int64_t read_checkpoint(std::int64_t step) {
    return call(1, [&](int) -> std::int64_t {
      const auto found = server_.checkpoints.find(step);
      return found == server_.checkpoints.end() ? 0 : found->second.attempt;
    });
  }

 private:
  template <class Effect>
  std::int64_t call(int choices, Effect effect) {
    const std::size_t number = calls_++;
    if (number < replies_.size()) return replies_[number];
    if (number == answers_.size()) throw NeedsAnswer{choices};
    replies_.push_back(effect(answers_[number]));
    return replies_.back();
  }
  Fate fate(std::int64_t number) const {
    return server_.attempts.at(static_cast<std::size_t>(number - 1)).fate;
  }
  bool exists(std::int64_t number) const {
    return number <= static_cast<std::int64_t>(server_.attempts.size());
  }
  int make(std::int64_t number) {
    if (!exists(number)) server_.attempts.resize(static_cast<std::size_t>(number));
    AttemptState& attempt = server_.attempts[static_cast<std::size_t>(number - 1)];
    if (attempt.owner >= 0) throw std::logic_error("two owners of attempt " + std::to_string(number));
    attempt.owner = worker_;
    return 1;
  }

  Server& server_;
  int worker_;
  std::int64_t attempt_;
  Mistake mistake_;
  const Answers& answers_;
  std::vector<std::int64_t>& replies_;
  std::size_t calls_ = 0;
};

}  // namespace minichilla::protocol_model
