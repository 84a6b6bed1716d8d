#include "trainer/batch_sampler.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "tests/temporary_folder.h"
#include "trainer/corpus.h"

namespace minichilla::batch_sampler_test {
namespace {

using testing::HasSubstr;

/// Token i of the split is i, and reads outside it are a failure of the test.
class CountingSplit : public TokenSplit {
 public:
  explicit CountingSplit(std::int64_t tokens) : tokens_(tokens) {}
  std::int64_t tokens() const override { return tokens_; }
  std::int64_t text_bytes() const override { return tokens_; }
  void read(std::int64_t begin, std::int64_t count, std::int32_t* ids) const override {
    ASSERT_GE(begin, 0);
    ASSERT_LE(begin + count, tokens_);
    std::iota(ids, ids + count, static_cast<std::int32_t>(begin));
  }

 private:
  std::int64_t tokens_;
};

std::vector<std::int64_t> epoch(const BatchSampler& sampler, std::int64_t number) {
  std::vector<std::int64_t> windows;
  for (std::int64_t i = 0; i < sampler.windows(); ++i) {
    windows.push_back(sampler.window_of(number * sampler.windows() + i));
  }
  return windows;
}

TEST(Permutation, IsABijectionForEverySize) {
  std::vector<std::uint64_t> sizes = {97,   127,  128,  129,  255,  256,   257,
                                      1000, 1023, 1024, 1025, 4099, 65536, 100003};
  for (std::uint64_t size = 1; size <= 70; ++size) sizes.push_back(size);
  for (const std::uint64_t size : sizes) {
    for (const std::uint64_t key : {0u, 1u, 12345u}) {
      const Permutation permutation(size, key);
      std::vector<bool> hit(size, false);
      for (std::uint64_t i = 0; i < size; ++i) {
        const std::uint64_t to = permutation(i);
        ASSERT_LT(to, size);
        ASSERT_FALSE(hit[to]) << size << " " << key;
        hit[to] = true;
      }
    }
  }
}

TEST(Permutation, WorksAtTheLargestSizes) {
  const std::uint64_t size = std::uint64_t{1} << 62;
  const Permutation permutation(size, 3);
  EXPECT_LT(permutation(size - 1), size);
  EXPECT_NE(permutation(0), permutation(1));
  EXPECT_THROW(permutation(size), std::invalid_argument);
  EXPECT_THROW(Permutation(0, 1), std::invalid_argument);
  EXPECT_THROW(Permutation(size + 1, 1), std::invalid_argument);
}

/// Pearson's statistic of counts that should be equal.
double chi_square(const std::vector<int>& counts) {
  const double expected =
      std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(counts.size());
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

TEST(Permutation, EveryPlaceIsEquallyLikelyOverTheKeys) {
  for (const std::uint64_t size : {3u, 5u, 16u, 37u}) {
    for (const std::uint64_t index : {std::uint64_t{0}, size / 2, size - 1}) {
      std::vector<int> counts(size, 0);
      for (std::uint64_t key = 0; key < 20000; ++key) ++counts[Permutation(size, key)(index)];
      const auto freedom = static_cast<double>(size - 1);
      EXPECT_LT(chi_square(counts), freedom + 4 * std::sqrt(2 * freedom) + 4) << size << " " << index;
    }
  }
}

TEST(Permutation, NeighboursPartAsInARandomOrder) {
  // The difference of the places of two neighbours, modulo the size, should take each non-zero value equally
  // often.
  const std::uint64_t size = 1009;
  std::vector<int> counts(size - 1, 0);
  for (std::uint64_t key = 0; key < 40; ++key) {
    const Permutation permutation(size, key);
    for (std::uint64_t i = 0; i + 1 < size; ++i) {
      ++counts[(permutation(i + 1) + size - permutation(i)) % size - 1];
    }
  }
  const auto freedom = static_cast<double>(size - 2);
  EXPECT_LT(chi_square(counts), freedom + 5 * std::sqrt(2 * freedom));
  EXPECT_GT(chi_square(counts), freedom - 5 * std::sqrt(2 * freedom));
}

TEST(Permutation, AllSixOrdersOfThreeOccurEquallyOften) {
  std::vector<int> counts(27, 0);
  for (std::uint64_t key = 0; key < 12000; ++key) {
    const Permutation permutation(3, key);
    ++counts[permutation(0) * 9 + permutation(1) * 3 + permutation(2)];
  }
  std::erase(counts, 0);
  EXPECT_EQ(counts.size(), 6u);
  EXPECT_LT(chi_square(counts), 25);
}

TEST(BatchSampler, CountsWholeWindows) {
  const auto windows = [](std::int64_t tokens, int context) {
    return BatchSampler(CountingSplit(tokens), context, "shuffled", 1).windows();
  };
  EXPECT_EQ(windows(2, 1), 1);
  EXPECT_EQ(windows(9, 8), 1);
  EXPECT_EQ(windows(16, 8), 1);  // the second window's last target is missing
  EXPECT_EQ(windows(17, 8), 2);
  EXPECT_EQ(windows(100, 3), 33);
}

TEST(BatchSampler, RefusesASplitWithoutAWindow) {
  for (const std::int64_t tokens : {0, 1, 8}) {
    const CountingSplit split(tokens);
    EXPECT_THAT(message_of<InputError>([&] { BatchSampler(split, 8, "shuffled", 1); }),
                HasSubstr("found " + std::to_string(tokens) + " tokens for training, expected more than"));
  }
}

TEST(BatchSampler, RefusesAnUnknownOrder) {
  const CountingSplit split(100);
  EXPECT_THAT(
      message_of<InputError>([&] { BatchSampler(split, 8, "shufled", 1); }),
      HasSubstr("data.order: found 'shufled', expected shuffled or sequential; did you mean 'shuffled'?"));
}

TEST(BatchSampler, SequentialGoesThroughTheSplitAgainAndAgain) {
  const CountingSplit split(33);
  const BatchSampler sampler(split, 8, "sequential", 5);
  ASSERT_EQ(sampler.windows(), 4);
  for (std::int64_t s = 0; s < 13; ++s) {
    EXPECT_EQ(sampler.window_of(s), s % 4);
    EXPECT_EQ(sampler.epoch_of(s), s / 4);
  }
  EXPECT_THROW(sampler.window_of(-1), std::invalid_argument);
}

TEST(BatchSampler, EveryEpochHasEveryWindowOnceInAnotherOrder) {
  const CountingSplit split(4001);
  const BatchSampler sampler(split, 4, "shuffled", 1), other(split, 4, "shuffled", 2);
  std::vector<std::int64_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::vector<std::int64_t>> orders = {all};
  for (const auto& order :
       {epoch(sampler, 0), epoch(sampler, 1), epoch(sampler, 1000000), epoch(other, 0), epoch(other, 1)}) {
    EXPECT_TRUE(std::is_permutation(order.begin(), order.end(), all.begin(), all.end()));
    for (const auto& earlier : orders) {
      int same = 0;
      for (std::size_t i = 0; i < order.size(); ++i) same += order[i] == earlier[i];
      EXPECT_LT(same, 12);  // about 1 in a random order
    }
    orders.push_back(order);
  }
}

TEST(BatchSampler, TheOrderOfASeedIsKeptForever) {
  const CountingSplit split(81);
  const BatchSampler sampler(split, 8, "shuffled", 1);
  EXPECT_THAT(epoch(sampler, 0), testing::ElementsAreArray(epoch(BatchSampler(split, 8, "shuffled", 1), 0)));
  EXPECT_THAT(epoch(sampler, 0), testing::ElementsAre(6, 9, 3, 5, 1, 7, 2, 4, 8, 0));
}

TEST(BatchSampler, FillGivesInputsAndShiftedTargets) {
  const CountingSplit split(1000);
  const BatchSampler sampler(split, 7, "shuffled", 3);
  std::vector<std::int32_t> tokens(5 * 7, -1), targets(5 * 7, -1);
  sampler.fill(140, 5, tokens.data(), targets.data());  // across the end of epoch 0: 142 windows
  for (int i = 0; i < 5; ++i) {
    for (int t = 0; t < 7; ++t) {
      EXPECT_EQ(tokens[static_cast<std::size_t>(i * 7 + t)], sampler.window_of(140 + i) * 7 + t);
      EXPECT_EQ(targets[static_cast<std::size_t>(i * 7 + t)], sampler.window_of(140 + i) * 7 + t + 1);
    }
  }
}

TEST(BatchSampler, ResumingAnywhereGivesTheSameAsAStraightRun) {
  const CountingSplit split(100);
  constexpr int kSequences = 90, kContext = 3;  // 33 windows: almost three epochs
  std::vector<std::int32_t> straight(kSequences * kContext), targets(straight.size());
  BatchSampler(split, kContext, "shuffled", 9).fill(0, kSequences, straight.data(), targets.data());
  for (int from = 0; from < kSequences; ++from) {
    std::vector<std::int32_t> resumed(static_cast<std::size_t>((kSequences - from) * kContext)),
        next(resumed.size());
    BatchSampler(split, kContext, "shuffled", 9).fill(from, kSequences - from, resumed.data(), next.data());
    EXPECT_TRUE(std::equal(resumed.begin(), resumed.end(), straight.begin() + from * kContext));
    EXPECT_TRUE(std::equal(next.begin(), next.end(), targets.begin() + from * kContext));
  }
}

TEST(EvaluationWindows, AreTheFirstOnesInOrder) {
  const CountingSplit split(1000);
  const EvaluationWindows evaluation(split, 10, 65);
  ASSERT_EQ(evaluation.windows(), 6);
  std::vector<std::int32_t> tokens(60), targets(60), expected(60);
  evaluation.fill(0, 6, tokens.data(), targets.data());
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(tokens, expected);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(targets, expected);
  evaluation.fill(5, 1, tokens.data(), targets.data());
  EXPECT_EQ(tokens[0], 50);
  EXPECT_THROW(evaluation.fill(5, 2, tokens.data(), targets.data()), std::invalid_argument);
  EXPECT_THROW(evaluation.fill(-1, 1, tokens.data(), targets.data()), std::invalid_argument);
}

TEST(EvaluationWindows, UseWhatIsThere) {
  EXPECT_EQ(EvaluationWindows(CountingSplit(60), 10, 1 << 20).windows(), 5);
  EXPECT_EQ(EvaluationWindows(CountingSplit(61), 10, 1 << 20).windows(), 6);
  EXPECT_EQ(EvaluationWindows(CountingSplit(1000), 10, 10).windows(), 1);
}

TEST(EvaluationWindows, RefuseWhatGivesNoWindow) {
  EXPECT_THAT(message_of<InputError>([] { EvaluationWindows(CountingSplit(10), 10, 100); }),
              HasSubstr("found 10 tokens for evaluation, expected more than model.context_length = 10"));
  EXPECT_THAT(message_of<InputError>([] { EvaluationWindows(CountingSplit(1000), 10, 9); }),
              HasSubstr("train.evaluate.tokens: found 9, expected at least model.context_length = 10"));
}

}  // namespace
}  // namespace minichilla::batch_sampler_test
