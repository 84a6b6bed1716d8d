#include "trainer/token_entropy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace minichilla::token_entropy_test {
namespace {

class ListedSplit : public TokenSplit {
 public:
  explicit ListedSplit(std::vector<std::int32_t> ids) : ids_(std::move(ids)) {}
  std::int64_t tokens() const override { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t text_bytes() const override { return tokens(); }
  void read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const override {
    std::copy_n(ids_.begin() + begin, count, ids);
  }

 private:
  std::vector<std::int32_t> ids_;
};

TEST(MeasureEntropy, OfOneSymbolIsZero) {
  const TokenEntropy entropy = measure_entropy(ListedSplit(std::vector<std::int32_t>(10, 3)), 4);
  EXPECT_EQ(entropy.unigram, 0);
  EXPECT_EQ(entropy.bigram, 0);
}

TEST(MeasureEntropy, OfAnAlternationLiesInTheContext) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 200000; ++i) ids.push_back(i % 2);  // several blocks, an odd pair across each border
  const TokenEntropy entropy = measure_entropy(ListedSplit(ids), 2);
  EXPECT_NEAR(entropy.unigram, std::log(2), 1e-12);
  EXPECT_NEAR(entropy.bigram, 0, 1e-12);
}

TEST(MeasureEntropy, AgreesWithAHandCount) {
  // a a b a c: p = 3/5, 1/5, 1/5; pairs aa, ab, ba, ac: after a three ways (1/3 each), after b one way.
  const TokenEntropy entropy = measure_entropy(ListedSplit({0, 0, 1, 0, 2}), 3);
  EXPECT_NEAR(entropy.unigram, -(0.6 * std::log(0.6) + 0.4 * std::log(0.2)), 1e-12);
  EXPECT_NEAR(entropy.bigram, 0.75 * std::log(3), 1e-12);
}

TEST(MeasureEntropy, OfUniformTokensIsTheLogarithmOfTheVocabulary) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) ids.insert(ids.end(), {i, j});
  }
  EXPECT_NEAR(measure_entropy(ListedSplit(ids), 16).unigram, std::log(16), 1e-12);
}

TEST(MeasureEntropy, OfASingleTokenHasNoPairs) {
  const TokenEntropy entropy = measure_entropy(ListedSplit({5}), 6);
  EXPECT_EQ(entropy.unigram, 0);
  EXPECT_TRUE(std::isnan(entropy.bigram));
}

}  // namespace
}  // namespace minichilla::token_entropy_test
