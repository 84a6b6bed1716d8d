// checkpoints/<step>: model.safetensors · optimizer.safetensors · state.json · complete
//
// The files are written into a temporary folder, the marker `complete` with the SHA-256 of the others last;
// then the folder is renamed into place. A reader believes a folder only when all of that agrees.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "model/parameters.h"
#include "trainer/flat_store.h"

namespace minichilla {

/// Where a run stands after `step` steps, besides the flat arrays.
struct CheckpointState {
  std::int64_t step = 0;
  std::int64_t sequences = 0;  ///< of the training data, consumed so far
  double tail_loss_sum = 0;    ///< Σ loss of those steps so far that lie in the last 5 % of the run
  /// The newest evaluation; not-a-number before the first.
  double val_loss = std::numeric_limits<double>::quiet_NaN();
  double val_bits_per_byte = std::numeric_limits<double>::quiet_NaN();
  std::int64_t val_step = 0;  ///< after which step it was made; 0: none yet
  double wall_s = 0;          ///< so far, over all attempts
  double train_s = 0;         ///< of it spent in training steps
  std::string config_hash, corpus_hash;
  std::string tokenizer;                ///< Corpus::tokenizer()
  std::string numerics_id;              ///< "a", or "a+b" when the run went on under another one
  std::optional<std::int64_t> attempt;  ///< that wrote it; unknown in checkpoints of versions before 0.2
};

/// Why the checkpoint in `folder` cannot be used: no marker, a missing file, a checksum that does not match;
/// empty when it is whole.
std::string checkpoint_fault(const std::filesystem::path& folder);

class Checkpoints {
 public:
  using Warn = std::function<void(const std::string&)>;

  /// Of the run in folder `run`. `table` outlives this.
  Checkpoints(const std::filesystem::path& run, const ParameterTable& table);

  /// Checkpoints of this config hash are of a line that was given up: load() passes them over.
  void abandon(const std::string& config_hash) { abandoned_.insert(config_hash); }

  /// Writes checkpoints/<state.step>, unless a whole one is there, and keeps the two newest. Newer ones than
  /// this may be those of a process that has taken the run over: they stay. IoError; older checkpoints then
  /// stay as they are.
  void save(const CheckpointState& state, const FlatStore& arrays);

  /// The newest checkpoint that is whole, into `arrays`; nothing when there is none. A broken one is passed
  /// over with a warning, before anything is written. InputError when it is whole but of another config,
  /// corpus, tokenizer or format than `expected` says; IoError when there is none that is whole, but one that
  /// could not be read.
  std::optional<CheckpointState> load(const CheckpointState& expected, FlatStore& arrays, const Warn& warn);

  /// The checkpoint in `folder`, which may be another run's. InputError when it is broken, or as load().
  CheckpointState load_from(const std::filesystem::path& folder, const CheckpointState& expected,
                            FlatStore& arrays) const;

  /// Removes all but the `kept` newest whole checkpoints.
  void prune(std::size_t kept) const;

 private:
  class Folder;
  void remove_temporaries(std::int64_t attempt) const;
  CheckpointState load_one(const std::filesystem::path& folder, const CheckpointState& expected,
                           FlatStore& arrays) const;

  std::filesystem::path folder_;
  const ParameterTable& table_;
  std::set<std::int64_t> broken_;  ///< passed over by load()
  std::set<std::string> abandoned_;
};

}  // namespace minichilla
