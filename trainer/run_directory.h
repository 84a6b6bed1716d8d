// One run on disk: config.yaml · attempts/<n>/{metrics.jsonl, log, heartbeat, owner.json} · checkpoints/ ·
// result.json
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "trainer/run_config.h"

namespace minichilla {

/// result.json: one object, written once, when the run has ended for good.
struct RunResult {
  std::string run_id;
  std::string status;  ///< "done" or "diverged"
  std::string reason;  ///< empty when done; else one sentence
  std::int64_t params = 0, params_non_embedding = 0, tokens = 0, steps = 0;
  double flops = 0, flops_6nd = 0, flops_hoffmann = 0;
  double train_loss = 0;  ///< mean over the last 5 % of steps, nats per token
  double val_loss = 0;    ///< after the last step, nats per token; not-a-number when diverged
  double val_bits_per_byte = 0;
  double wall_s = 0, tokens_per_s = 0;  ///< over all attempts; training without evaluation for the rate
  double epochs = 0;                    ///< tokens / training split's tokens
  std::string device, numerics_id;
  std::uint64_t seed = 0;
  std::string version, source;   ///< of the program; source_hash(), empty in results of earlier programs
  int learning_rate_halved = 0;  ///< times, after as many divergences (train.on_divergence)
};

/// One line of metrics.jsonl: a training step, or an evaluation when `split` is not empty.
struct MetricsRow {
  std::int64_t step = 0;    ///< steps done, 1 after the first update
  std::int64_t tokens = 0;  ///< tokens trained on so far
  double flops = 0;         ///< spent so far
  double loss = 0;          ///< nats per token: of this step's batch, or of the evaluation
  double lr = 0, grad_norm = 0, tokens_per_s = 0, wall_s = 0;
  std::string split;         ///< evaluation: "val"
  double bits_per_byte = 0;  ///< evaluation
  /// Of the last step's evaluation where those before read fewer tokens: the loss on the same ones; else not
  /// a number.
  double midway_loss = std::numeric_limits<double>::quiet_NaN();
};

enum class RunState { planned, running, interrupted, done, diverged, failed };
const char* name_of(RunState state);

/// What a reader may know of a run; derived from its files alone, without touching them.
struct RunRecord {
  std::filesystem::path folder;
  RunConfig config;
  std::optional<RunResult> result;
  int attempts = 0;
  /// `running` is what the newest attempt's owner claims; whether it still lives is for the sweep to judge.
  RunState state = RunState::planned;
};

/// Names of folders inside `parent` that are whole numbers, ascending; none when there is no such parent.
/// IoError.
std::vector<std::int64_t> numbered_folders(const std::filesystem::path& parent);

/// Reads config.yaml; InputError names what is wrong, also when there is none.
RunConfig read_run_config(const std::filesystem::path& folder);

/// The result in the text of a result.json; InputError begins with `where` when it is not what publish_result
/// writes.
RunResult parse_result(const std::string& text, const std::string& where);
/// result.json, or nothing while the run has none. InputError as above.
std::optional<RunResult> read_result(const std::filesystem::path& folder);
/// The text of result.json. Losses that are not finite are null.
std::string result_json(const RunResult& result);
/// Reads config.yaml, result.json and the attempts' outcomes. InputError names the file and what is wrong.
RunRecord read_run(const std::filesystem::path& folder);

/// The rows of one attempt, the text of a metrics.jsonl. A torn last line is skipped. InputError names `file`
/// and line.
std::vector<MetricsRow> parse_metrics(const std::string& text, const std::string& file);

/// The rows that led to the run's result, or to where its newest attempt is: of each attempt those that the
/// next one began after (see AttemptOrigin), so that no step appears twice or is missing.
std::vector<MetricsRow> read_metrics(const std::filesystem::path& folder);

}  // namespace minichilla
