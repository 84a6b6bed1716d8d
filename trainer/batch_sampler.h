// Which tokens a training step sees, and which ones an evaluation sees.
//
// A split of `tokens` ids is cut into floor((tokens − 1) / T) windows of T + 1 ids with stride T: window i
// holds the ids at T·i … T·i + T; its first T ids are the inputs, its last T ids the targets (inputs shifted
// by one). So every id is an input at most once per epoch; a tail shorter than a window is never used.
// Windows may cross documents.
#pragma once

#include <cstdint>
#include <string>

namespace minichilla {

class TokenSplit;

/// A pseudo-random bijection of {0 … size − 1} chosen by `key`, computed without a table: a balanced Feistel
/// network over the smallest even number of bits that holds `size`, walked along its cycle until the value is
/// in range (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Not for secrets.
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t key);
  /// Where `index` (< size) goes.
  std::uint64_t operator()(std::uint64_t index) const;

 private:
  static constexpr int kRounds = 8;
  std::uint64_t size_;
  int half_bits_;
  std::uint64_t round_keys_[kRounds];
};

/// The order of a run's training sequences. It has no state: sequence s of the run (0, 1, 2, …) is a function
/// of (split, T, order, seed, s) alone, so resuming needs nothing but s. Const members may be called from any
/// thread.
class BatchSampler {
 public:
  /// `order`: "shuffled" (every epoch its own permutation of the windows, without replacement) or
  /// "sequential". Keeps a reference to `split`. InputError when the split has no whole window or the order
  /// is unknown.
  BatchSampler(const TokenSplit& split, int context_length, const std::string& order, std::uint64_t seed);

  /// Sequences in an epoch.
  std::int64_t windows() const { return windows_; }
  /// The epoch that sequence s belongs to, from 0.
  std::int64_t epoch_of(std::int64_t sequence) const { return sequence / windows_; }
  /// The window that sequence s (≥ 0) is.
  std::int64_t window_of(std::int64_t sequence) const;

  /// Sequences first_sequence … first_sequence + count − 1 into tokens (count, T) and targets (count, T).
  void fill(std::int64_t first_sequence, int count, std::int32_t* tokens, std::int32_t* targets) const;

 private:
  const TokenSplit& split_;
  std::int64_t context_length_, windows_;
  bool shuffled_;
  std::uint64_t seed_;
};

/// A fixed evaluation set: the windows that fit into the first `max_tokens` predicted tokens of a split, in
/// order.
class EvaluationWindows {
 public:
  /// Uses what is there when the split has fewer tokens. Keeps a reference to `split`. InputError when there
  /// is not one whole window.
  EvaluationWindows(const TokenSplit& split, int context_length, std::int64_t max_tokens);

  std::int64_t windows() const { return windows_; }
  /// Windows first_window … first_window + count − 1 into tokens (count, T) and targets (count, T).
  void fill(std::int64_t first_window, int count, std::int32_t* tokens, std::int32_t* targets) const;

 private:
  const TokenSplit& split_;
  std::int64_t context_length_, windows_;
};

}  // namespace minichilla
