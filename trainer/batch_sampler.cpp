#include "trainer/batch_sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>

#include "kernels/error.h"
#include "model/quote.h"
#include "trainer/corpus.h"

namespace minichilla {
namespace {

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64 bits with good avalanche.
std::uint64_t mixed(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

std::uint64_t combined(std::uint64_t a, std::uint64_t b) {
  return mixed(mixed(a + 0x9e3779b97f4a7c15u) + b + 0x9e3779b97f4a7c15u);
}

/// Whole windows in `tokens` ids: the last one needs a target after it.
std::int64_t whole_windows(const TokenSplit& split, int context_length, const char* use) {
  if (context_length < 1) throw std::invalid_argument("context length must be positive");
  const std::int64_t windows = (split.tokens() - 1) / context_length;
  if (windows < 1) {
    throw InputError(std::string("corpus: found ") + std::to_string(split.tokens()) + " tokens for " + use +
                     ", expected more than model.context_length = " + std::to_string(context_length));
  }
  return windows;
}

void read_window(const TokenSplit& split, std::int64_t window, std::int64_t context_length,
                 std::int32_t* tokens, std::int32_t* targets) {
  split.read(window * context_length, context_length, tokens);
  split.read(window * context_length + 1, context_length, targets);
}

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t key) : size_(size) {
  if (size == 0 || size > std::uint64_t{1} << 62)
    throw std::invalid_argument("permutation size out of range");
  half_bits_ = std::max(1, static_cast<int>(std::bit_width(size - 1) + 1) / 2);
  for (int round = 0; round < kRounds; ++round)
    round_keys_[round] = combined(key, static_cast<std::uint64_t>(round));
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  if (index >= size_) throw std::invalid_argument("permutation index out of range");
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    std::uint64_t left = index >> half_bits_, right = index & mask;
    for (const std::uint64_t key : round_keys_) {
      const std::uint64_t next = left ^ (combined(key, right) & mask);
      left = right;
      right = next;
    }
    index = left << half_bits_ | right;
  } while (index >= size_);
  return index;
}

BatchSampler::BatchSampler(const TokenSplit& split, int context_length, const std::string& order,
                           std::uint64_t seed)
    : split_(split),
      context_length_(context_length),
      windows_(whole_windows(split, context_length, "training")),
      shuffled_(order == "shuffled"),
      seed_(seed) {
  static const std::array<std::string, 2> kOrders = {"shuffled", "sequential"};
  if (std::find(kOrders.begin(), kOrders.end(), order) == kOrders.end()) {
    const std::string near = nearest_name(order, kOrders);
    throw InputError("data.order: found " + quote(order) + ", expected shuffled or sequential" +
                     (near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
}

std::int64_t BatchSampler::window_of(std::int64_t sequence) const {
  if (sequence < 0) throw std::invalid_argument("sequence number must not be negative");
  const std::int64_t index = sequence % windows_;
  if (!shuffled_) return index;
  const Permutation permutation(static_cast<std::uint64_t>(windows_),
                                combined(seed_, static_cast<std::uint64_t>(epoch_of(sequence))));
  return static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(index)));
}

void BatchSampler::fill(std::int64_t first_sequence, int count, std::int32_t* tokens,
                        std::int32_t* targets) const {
  for (int i = 0; i < count; ++i) {
    read_window(split_, window_of(first_sequence + i), context_length_, tokens + i * context_length_,
                targets + i * context_length_);
  }
}

EvaluationWindows::EvaluationWindows(const TokenSplit& split, int context_length, std::int64_t max_tokens)
    : split_(split),
      context_length_(context_length),
      windows_(std::min(whole_windows(split, context_length, "evaluation"), max_tokens / context_length)) {
  if (windows_ < 1) {
    throw InputError("train.evaluate.tokens: found " + std::to_string(max_tokens) +
                     ", expected at least model.context_length = " + std::to_string(context_length));
  }
}

void EvaluationWindows::fill(std::int64_t first_window, int count, std::int32_t* tokens,
                             std::int32_t* targets) const {
  if (first_window < 0 || count < 0 || first_window + count > windows_) {
    throw std::invalid_argument("evaluation window out of range");
  }
  for (int i = 0; i < count; ++i) {
    read_window(split_, first_window + i, context_length_, tokens + i * context_length_,
                targets + i * context_length_);
  }
}

}  // namespace minichilla
