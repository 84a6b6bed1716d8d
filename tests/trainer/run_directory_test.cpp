#include "trainer/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "kernels/error.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/attempt.h"
#include "trainer/interval_clock.h"
#include "trainer/metrics_log.h"

namespace minichilla::run_directory_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

bool publish(const fs::path& folder, const RunResult& result) {
  return publish_file(folder / "result.json", result_json(result));
}

RunResult some_result() {
  RunResult result;
  result.run_id = "1x16-3.07k-s1-01234567";
  result.status = "done";
  result.params = 5000;
  result.params_non_embedding = 3000;
  result.tokens = 3072;
  result.steps = 24;
  result.flops = 1.5e8;
  result.flops_6nd = 1e8 / 3;
  result.flops_hoffmann = 2e8;
  result.train_loss = 2.1;
  result.val_loss = 0.1 + 0.2;
  result.val_bits_per_byte = 3.5;
  result.wall_s = 1.25;
  result.tokens_per_s = 4000;
  result.epochs = 0.768;
  result.device = "cpu";
  result.numerics_id = "0123456789ab";
  result.seed = 7;
  result.version = "0.1.0";
  return result;
}

class RunDirectoryTest : public FolderTest {
 protected:
  fs::path metrics_file(int attempt) {
    const fs::path folder = folder_ / "attempts" / std::to_string(attempt);
    fs::create_directories(folder);
    return folder / "metrics.jsonl";
  }
  /// Rows of steps first … last, their loss 100 · attempt + step; an evaluation after each step in
  /// `evaluated`.
  void write_attempt(int attempt, std::int64_t first, std::int64_t last,
                     const std::vector<std::int64_t>& evaluated = {}) {
    MetricsLog log(metrics_file(attempt));
    for (std::int64_t step = first; step <= last; ++step) {
      MetricsRow row;
      row.step = step;
      row.loss = static_cast<double>(100 * attempt + step);
      log.append(row);
      if (std::count(evaluated.begin(), evaluated.end(), step) == 0) continue;
      row.split = "val";
      log.append(row);
    }
  }
  /// The attempt began with the checkpoint that `from` wrote after `step`.
  void write_origin(int attempt, std::int64_t step, std::int64_t from) {
    temporary_.write("attempts/" + std::to_string(attempt) + "/origin.json",
                     "{\"step\":" + std::to_string(step) + ",\"attempt\":" + std::to_string(from) + "}");
  }
  std::vector<double> losses(const std::string& split = "") {
    std::vector<double> found;
    for (const MetricsRow& row : read_metrics(folder_)) {
      if (row.split == split) found.push_back(row.loss);
    }
    return found;
  }
  static void append(const fs::path& file, const std::string& text) {
    std::ofstream(file, std::ios::app) << text;
  }
};

TEST_F(RunDirectoryTest, MetricsRowsReadBack) {
  MetricsRow row;
  row.step = 12;
  row.tokens = 1536;
  row.flops = 1.25e9;
  row.loss = 0.1 + 0.2;
  row.lr = 1e-3 / 3;
  row.grad_norm = 1.5;
  row.tokens_per_s = 1234.5;
  row.wall_s = 2.125;
  const MetricsRow back = parse_metrics_line(metrics_line(row), "here");
  EXPECT_EQ(back.step, 12);
  EXPECT_EQ(back.tokens, 1536);
  EXPECT_EQ(back.loss, row.loss);
  EXPECT_EQ(back.lr, row.lr);
  EXPECT_EQ(back.grad_norm, 1.5);
  EXPECT_EQ(back.tokens_per_s, 1234.5);
  EXPECT_EQ(back.wall_s, 2.125);
  EXPECT_EQ(back.split, "");
  row.split = "val";
  row.bits_per_byte = 2.5;
  EXPECT_EQ(parse_metrics_line(metrics_line(row), "here").split, "val");
  EXPECT_EQ(parse_metrics_line(metrics_line(row), "here").bits_per_byte, 2.5);
  EXPECT_TRUE(std::isnan(parse_metrics_line(metrics_line(row), "here").midway_loss));
  row.midway_loss = 1.25;
  EXPECT_EQ(parse_metrics_line(metrics_line(row), "here").midway_loss, 1.25);
}

TEST(MetricsLog, ByDefaultTheRowsOfALongRunStayWellBelowAMegabyte) {
  const double ugly = 1.2345678901234567;
  MetricsRow row{999'999'999'999, 999'999'999'999'999, ugly * 1e23,  ugly * 10, ugly * 1e-4,
                 ugly / 10,       12345678.9,          12345678.901, "",        0};
  for (const std::int64_t steps : {3999, 4001, 5999, 8001, 3'000'000}) {
    IntervalClock rows(TrainConfig().log.every, steps, 0),
        evaluations(TrainConfig().evaluate.every, steps, 0);
    std::size_t logged = 1, bytes = 0;  // the last step's
    for (std::int64_t step = 1; step <= steps; ++step) {
      logged += rows.due(step, 0) && step < steps;
      bytes += evaluations.due(step, 0) ? 250 : 0;
    }
    EXPECT_LE(logged, 4001u) << steps;
    EXPECT_GE(logged, std::min<std::size_t>(static_cast<std::size_t>(steps), 4000)) << steps;
    EXPECT_LT(bytes + logged * (metrics_line(row).size() + 1), 900'000u) << steps;
  }
}

TEST_F(RunDirectoryTest, JoinsAttemptsSoThatNoStepAppearsTwice) {
  write_attempt(1, 1, 8, {4, 8});
  write_attempt(2, 6, 9, {8});
  write_attempt(3, 10, 11);
  EXPECT_THAT(losses(), ElementsAre(101, 102, 103, 104, 105, 206, 207, 208, 209, 310, 311));
  EXPECT_THAT(losses("val"), ElementsAre(104, 208));
}

TEST_F(RunDirectoryTest, AnAttemptThatBeginsAnewReplacesEverything) {
  write_attempt(1, 1, 8, {4});
  write_attempt(2, 1, 2);
  EXPECT_THAT(losses(), ElementsAre(201, 202));
  EXPECT_TRUE(losses("val").empty());
}

TEST_F(RunDirectoryTest, AttemptsAreOrderedByNumberNotByName) {
  write_attempt(9, 1, 2);
  write_attempt(10, 2, 3);
  EXPECT_THAT(losses(), ElementsAre(901, 1002, 1003));
}

TEST_F(RunDirectoryTest, AnAttemptWithoutRowsReplacesNothing) {
  write_attempt(1, 1, 2);
  write_attempt(2, 3, 2);
  fs::create_directories(folder_ / "attempts" / "3");  // not even a file
  EXPECT_THAT(losses(), ElementsAre(101, 102));
}

TEST_F(RunDirectoryTest, ATornLastLineIsSkipped) {
  write_attempt(1, 1, 2);
  append(metrics_file(1), R"({"step":3,"tok)");
  EXPECT_THAT(losses(), ElementsAre(101, 102));
  write_attempt(2, 3, 4);
  EXPECT_THAT(losses(), ElementsAre(101, 102, 203, 204));
}

TEST_F(RunDirectoryTest, AWholeLastLineWithoutItsNewlineCounts) {
  write_attempt(1, 1, 2);
  MetricsRow row;
  row.step = 3;
  row.loss = 7;
  append(metrics_file(1), metrics_line(row));
  EXPECT_THAT(losses(), ElementsAre(101, 102, 7));
}

TEST_F(RunDirectoryTest, RowsFollowTheCheckpointsThatLedToTheEnd) {
  write_attempt(1, 1, 6);  // went on after it was declared lost, and wrote a checkpoint after step 5
  write_origin(1, 0, 0);
  write_attempt(2, 4, 4);
  write_origin(2, 3, 1);
  write_attempt(3, 6, 8);
  write_origin(3, 5, 1);
  EXPECT_THAT(losses(), ElementsAre(101, 102, 103, 104, 105, 306, 307, 308));
  write_attempt(4, 9, 9);
  write_origin(4, 8, 3);
  temporary_.write("attempts/3/outcome.json", result_json(some_result()));  // it had the result
  EXPECT_THAT(losses(), ElementsAre(101, 102, 103, 104, 105, 306, 307, 308));
}

TEST_F(RunDirectoryTest, ABadLineInTheMiddleIsNamed) {
  write_attempt(1, 1, 2);
  append(metrics_file(1), "{\"step\":3}\n");
  MetricsLog(metrics_file(1)).append(MetricsRow());
  try {
    read_metrics(folder_);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("attempts/1/metrics.jsonl:3: tokens: missing"));
  }
}

TEST_F(RunDirectoryTest, MetricsOnAFullDiskGiveIoError) {
  MetricsLog log("/dev/full");
  log.append(MetricsRow());
  EXPECT_THROW(log.flush(), IoError);
  EXPECT_THROW(MetricsLog(folder_ / "nowhere" / "metrics.jsonl"), IoError);
}

TEST_F(RunDirectoryTest, WhatIsFlushedIsOnDisk) {
  MetricsLog log(metrics_file(1));
  log.append(MetricsRow());
  log.flush();
  EXPECT_EQ(losses().size(), 1u);
}

TEST_F(RunDirectoryTest, ResultReadsBack) {
  EXPECT_FALSE(read_result(folder_).has_value());
  ASSERT_TRUE(publish(folder_, some_result()));
  const RunResult back = read_result(folder_).value();
  EXPECT_EQ(result_json(back), result_json(some_result()));
  EXPECT_EQ(back.val_loss, 0.1 + 0.2);
  EXPECT_EQ(back.seed, 7u);
}

TEST_F(RunDirectoryTest, TheFirstResultWins) {
  RunResult second = some_result();
  second.device = "another";
  EXPECT_TRUE(publish(folder_, some_result()));
  EXPECT_FALSE(publish(folder_, second));
  EXPECT_EQ(read_result(folder_)->device, "cpu");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(RunDirectoryTest, LossesThatAreNotFiniteAreNull) {
  RunResult result = some_result();
  result.status = "diverged";
  result.val_loss = std::numeric_limits<double>::quiet_NaN();
  result.train_loss = std::numeric_limits<double>::infinity();
  publish(folder_, result);
  EXPECT_THAT(read_file(folder_ / "result.json"), HasSubstr("\"val_loss\": null"));
  EXPECT_TRUE(std::isnan(read_result(folder_)->val_loss));
}

TEST_F(RunDirectoryTest, StrangeResultsAreNamed) {
  append(folder_ / "result.json", "{\"run_id\": 5}");
  try {
    read_result(folder_);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("result.json: run_id: found 5, expected a text"));
  }
}

TEST(ParseResult, QuotesAStatusThatItDoesNotKnow) {
  try {
    parse_result(R"({"run_id": "a", "status": "do\nne"})", "result.json");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "result.json: status: found 'do\\nne', expected done or diverged");
  }
}

TEST(ParseMetricsLine, TheSplitOfAnEvaluationHasAName) {
  EXPECT_THROW(
      parse_metrics_line(
          R"({"step":1,"tokens":1,"flops":1,"loss":1,"wall_s":1,"split":"","bits_per_byte":1})", "m:1"),
      InputError);
}

TEST_F(RunDirectoryTest, StatesFollowFromTheFiles) {
  EXPECT_THROW(read_run(folder_), InputError);
  replace_file(folder_ / "config.yaml", yaml_text(write_config(tiny_config())));
  EXPECT_EQ(read_run(folder_).state, RunState::planned);
  EXPECT_EQ(read_run(folder_).config.model.d_model, 16);
  {
    Attempt attempt(folder_);
    EXPECT_EQ(read_run(folder_).state, RunState::running);
    attempt.finish("interrupted", "");
  }
  EXPECT_EQ(read_run(folder_).state, RunState::interrupted);
  { const Attempt attempt(folder_); }
  EXPECT_EQ(read_run(folder_).state, RunState::failed);
  EXPECT_EQ(read_run(folder_).attempts, 2);
  publish(folder_, some_result());
  EXPECT_EQ(read_run(folder_).state, RunState::done);
  EXPECT_EQ(std::string(name_of(read_run(folder_).state)), "done");
}

TEST_F(RunDirectoryTest, NumberedFoldersAreWholeNumbersOnly) {
  for (const char* name : {"2", "10", "1", "x", "3a", "-4", ".new-5"}) fs::create_directory(folder_ / name);
  append(folder_ / "7", "a file");
  EXPECT_THAT(numbered_folders(folder_), ElementsAre(1, 2, 10));
  EXPECT_TRUE(numbered_folders(folder_ / "nowhere").empty());
  EXPECT_THROW(numbered_folders(folder_ / "7"), IoError);
}

}  // namespace
}  // namespace minichilla::run_directory_test
