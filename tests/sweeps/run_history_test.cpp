#include "sweeps/run_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tests/temporary_folder.h"
#include "trainer/attempt.h"

namespace minichilla::run_history_test {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::Pair;

class RunHistoryTest : public testing::Test {
 protected:
  /// One more attempt that ended so, when the newest checkpoint was of `step`.
  void attempt(const std::string& status, const std::string& cause, int step = 0) {
    const std::string number = std::to_string(++attempts_);
    folder_.write("attempts/" + number + "/outcome.json", R"({"status":")" + status + R"(","cause":")" +
                                                              cause + R"(","reason":"r)" + number +
                                                              R"(","step":)" + std::to_string(step) + "}");
  }
  RunHistory history() const { return read_history(folder_.path()); }

  TemporaryFolder folder_;
  RetryPolicy policy_;
  int attempts_ = 0;
};

TEST_F(RunHistoryTest, CountsEachCauseByItself) {
  EXPECT_FALSE(is_given_up(history(), policy_));
  attempt("failed", "crash");
  attempt("failed", "out_of_memory");
  attempt("failed", "crash");
  attempt("lost", "killed");
  EXPECT_THAT(history().failures, ElementsAre(Pair("crash", 2), Pair("killed", 1), Pair("out_of_memory", 1)));
  EXPECT_EQ(history().reason, "r4");
  EXPECT_FALSE(is_given_up(history(), policy_));
  attempt("failed", "crash");
  EXPECT_TRUE(is_given_up(history(), policy_));
  EXPECT_EQ(describe_failures(history(), policy_), "crash, 3 of 3 times");
}

TEST_F(RunHistoryTest, WhoGetsFurtherIsNotGivenUp) {
  attempt("failed", "crash", 10);
  attempt("failed", "crash", 10);
  attempt("failed", "crash", 20);
  EXPECT_THAT(history().failures, ElementsAre(Pair("crash", 1)));
  attempt("failed", "crash", 20);
  attempt("failed", "crash", 20);
  EXPECT_TRUE(is_given_up(history(), policy_));
}

TEST_F(RunHistoryTest, SomeEndingsAreNoFailures) {
  for (int i = 0; i < 30; ++i) attempt("failed", cause::kDiskFull);
  for (int i = 0; i < 30; ++i) attempt("interrupted", "");
  for (int i = 0; i < 3; ++i) attempt("failed", cause::kDiverged);
  EXPECT_TRUE(history().failures.empty());
  EXPECT_EQ(time_to_wait(history(), policy_), milliseconds(0));
}

TEST_F(RunHistoryTest, BadInputIsNotTriedAgain) {
  attempt("failed", cause::kBadInput);
  EXPECT_TRUE(is_given_up(history(), policy_));
}

TEST_F(RunHistoryTest, WaitsTwiceAsLongEachTime) {
  attempt("failed", cause::kInputOutput);
  EXPECT_EQ(time_to_wait(history(), policy_), milliseconds(2000));
  attempt("failed", cause::kInputOutput);
  EXPECT_EQ(time_to_wait(history(), policy_), milliseconds(4000));
  attempt("failed", cause::kCrash);
  EXPECT_EQ(time_to_wait(history(), policy_), milliseconds(2000)) << "another cause";
  for (int i = 0; i < 40; ++i) attempt("failed", cause::kCrash);
  EXPECT_EQ(time_to_wait(history(), policy_), policy_.longest);
  attempt("lost", cause::kKilled);
  EXPECT_EQ(time_to_wait(history(), policy_), milliseconds(0));
}

TEST_F(RunHistoryTest, AUserCanAskToForget) {
  attempt("failed", cause::kBadInput);
  forget_failures(folder_.path());
  EXPECT_EQ(newest_attempt_number(folder_.path()), 2);
  EXPECT_TRUE(history().failures.empty());
  EXPECT_FALSE(is_given_up(history(), policy_));
}

TEST_F(RunHistoryTest, WhatAnAttemptDidNotWriteIsNamed) {
  folder_.write("attempts/1/outcome.json", R"({"status":"failed","reason":"","cause":7,"step":0})");
  EXPECT_THAT(message_of<InputError>([&] { history(); }), testing::HasSubstr("outcome.json: cause: found 7"));
}

}  // namespace
}  // namespace minichilla::run_history_test
