#include "trainer/token_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace minichilla {

TokenEntropy measure_entropy(const TokenSplit& split, int vocabulary) {
  constexpr std::int64_t kBlock = 1 << 16;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(vocabulary), 0);
  std::unordered_map<std::uint64_t, std::int64_t> pairs;  // key: first id · 2^32 + second id
  std::vector<std::int32_t> ids(kBlock);
  std::int32_t previous = -1;
  for (std::int64_t begin = 0; begin < split.tokens(); begin += kBlock) {
    const std::int64_t count = std::min(kBlock, split.tokens() - begin);
    split.read(begin, count, ids.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t id = ids[static_cast<std::size_t>(i)];
      ++counts[static_cast<std::size_t>(id)];
      if (previous >= 0) ++pairs[static_cast<std::uint64_t>(previous) << 32 | static_cast<std::uint64_t>(id)];
      previous = id;
    }
  }

  const auto tokens = static_cast<double>(split.tokens());
  TokenEntropy entropy{0, 0};
  for (const std::int64_t count : counts) {
    if (count > 0)
      entropy.unigram += static_cast<double>(count) / tokens * std::log(tokens / static_cast<double>(count));
  }
  if (pairs.empty()) return {entropy.unigram, std::numeric_limits<double>::quiet_NaN()};
  --counts[static_cast<std::size_t>(previous)];  // the last token comes before nothing
  for (const auto& [key, count] : pairs) {
    const auto before = static_cast<double>(counts[key >> 32]), both = static_cast<double>(count);
    entropy.bigram += both / (tokens - 1) * std::log(before / both);
  }
  return entropy;
}

}  // namespace minichilla
