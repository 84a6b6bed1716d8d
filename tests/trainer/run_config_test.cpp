#include "trainer/run_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tests/trainer/run_fixture.h"

namespace minichilla::run_config_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Interval, ReadsFractionsStepsAndTimes) {
  const auto is = [](const std::string& text, Interval::Unit unit, double value) {
    const Interval interval = parse_interval(text);
    return interval.unit == unit && interval.value == value;
  };
  EXPECT_TRUE(is("0.05", Interval::Unit::fraction, 0.05));
  EXPECT_TRUE(is("1", Interval::Unit::fraction, 1));
  EXPECT_TRUE(is("200 steps", Interval::Unit::steps, 200));
  EXPECT_TRUE(is("1 step", Interval::Unit::steps, 1));
  EXPECT_TRUE(is("1k steps", Interval::Unit::steps, 1000));
  EXPECT_TRUE(is("60s", Interval::Unit::seconds, 60));
  EXPECT_TRUE(is("0.5s", Interval::Unit::seconds, 0.5));
  EXPECT_TRUE(is("10m", Interval::Unit::seconds, 600));
  EXPECT_TRUE(is("2h", Interval::Unit::seconds, 7200));
}

TEST(Interval, WritesWhatItReads) {
  for (const std::string text : {"0.05", "200 steps", "1 step", "60s", "0.5s"}) {
    EXPECT_EQ(format_interval(parse_interval(text)), text);
  }
  EXPECT_EQ(format_interval(parse_interval("10m")), "600s");
}

TEST(Interval, RefusesEverythingElse) {
  for (const std::string text : {"", "0", "-0.1", "1.5", "0 steps", "1.5 steps", "-3 steps", "0s", "-1s",
                                 "steps", "s", "60 sec", "nan", "inf s", "5 %", "10 m s"}) {
    EXPECT_THROW(parse_interval(text), std::invalid_argument) << text;
  }
}

TEST(RunConfig, ResolvedReadsBackAsItself) {
  const MemoryCorpus corpus(4000, 300);
  const RunConfig config = resolved(tiny_config(), corpus);
  RunConfig again;
  read_config(yaml_of(write_config(config)), "again.yaml", again);
  EXPECT_EQ(yaml_text(write_config(resolved(again, corpus))), yaml_text(write_config(config)));
  EXPECT_FALSE(first_difference(config, again).has_value());
}

TEST(RunConfig, ResolvesSlotsAndEvaluationTokens) {
  const MemoryCorpus corpus(4000, 300);
  RunConfig config = tiny_config();
  config.train.gradient_slots = 64;
  config.train.evaluate.tokens = 1'000'000;
  RunConfig full = resolved(config, corpus);
  EXPECT_EQ(full.train.gradient_slots, 4);         // 8 sequences, 2 at a time
  EXPECT_EQ(full.train.evaluate.tokens, 18 * 16);  // 299 / 16 windows
  config.train.evaluate.tokens = 1;
  EXPECT_EQ(resolved(config, corpus).train.evaluate.tokens, 16);
}

TEST(RunConfig, BatchMustBeAMultipleOfTheMicroBatch) {
  const MemoryCorpus corpus(4000, 300);
  RunConfig config = tiny_config();
  config.train.batch_tokens = 100;
  EXPECT_THAT(
      message_of<InputError>([&] { resolved(config, corpus); }),
      AllOf(HasSubstr("train.batch_tokens: found 100"), HasSubstr("2 * 16 = 32"), HasSubstr("96 or 128")));
  config.train.batch_tokens = 31;
  EXPECT_THAT(message_of<InputError>([&] { resolved(config, corpus); }), HasSubstr("nearest: 32"));
}

TEST(RunConfig, NeedsTokensForOneStep) {
  const MemoryCorpus corpus(4000, 300);
  RunConfig config = tiny_config();
  config.train.tokens = 127;
  EXPECT_THAT(message_of<InputError>([&] { resolved(config, corpus); }),
              AllOf(HasSubstr("train.tokens: found 127"), HasSubstr("128")));
  config.train.tokens = 255;
  EXPECT_EQ(resolved(config, corpus).train.steps(), 1);
}

TEST(RunConfig, NeedsACorpusThatIsLargeEnough) {
  EXPECT_THAT(message_of<InputError>([] { resolved(tiny_config(), MemoryCorpus(128, 300)); }),
              AllOf(HasSubstr("train.batch_tokens: found 128"), HasSubstr("has only 128 tokens")));
  EXPECT_NO_THROW(resolved(tiny_config(), MemoryCorpus(129, 17)));
  EXPECT_THAT(
      message_of<InputError>([] { resolved(tiny_config(), MemoryCorpus(129, 16)); }),
      AllOf(HasSubstr("model.context_length"), HasSubstr("split val"), HasSubstr("has only 16 tokens")));
}

TEST(RunConfig, RecomputeIsAListOfChoices) {
  const auto read = [](const std::string& list) {
    RunConfig config;
    config.train.recompute = {"mlp"};
    read_config(YAML::Load("train: {recompute: " + list + "}"), "c.yaml", config);
    return config.train.recompute;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(read("[norms, mlp]"), (Names{"norms", "mlp"}));
  EXPECT_EQ(read("norms"), Names{"norms"});
  EXPECT_EQ(read("[]"), Names{});
  EXPECT_THAT(
      message_of<InputError>([&] { read("[norm]"); }),
      HasSubstr("c.yaml:1: train.recompute[0]: found 'norm', expected one of norms, mlp; did you mean"));
  EXPECT_THAT(message_of<InputError>([&] { read("[mlp, mlp]"); }),
              HasSubstr("train.recompute[1]: found 'mlp' a second time, expected once"));
}

/// Ids that were given before must stay: a new key that is no part of what a run is may not enter the hash.
TEST(RunId, StaysWhatItWas) {
  EXPECT_EQ(run_id(resolved(tiny_config(), MemoryCorpus(4000, 300)), "abc"), "1x16-3.07k-s1-68ec7f80");
}

TEST(RunId, NamesShapeTokensSeedAndHash) {
  const RunConfig config = resolved(tiny_config(), MemoryCorpus(4000, 300));
  EXPECT_THAT(run_id(config, "abc"), ::testing::MatchesRegex("1x16-3.07k-s1-[0-9a-f]{8}"));
}

TEST(RunId, CoversWhatDecidesTheRunAndNothingElse) {
  const RunConfig config = resolved(tiny_config(), MemoryCorpus(4000, 300));
  const std::string id = run_id(config, "abc");
  EXPECT_NE(run_id(config, "abd"), id);
  RunConfig other = config;
  other.data.corpus = "elsewhere";
  other.train.checkpoint.every = {Interval::Unit::seconds, 5};
  other.train.log.every = {Interval::Unit::steps, 3};
  other.train.recompute = {"norms"};
  EXPECT_EQ(run_id(other, "abc"), id);
  const auto changed = [&](auto change) {
    RunConfig copy = config;
    change(copy);
    return run_id(copy, "abc") != id;
  };
  EXPECT_TRUE(changed([](RunConfig& c) { c.train.seed = 2; }));
  EXPECT_TRUE(changed([](RunConfig& c) { c.train.optimizer.learning_rate += 1e-12; }));
  EXPECT_TRUE(changed([](RunConfig& c) { c.train.gradient_slots = 1; }));
  EXPECT_TRUE(changed([](RunConfig& c) { c.model.attention.pattern = {"dense"}; }));
  EXPECT_TRUE(changed([](RunConfig& c) { c.data.order = "sequential"; }));
}

TEST(RunConfig, FirstDifferenceNamesKeyAndValues) {
  const RunConfig a = tiny_config();
  RunConfig b = a;
  b.train.checkpoint.every = {Interval::Unit::steps, 7};
  b.train.recompute = {"mlp"};
  EXPECT_FALSE(first_difference(a, b).has_value());
  b.train.optimizer.beta2 = 0.99;
  b.train.optimizer.clip = 2;
  const auto difference = first_difference(a, b);
  ASSERT_TRUE(difference.has_value());
  EXPECT_EQ(difference->key, "train.optimizer.beta2");
  EXPECT_EQ(difference->ours, "0.95");
  EXPECT_EQ(difference->theirs, "0.99");
}

}  // namespace
}  // namespace minichilla::run_config_test
