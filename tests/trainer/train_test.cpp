#include "trainer/train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <thread>

#include "kernels/error.h"
#include "model/safetensors.h"
#include "tests/trainer/flat_arrays.h"
#include "tests/trainer/run_fixture.h"
#include "trainer/attempt.h"
#include "trainer/checkpoint.h"
#include "trainer/numerics_id.h"

namespace minichilla::train_test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TrainTest : public RunTest {
 protected:
  std::vector<std::int64_t> steps_of(const std::string& run, const std::string& split = "") const {
    std::vector<std::int64_t> steps;
    for (const MetricsRow& row : read_metrics(folder_ / run)) {
      if (row.split == split) steps.push_back(row.step);
    }
    return steps;
  }
  static std::vector<std::int64_t> up_to(std::int64_t last) {
    std::vector<std::int64_t> steps;
    for (std::int64_t step = 1; step <= last; ++step) steps.push_back(step);
    return steps;
  }
};

TEST_F(TrainTest, TheLossGoesDown) {
  RunConfig config = tiny_config();
  config.train.tokens = 120 * 128;
  const Outcome outcome = train_run("run", config);
  ASSERT_EQ(outcome.kind, Outcome::Kind::done);
  EXPECT_NEAR(losses_.front(), std::log(24.0), 0.1);
  EXPECT_LT(outcome.result.val_loss, 2.0);
  EXPECT_GT(outcome.result.val_loss, std::log(3.0));  // the entropy of the data
  EXPECT_LT(std::abs(outcome.result.train_loss - outcome.result.val_loss), 0.3);
}

TEST_F(TrainTest, WritesARunThatReadersUnderstand) {
  RunConfig config = tiny_config();
  config.train.tokens = 24 * 128 + 100;  // the rest is too small for a step
  const Outcome outcome = train_run("run", config);
  const RunRecord record = read_run(folder_ / "run");
  EXPECT_EQ(record.state, RunState::done);
  EXPECT_EQ(record.attempts, 1);
  EXPECT_EQ(record.config.train.gradient_slots, 3);
  const RunResult& result = record.result.value();
  expect_same_result(result, outcome.result);
  EXPECT_EQ(result.run_id, run_id(record.config, corpus_.hash()));
  EXPECT_EQ(result.steps, 24);
  EXPECT_EQ(result.tokens, 24 * 128);
  EXPECT_NEAR(result.epochs, 24 * 128 / 4000.0, 1e-12);
  EXPECT_EQ(result.numerics_id.size(), 12u);
  EXPECT_GT(result.tokens_per_s, 0);
  EXPECT_GT(result.wall_s, 0);
  EXPECT_DOUBLE_EQ(result.flops_6nd, 6.0 * static_cast<double>(result.params) * 24 * 128);
  EXPECT_EQ(steps_of("run"), up_to(24));
  EXPECT_THAT(steps_of("run", "val"), ElementsAre(6, 12, 18, 24));
  const std::vector<MetricsRow> rows = read_metrics(folder_ / "run");
  EXPECT_EQ(rows.back().loss, result.val_loss);
  EXPECT_EQ(rows.back().tokens, result.tokens);
  EXPECT_DOUBLE_EQ(rows.back().flops, result.flops);
  EXPECT_DOUBLE_EQ(result.train_loss, (losses_[22] + losses_[23]) / 2);  // 5 % of 24 steps, rounded up
  EXPECT_THAT(numbered_folders(folder_ / "run" / "checkpoints"), ElementsAre(24));
}

TEST_F(TrainTest, AFinishedRunIsReturnedAtOnce) {
  const Outcome first = train_run("run", tiny_config());
  const std::size_t trained = losses_.size();
  const Outcome second = train_run("run", tiny_config());
  EXPECT_EQ(losses_.size(), trained);
  EXPECT_EQ(second.kind, Outcome::Kind::done);
  EXPECT_EQ(result_json(second.result), result_json(first.result));
  EXPECT_EQ(read_run(folder_ / "run").attempts, 1);
}

TEST_F(TrainTest, InterruptedAnywhereAndResumedGivesTheSameBits) {
  const RunConfig config = tiny_config();
  const Outcome whole = train_run("whole", config);
  const std::vector<double> losses = losses_;
  for (const int stop : {1, 4, 5, 6, 12, 18, 23}) {
    const std::string name = "stopped-" + std::to_string(stop);
    losses_.clear();
    const Outcome stopped = train_run(name, config, stop);
    ASSERT_EQ(stopped.kind, Outcome::Kind::interrupted);
    EXPECT_THAT(stopped.message,
                HasSubstr("stopped by signal 15 after step " + std::to_string(stop) + " of 24"));
    EXPECT_EQ(read_run(folder_ / name).state, RunState::interrupted);
    const Outcome resumed = train_run(name, config);
    ASSERT_EQ(resumed.kind, Outcome::Kind::done);
    EXPECT_EQ(losses_, losses) << stop;  // no step twice, none missing, every loss the same
    expect_same_result(resumed.result, whole.result);
    EXPECT_EQ(final_bits(name, config), final_bits("whole", config)) << stop;
    EXPECT_EQ(steps_of(name), up_to(24));
    EXPECT_EQ(steps_of(name, "val"), steps_of("whole", "val"));
  }
}

TEST_F(TrainTest, LogsAsOftenAsItsConfigSaysAndTheLastStep) {
  RunConfig config = tiny_config();
  const Outcome every = train_run("every", config);
  config.train.log.every = {Interval::Unit::steps, 5};
  train_run("run", config, 13);
  EXPECT_THAT(steps_of("run"), ElementsAre(5, 10));
  const Outcome some = train_run("run", config);
  EXPECT_THAT(steps_of("run"), ElementsAre(5, 10, 15, 20, 24));
  EXPECT_THAT(steps_of("run", "val"), ElementsAre(6, 12, 18, 24));
  expect_same_result(some.result, every.result);
  EXPECT_EQ(format_interval(read_run_config(folder_ / "run").train.log.every), "5 steps");
}

TEST_F(TrainTest, FewerTokensMidwayLeaveTheResultAsItIs) {
  RunConfig config = tiny_config();
  const Outcome all = train_run("all", config);
  config.train.evaluate.midway_tokens = 32;
  const Outcome some = train_run("some", config);
  expect_same_result(some.result, all.result);
  const auto evaluations = [&](const char* name) {
    std::vector<MetricsRow> rows = read_metrics(folder_ / name);
    std::erase_if(rows, [](const MetricsRow& row) { return row.split.empty(); });
    return rows;
  };
  const std::vector<MetricsRow> rows = evaluations("some"), whole = evaluations("all");
  ASSERT_EQ(rows.size(), whole.size());
  EXPECT_NE(rows.front().loss, whole.front().loss);
  EXPECT_TRUE(std::isnan(rows.front().midway_loss));
  EXPECT_EQ(rows.back().loss, whole.back().loss);
  EXPECT_TRUE(std::isfinite(rows.back().midway_loss));
  EXPECT_NE(rows.back().midway_loss, rows.back().loss);
  EXPECT_TRUE(std::isnan(whole.back().midway_loss));
}

TEST_F(TrainTest, GoesOnWithOtherRecomputationAndTheSameBits) {
  RunConfig config = tiny_config();
  const Outcome whole = train_run("whole", config);
  EXPECT_EQ(train_run("cut", config, 7).kind, Outcome::Kind::interrupted);
  config.train.recompute = {"norms", "mlp"};
  const Outcome rest = train_run("cut", config);
  expect_same_result(rest.result, whole.result);
  EXPECT_EQ(final_bits("cut", config), final_bits("whole", config));
  EXPECT_EQ(read_run_config(folder_ / "cut").train.recompute, config.train.recompute);
}

TEST_F(TrainTest, InterruptedAgainAndAgain) {
  const RunConfig config = tiny_config();
  train_run("whole", config);
  for (int stop = 3; stop < 24; stop += 3)
    EXPECT_EQ(train_run("run", config, stop).kind, Outcome::Kind::interrupted);
  EXPECT_EQ(train_run("run", config).kind, Outcome::Kind::done);
  EXPECT_EQ(final_bits("run", config), final_bits("whole", config));
  EXPECT_EQ(read_run(folder_ / "run").attempts, 8);
}

TEST_F(TrainTest, AStopAfterTheLastStepFinishesTheRun) {
  EXPECT_EQ(train_run("run", tiny_config(), 24).kind, Outcome::Kind::done);
}

TEST_F(TrainTest, SameBitsWithOneAndTwoLanes) {
  const RunConfig config = tiny_config();
  const Outcome one = train_run("one", config, 0, 1), two = train_run("two", config, 0, 2);
  EXPECT_EQ(final_bits("one", config), final_bits("two", config));
  expect_same_result(one.result, two.result);
}

TEST_F(TrainTest, AnotherSeedIsAnotherRun) {
  RunConfig config = tiny_config();
  const Outcome one = train_run("one", config);
  config.train.seed = 2;
  const Outcome two = train_run("two", config);
  EXPECT_NE(one.result.val_loss, two.result.val_loss);
  EXPECT_NE(one.result.run_id, two.result.run_id);
  EXPECT_NE(one.result.numerics_id, two.result.numerics_id);
}

TEST_F(TrainTest, ABrokenNewestCheckpointFallsBackAndTheBitsStay) {
  const RunConfig config = tiny_config();
  train_run("whole", config);
  train_run("run", config, 12);
  EXPECT_THAT(numbered_folders(folder_ / "run" / "checkpoints"), ElementsAre(10, 12));
  fs::resize_file(folder_ / "run" / "checkpoints" / "12" / "model.safetensors", 100);
  EXPECT_EQ(train_run("run", config).kind, Outcome::Kind::done);
  EXPECT_EQ(final_bits("run", config), final_bits("whole", config));
  EXPECT_EQ(steps_of("run"), up_to(24));
  EXPECT_THAT(read_file(folder_ / "run" / "attempts" / "2" / "log"),
              ::testing::AllOf(HasSubstr("warning"), HasSubstr("begins after step 10 of 24")));
}

TEST_F(TrainTest, WithoutAnyGoodCheckpointItBeginsAnew) {
  const RunConfig config = tiny_config();
  train_run("whole", config);
  train_run("run", config, 7);
  for (const std::int64_t step : numbered_folders(folder_ / "run" / "checkpoints")) {
    fs::remove(folder_ / "run" / "checkpoints" / std::to_string(step) / "complete");
  }
  EXPECT_EQ(train_run("run", config).kind, Outcome::Kind::done);
  EXPECT_EQ(final_bits("run", config), final_bits("whole", config));
  EXPECT_EQ(steps_of("run"), up_to(24));
}

TEST_F(TrainTest, KilledBetweenTheLastCheckpointAndTheResult) {
  const RunConfig config = tiny_config();
  const Outcome whole = train_run("run", config);
  fs::remove(folder_ / "run" / "result.json");
  losses_.clear();
  const Outcome again = train_run("run", config);
  EXPECT_TRUE(losses_.empty());
  expect_same_result(again.result, whole.result);
}

TEST_F(TrainTest, KilledAndResumedGivesTheSameBits) {
  RunConfig config = tiny_config();
  config.train.tokens = 60 * 128;
  train_run("whole", config);
  for (const int kill_after : {3, 17, 33}) {
    const std::string name = "killed-" + std::to_string(kill_after);
    const pid_t child = fork();
    if (child == 0) {
      const std::unique_ptr<Device> device = make_cpu_device(1);
      TrainContext context{*device, corpus_, [&](const Progress& progress) {
                             if (progress.step == kill_after) kill(getpid(), SIGKILL);
                           }};
      train(resolved(config, corpus_), context, folder_ / name, {});
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(read_run(folder_ / name).state, RunState::running);  // what it claims
    EXPECT_EQ(train_run(name, config, 0, 2).kind, Outcome::Kind::done);
    EXPECT_EQ(final_bits(name, config), final_bits("whole", config)) << kill_after;
    EXPECT_EQ(steps_of(name), up_to(60)) << kill_after;
  }
}

TEST_F(TrainTest, AnExplodingRunEndsAsDiverged) {
  RunConfig config = tiny_config();
  config.train.optimizer.learning_rate = 1000;
  config.train.optimizer.clip = 0;
  config.train.optimizer.weight_decay = 1000;  // weights grow a million-fold a step
  config.train.schedule.warmup = 0;
  const Outcome outcome = train_run("run", config);
  ASSERT_EQ(outcome.kind, Outcome::Kind::diverged);
  EXPECT_LT(outcome.result.steps, 24);
  EXPECT_THAT(outcome.result.reason, HasSubstr(" of 24: "));
  for (const double loss : losses_) EXPECT_TRUE(std::isfinite(loss));
}

TEST_F(TrainTest, ALivingOwnerIsLeftAlone) {
  fs::create_directories(folder_ / "run");
  const Attempt other(folder_ / "run");
  EXPECT_THROW(train_run("run", tiny_config()), RunBusyError);
  EXPECT_TRUE(losses_.empty());
}

TEST_F(TrainTest, AnotherConfigIsRefusedByItsFirstKey) {
  train_run("run", tiny_config(), 3);
  RunConfig config = tiny_config();
  config.train.optimizer.learning_rate = 0.02;
  EXPECT_THAT(message_of<InputError>([&] { train_run("run", config); }),
              ::testing::AllOf(HasSubstr("config.yaml: train.optimizer.learning_rate: this run has 0.01"),
                               HasSubstr("the given config has 0.02")));
  EXPECT_EQ(read_run(folder_ / "run").attempts, 1);
  config = tiny_config();
  config.train.checkpoint.every = {Interval::Unit::steps, 2};
  EXPECT_EQ(train_run("run", config).kind, Outcome::Kind::done);  // how often to checkpoint may change
}

TEST_F(TrainTest, AnotherCorpusIsRefused) {
  train_run("run", tiny_config(), 3);
  corpus_.rename(std::string(64, 'd'));
  EXPECT_THAT(message_of<InputError>([&] { train_run("run", tiny_config()); }),
              HasSubstr("corpus cccccccccccc"));
  EXPECT_EQ(read_run(folder_ / "run").state, RunState::failed);
  corpus_.rename(std::string(64, 'c'));
  EXPECT_EQ(train_run("run", tiny_config()).kind, Outcome::Kind::done);
}

TEST_F(TrainTest, BeginsAtTheCheckpointThatWasAskedFor) {
  RunConfig config = tiny_config();
  config.train.checkpoint.every = {Interval::Unit::steps, 6};
  train_run("whole", config);
  train_run("run", config, 14);  // checkpoints after steps 12 and 14
  resume_from_ = folder_ / "run" / "checkpoints" / "12";
  losses_.clear();
  EXPECT_EQ(train_run("other", config, 13).kind, Outcome::Kind::interrupted);
  EXPECT_EQ(losses_.size(), 1u);
  EXPECT_EQ(train_run("other", config, 20).kind,
            Outcome::Kind::interrupted);  // the same once more: it goes on
  EXPECT_EQ(train_run("other", config).kind, Outcome::Kind::done);
  EXPECT_EQ(losses_.size(), 12u);
  EXPECT_EQ(final_bits("other", config), final_bits("whole", config));
  EXPECT_EQ(read_metrics(folder_ / "other").front().step, 13);
  EXPECT_EQ(train_run("other", config).kind, Outcome::Kind::done);
  EXPECT_THAT(message_of<InputError>([&] { train_run("run", config); }),
              HasSubstr("itself, which goes on from its newest one; expected another --output"));
  config.train.seed = 2;
  resume_from_ = folder_ / "whole" / "checkpoints" / "24";
  EXPECT_THAT(message_of<InputError>([&] { train_run("third", config); }), HasSubstr("checkpoint of config"));
  EXPECT_FALSE(fs::exists(folder_ / "third" / "config.yaml"));
}

TEST_F(TrainTest, AStopBeforeTheFirstStepKeepsTheCheckpointThatItBeganWith) {
  const RunConfig config = tiny_config();
  train_run("run", config, 14);
  resume_from_ = folder_ / "run" / "checkpoints" / "14";
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const std::atomic<int> signal{15};
  TrainContext context{*device, corpus_};
  context.resume_from = resume_from_;
  EXPECT_EQ(train(resolved(config, corpus_), context, folder_ / "other", StopToken(&signal)).kind,
            Outcome::Kind::interrupted);
  resume_from_.clear();
  losses_.clear();
  EXPECT_EQ(train_run("other", config).kind, Outcome::Kind::done);
  EXPECT_EQ(losses_.size(), 10u);
}

TEST_F(TrainTest, GoingOnUnderOtherNumericsIsFlagged) {
  const RunConfig config = resolved(tiny_config(), corpus_);
  train_run("run", config, 6);
  const ParameterTable table(config.model, MemoryCorpus::kVocabulary);
  Checkpoints checkpoints(folder_ / "run", table);
  FlatArrays arrays(table);
  CheckpointState state = checkpoints.load(origin_of(config, corpus_), arrays, {}).value();
  const std::string own = state.numerics_id;
  state.numerics_id = "ffffffffffff";
  fs::remove_all(folder_ / "run" / "checkpoints" / "6");  // a whole one would stay
  checkpoints.save(state, arrays);
  train_run("run", config, 9);
  EXPECT_EQ(train_run("run", config).result.numerics_id, "ffffffffffff+" + own);
  EXPECT_THAT(read_file(folder_ / "run" / "attempts" / "2" / "log"), HasSubstr("bits may differ"));
  EXPECT_THAT(warnings_.front(), HasSubstr("bits may differ"));
}

TEST_F(TrainTest, WhoeverLostTheRunWritesNothingMore) {
  RunConfig config = tiny_config();
  config.train.checkpoint.every = {Interval::Unit::steps, 6};
  const std::unique_ptr<Device> device = make_cpu_device(1);
  TrainContext context{*device, corpus_, [&](const Progress& progress) {
                         if (progress.step == 8) {
                           temporary_.write("run/attempts/1/outcome.json",
                                            R"({"status":"lost","cause":"killed","reason":"","step":6})");
                         }
                       }};
  const Outcome outcome = train(resolved(config, corpus_), context, folder_ / "run", {});
  EXPECT_EQ(outcome.kind, Outcome::Kind::interrupted);
  EXPECT_THAT(outcome.message, HasSubstr("taken this run over"));
  EXPECT_THAT(numbered_folders(folder_ / "run" / "checkpoints"), ElementsAre(6));
  EXPECT_FALSE(fs::exists(folder_ / "run" / "result.json"));
}

TEST_F(TrainTest, AFullDiskIsAnIoErrorAndTheRunGoesOnLater) {
  const RunConfig config = tiny_config();
  train_run("whole", config);
  train_run("run", config, 7);
  fs::rename(folder_ / "run" / "checkpoints", folder_ / "run" / "kept");
  temporary_.write("run/checkpoints", "in the way");
  EXPECT_THROW(train_run("run", config), IoError);
  EXPECT_EQ(read_run(folder_ / "run").state, RunState::failed);
  EXPECT_EQ(read_outcome(newest_attempt(folder_ / "run"))->status, "failed");
  fs::remove(folder_ / "run" / "checkpoints");
  fs::rename(folder_ / "run" / "kept", folder_ / "run" / "checkpoints");
  EXPECT_EQ(train_run("run", config).kind, Outcome::Kind::done);
  EXPECT_EQ(final_bits("run", config), final_bits("whole", config));
}

TEST_F(TrainTest, NumericsDependOnConfigSeedAndCorpusButNotOnLanes) {
  const std::unique_ptr<Device> one = make_cpu_device(1), two = make_cpu_device(2);
  const RunConfig config = resolved(tiny_config(), corpus_);
  const std::string id = numerics_id(config, "corpus", *one);
  EXPECT_THAT(id, ::testing::MatchesRegex("[0-9a-f]{12}"));
  EXPECT_EQ(numerics_id(config, "corpus", *two), id);
  EXPECT_NE(numerics_id(config, "other", *one), id);
  RunConfig other = config;
  other.train.seed = 9;
  EXPECT_NE(numerics_id(other, "corpus", *one), id);
  EXPECT_THAT(build_identity(), ::testing::ContainsRegex("build [0-9a-f]{64}"));
}

}  // namespace
}  // namespace minichilla::train_test
