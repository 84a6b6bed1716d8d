// Which (query, key) pairs a layer attends to. The reference model, every device and the FLOP count ask here.
#pragma once

#include <cstdint>

namespace minichilla {

/// Half-open range of key positions.
struct KeyRange {
  int begin;
  int end;
};

/// Causal attention inside a band: query `t` sees the keys `t - window + 1 … t`, itself included. Dense causal
/// attention is the band with window ≥ T (Child et al. 2019 call the band "local"; GPT-3 alternates the two).
class AttentionPattern {
 public:
  static AttentionPattern dense() { return AttentionPattern(kDense); }
  /// `window` ≥ 1: the number of keys that a query sees, itself included.
  static AttentionPattern banded(int window) { return AttentionPattern(window); }

  bool is_dense(int context_length) const { return window_ >= context_length; }
  int window() const { return window_; }

  bool allows(int query, int key) const { return key <= query && query - key < window_; }

  /// The smallest range of keys that holds all that the queries [query_begin, query_end) may see.
  KeyRange key_range(int query_begin, int query_end) const {
    const std::int64_t first = static_cast<std::int64_t>(query_begin) - window_ + 1;
    return {first > 0 ? static_cast<int>(first) : 0, query_end};
  }

  /// The smallest range of queries that may see any of the keys [key_begin, key_end), for context length T.
  KeyRange query_range(int key_begin, int key_end, int T) const {
    const std::int64_t last = static_cast<std::int64_t>(key_end) - 1 + window_;
    return {key_begin, last < T ? static_cast<int>(last) : T};
  }

  /// Number of allowed (query, key) pairs in a sequence of T tokens.
  std::int64_t pairs(int T) const {
    const std::int64_t w = window_ < T ? window_ : T;
    return w * (w + 1) / 2 + (T - w) * w;
  }

 private:
  static constexpr int kDense = 1 << 30;
  explicit AttentionPattern(int window) : window_(window) {}
  int window_;
};

}  // namespace minichilla
