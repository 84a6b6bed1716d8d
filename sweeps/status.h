// Where the runs of a sweep stand, from their files alone.
#pragma once

#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sweeps/analysis/sweep_folder.h"
#include "trainer/attempt.h"
#include "trainer/run_directory.h"

namespace minichilla {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// The newest rows of a run that has no result yet.
struct NewestMetrics {
  double tokens = 0;           ///< trained on so far
  double loss = kUnknown;      ///< of the last step
  double val_loss = kUnknown;  ///< of the last evaluation; unknown when it lies further back than is read
  double tokens_per_s = kUnknown, wall_s = kUnknown;
};

/// Reads the last 64 KiB of the newest attempt that has metrics; zeros and unknowns when none has.
NewestMetrics newest_metrics(const std::filesystem::path& run);

struct RunStatus {
  PlannedRun planned;
  RunState state = RunState::planned;
  int attempts = 0;
  double progress = 0;         ///< of its tokens, 0 to 1
  double loss = kUnknown;      ///< training loss: of the newest step, or as in the result
  double val_loss = kUnknown;  ///< nats per token
  double tokens_per_s = kUnknown, wall_s = kUnknown;
  std::string reason;     ///< of diverged, failed and interrupted
  bool given_up = false;  ///< failed as often as it may: it is tried again only when a user asks for that
};

/// Judges runs. Keep one for repeated looks: another host's worker is told dead from alive by its heartbeat
/// over time (before that it counts as running).
class StatusReader {
 public:
  /// InputError names a file that is not what the trainer wrote.
  RunStatus read(const std::filesystem::path& sweep, const PlannedRun& planned);

  /// Whether a living process works on the run; `ended` when it has no attempt.
  OwnerState owner(const std::filesystem::path& run);

 private:
  OwnerWatch watch_;
};

/// A run whose files cannot be read is `failed`, and its reason says which and why. InputError: no sweep.
std::vector<RunStatus> sweep_status(const std::filesystem::path& sweep);
/// The same by a reader that has looked before.
std::vector<RunStatus> sweep_status(const std::filesystem::path& sweep, StatusReader& reader);

struct StatusCounts {
  int planned = 0, running = 0, interrupted = 0, done = 0, diverged = 0, failed = 0;
  double progress = 0;  ///< of the whole sweep's FLOPs, 0 to 1
  int ended() const { return done + diverged; }
};
StatusCounts count_states(const std::vector<RunStatus>& runs);

/// Table, bar, counts, and the one command that finishes the sweep. At most `most_rows` runs, unfinished ones
/// first; `bars` draws their progress.
std::string status_text(const std::filesystem::path& sweep, const std::vector<RunStatus>& runs,
                        std::size_t most_rows = 200, bool bars = false);
nlohmann::ordered_json status_json(const std::vector<RunStatus>& runs);

}  // namespace minichilla
