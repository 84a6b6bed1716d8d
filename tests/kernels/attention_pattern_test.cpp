#include "kernels/attention_pattern.h"

#include <gtest/gtest.h>

#include <limits>

namespace minichilla::attention_pattern_test {
namespace {

constexpr int kLargest = std::numeric_limits<int>::max();

std::vector<AttentionPattern> patterns() {
  std::vector<AttentionPattern> all{AttentionPattern::dense()};
  for (const int window : {1, 2, 3, 7, 11, 12, 13, 50, kLargest})
    all.push_back(AttentionPattern::banded(window));
  return all;
}

TEST(AttentionPattern, CountsThePairsThatItsPredicateAllows) {
  for (const AttentionPattern& pattern : patterns()) {
    for (const int T : {1, 2, 5, 12, 37}) {
      std::int64_t pairs = 0;
      for (int query = 0; query < T; ++query) {
        for (int key = 0; key < T; ++key) pairs += pattern.allows(query, key) ? 1 : 0;
      }
      EXPECT_EQ(pattern.pairs(T), pairs) << "W = " << pattern.window() << ", T = " << T;
    }
  }
}

TEST(AttentionPattern, RangesAreTheSmallestThatHoldAllPairs) {
  const int T = 14;
  for (const AttentionPattern& pattern : patterns()) {
    for (int begin = 0; begin < T; ++begin) {
      for (int end = begin + 1; end <= T; ++end) {
        int first_key = T, last_key = -1, first_query = T, last_query = -1;
        for (int query = 0; query < T; ++query) {
          for (int key = 0; key < T; ++key) {
            if (!pattern.allows(query, key)) continue;
            if (query >= begin && query < end) {
              first_key = std::min(first_key, key);
              last_key = std::max(last_key, key);
            }
            if (key >= begin && key < end) {
              first_query = std::min(first_query, query);
              last_query = std::max(last_query, query);
            }
          }
        }
        const KeyRange keys = pattern.key_range(begin, end), queries = pattern.query_range(begin, end, T);
        SCOPED_TRACE(testing::Message() << "W = " << pattern.window() << " [" << begin << ", " << end << ")");
        EXPECT_EQ(keys.begin, first_key);
        EXPECT_EQ(keys.end, last_key + 1);
        EXPECT_EQ(queries.begin, first_query);
        EXPECT_EQ(queries.end, last_query + 1);
      }
    }
  }
}

TEST(AttentionPattern, IsDenseFromTheContextLengthOn) {
  EXPECT_TRUE(AttentionPattern::dense().is_dense(kLargest / 2));
  EXPECT_TRUE(AttentionPattern::banded(64).is_dense(64));
  EXPECT_FALSE(AttentionPattern::banded(63).is_dense(64));
}

TEST(AttentionPattern, LongContextsDoNotOverflow) {
  const int T = 1 << 30;
  EXPECT_EQ(AttentionPattern::dense().pairs(T), (std::int64_t{1} << 29) * ((std::int64_t{1} << 30) + 1));
  EXPECT_EQ(AttentionPattern::banded(kLargest).query_range(T - 2, T - 1, T).end, T);
  EXPECT_EQ(AttentionPattern::banded(kLargest).key_range(T - 2, T - 1).begin, 0);
}

}  // namespace
}  // namespace minichilla::attention_pattern_test
