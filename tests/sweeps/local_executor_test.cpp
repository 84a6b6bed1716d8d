#include "sweeps/local_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <iterator>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "kernels/error.h"
#include "sweeps/run_history.h"
#include "sweeps/run_store.h"
#include "sweeps/status.h"
#include "sweeps/worker_process.h"
#include "sweeps/worker_slots.h"
#include "tests/kernels/forwarding_device.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/attempt.h"
#include "trainer/files.h"

namespace minichilla::local_executor_test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

namespace fs = std::filesystem;

/// Waits for something that other processes bring about; false after a minute.
bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// Always has as much free, whatever is started.
class GpuOfSize : public ForwardingDevice {
 public:
  explicit GpuOfSize(std::uint64_t free) : free_(free) {}
  std::optional<std::uint64_t> free_memory() const override { return free_; }

 private:
  std::uint64_t free_;
};

class ExecutorTest : public SweepFixture {
 protected:
  void store(const fs::path& sweep, const std::string& config, const std::string& train = "") {
    const SweepPlan stored = plan(config, train);
    store_plan(sweep, stored, false);
    runs_.clear();
    for (const PlanRow& row : stored.rows) runs_.push_back(row.planned);
  }

  fs::path run_of(const fs::path& sweep, std::size_t run) const {
    return run_folder(sweep, runs_[run].run_id);
  }

  SweepOutcome run(const fs::path& sweep, int workers, const fs::path& program = MINICHILLA_BINARY,
                   const std::atomic<int>* stop = nullptr) {
    ExecutorOptions options;
    options.sweep = sweep;
    options.program = program;
    options.workers = workers;
    options.gpus = gpus_;
    options.make_gpu = make_gpu_;
    options.wait_for_others = wait_for_others_;
    options.stop = StopToken(stop);
    options.retry.wait = std::chrono::milliseconds(0);
    options.retry.killed = 4;
    ExecutorEvents events;
    events.on_message = [&](const std::string& message) {
      const std::lock_guard lock(mutex_);
      messages_.push_back(message);
    };
    events.on_progress = [&](const SweepProgress& progress) {
      const std::lock_guard lock(mutex_);
      most_workers_ = std::max(most_workers_, progress.workers.size());
    };
    return run_sweep(options, events);
  }

  /// A program in place of the trainer: $run is the run's folder, $id its name.
  fs::path script(const std::string& body) const {
    const fs::path file =
        folder_.write("program.sh", "#!/bin/sh\nrun=\"$4\"\nid=$(basename \"$run\")\n" + body + "\n");
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }

  /// Shell that ends a run as the trainer would.
  static std::string publish(const std::string& status) {
    RunResult result;
    result.status = status;
    std::string json = result_json(result);
    std::erase(json, '\n');
    return "printf '%s' '" + json + "' > \"$run/result.json\"";
  }

  /// Gives the sweep's workers these GPUs, each with that many times the memory free that its first run
  /// takes.
  void play_gpus(const std::vector<int>& gpus, double free) {
    make_gpu_ = [](auto&...) { return std::make_unique<GpuOfSize>(0); };
    const std::uint64_t needed =
        MemoryWatch(make_gpu_).needed(run_of(sweep_folder(), 0), "cuda:0", "library").gpu;
    const auto bytes = static_cast<std::uint64_t>(free * static_cast<double>(needed));
    make_gpu_ = [bytes](auto&...) { return std::make_unique<GpuOfSize>(bytes); };
    gpus_ = gpus;
  }

  bool wait_for_others_ = true;
  std::vector<int> gpus_;
  MemoryWatch::GpuMaker make_gpu_;
  std::vector<PlannedRun> runs_;
  std::vector<std::string> messages_;
  std::size_t most_workers_ = 0;
  std::mutex mutex_;
};

constexpr const char* kFourRuns = "kind: grid, sizes: [1x16], tokens: [6400, 12800, 19200, 25600]";

TEST_F(ExecutorTest, RunsTheLongestFirst) {
  store(sweep_folder(), kFourRuns);
  const fs::path order = folder_ / "order";
  const SweepOutcome outcome =
      run(sweep_folder(), 1, script("echo $id >> " + order.string() + "\n" + publish("done")));
  EXPECT_EQ(outcome.done, 4);
  EXPECT_FALSE(outcome.interrupted);
  EXPECT_EQ(read_file(order), runs_[3].run_id + "\n" + runs_[2].run_id + "\n" + runs_[1].run_id + "\n" +
                                  runs_[0].run_id + "\n");
}

TEST_F(ExecutorTest, HandsTheTrainerItsArguments) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400]");
  const fs::path arguments = folder_ / "arguments";
  run(sweep_folder(), 1, script("echo \"$@\" > " + arguments.string() + "\n" + publish("done")));
  const std::string folder = run_of(sweep_folder(), 0).string();
  EXPECT_EQ(read_file(arguments), "train " + folder + "/config.yaml --output " + folder +
                                      " --device cpu --products library --threads 1 --quiet\n");
}

TEST_F(ExecutorTest, KeepsAllWorkersBusyAndNoMore) {
  store(sweep_folder(), kFourRuns);
  const SweepOutcome outcome = run(sweep_folder(), 3, script("sleep 0.3\n" + publish("done")));
  EXPECT_EQ(outcome.done, 4);
  EXPECT_EQ(most_workers_, 3u);
}

TEST_F(ExecutorTest, DivergedIsFinal) {
  store(sweep_folder(), kFourRuns);
  const fs::path starts = folder_ / "starts";
  const SweepOutcome outcome =
      run(sweep_folder(), 2, script("echo >> " + starts.string() + "\n" + publish("diverged") + "\nexit 3"));
  EXPECT_EQ(outcome.diverged, 4);
  EXPECT_THAT(outcome.failures, SizeIs(0));
  EXPECT_EQ(read_file(starts), "\n\n\n\n") << "each was started once";
  run(sweep_folder(), 2, script("echo >> " + starts.string()));
  EXPECT_EQ(read_file(starts), "\n\n\n\n") << "and never again";
}

TEST_F(ExecutorTest, AFailingRunIsTriedThriceAndNeverStopsTheOthers) {
  store(sweep_folder(), kFourRuns);
  const fs::path starts = folder_ / "starts";
  const std::string bad = runs_[2].run_id;
  const fs::path program = script("if [ $id = " + bad + " ]; then echo >> " + starts.string() +
                                  "; echo 'minichilla: no room left' >&2; exit 1; fi\n" + publish("done"));
  const SweepOutcome outcome = run(sweep_folder(), 2, program);
  EXPECT_EQ(outcome.done, 3);
  ASSERT_THAT(outcome.failures, SizeIs(1));
  EXPECT_EQ(outcome.failures[0].run_id, bad);
  EXPECT_EQ(outcome.failures[0].message, "no room left");
  EXPECT_EQ(read_file(starts), "\n\n\n");
  EXPECT_THAT(messages_, Contains(AllOf(HasSubstr(bad), HasSubstr("(crash, 2 of 3 times)"))));
  EXPECT_EQ(run(sweep_folder(), 2, script(publish("done"))).done, 3) << "others count the same";
  EXPECT_EQ(read_history(run_of(sweep_folder(), 2)).failures.at("crash"), 3);
  forget_failures(run_of(sweep_folder(), 2));
  EXPECT_EQ(run(sweep_folder(), 2, script(publish("done"))).done, 4);
}

TEST_F(ExecutorTest, BadInputIsNotTriedAgain) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400]");
  const fs::path starts = folder_ / "starts";
  const SweepOutcome outcome = run(
      sweep_folder(), 1, script("echo >> " + starts.string() + "; echo 'minichilla: wrong key' >&2; exit 2"));
  ASSERT_THAT(outcome.failures, SizeIs(1));
  EXPECT_EQ(outcome.failures[0].message, "wrong key");
  EXPECT_EQ(read_file(starts), "\n");
}

TEST_F(ExecutorTest, SaysHowAWorkerEndedThatSaidNothing) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400]");
  const auto message = [&](const std::string& body) {
    forget_failures(run_of(sweep_folder(), 0));
    return run(sweep_folder(), 1, script(body)).failures.at(0).message;
  };
  EXPECT_THAT(message("kill -SEGV $$"), HasSubstr("signal 11"));
  EXPECT_THAT(message("kill -KILL $$"), HasSubstr("memory"));
  EXPECT_THAT(message("exit 9"), HasSubstr("status 9"));
  EXPECT_THAT(message("exit 75"), HasSubstr("asked to stop"));
  EXPECT_THAT(message("exit 0"), HasSubstr("status 0")) << "success without a result is none";
}

TEST_F(ExecutorTest, AResultThatCannotBeReadFailsThatRunAlone) {
  store(sweep_folder(), kFourRuns);
  folder_.write("sweep/runs/" + runs_[1].run_id + "/result.json", "{");
  EXPECT_THAT(message_of<InputError>([&] { run(folder_ / "none", 1); }), HasSubstr("plan.json"));
  const SweepOutcome outcome = run(sweep_folder(), 2, script(publish("done")));
  EXPECT_EQ(outcome.done, 3);
  ASSERT_THAT(outcome.failures, SizeIs(1));
  EXPECT_THAT(outcome.failures[0].message, HasSubstr("result.json"));
}

TEST_F(ExecutorTest, WaitsForARunThatAnotherProcessOwns) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400, 12800]");
  // This very process owns the longer run, until a thread publishes its result.
  auto attempt = std::make_unique<Attempt>(run_of(sweep_folder(), 1));
  std::thread other([&] {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex_);
      return !messages_.empty();
    }));
    RunResult result;
    result.status = "done";
    attempt->publish(result);
  });
  const SweepOutcome outcome = run(sweep_folder(), 1, script(publish("done")));
  other.join();
  EXPECT_EQ(outcome.done, 2);
  EXPECT_THAT(messages_, Contains(HasSubstr("waiting for 1 run that")));
}

TEST_F(ExecutorTest, TakesOverARunWhoseOwnerDies) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400]");
  auto attempt = std::make_unique<Attempt>(run_of(sweep_folder(), 0));
  std::thread other([&] {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex_);
      return !messages_.empty();
    }));
    attempt->finish("interrupted", "stopped");
  });
  EXPECT_EQ(run(sweep_folder(), 1, script(publish("done"))).done, 1);
  other.join();
}

TEST_F(ExecutorTest, AHostThatFailsThreeRunsInARowTakesNoMore) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400, 12800], seeds: [1, 2, 3]");
  const SweepOutcome bad = run(sweep_folder(), 1, script("echo 'minichilla: no GPU' >&2; exit 2"));
  EXPECT_TRUE(bad.host_failed);
  EXPECT_THAT(bad.failures, SizeIs(3)) << "the other three are left to better hosts";
  EXPECT_THAT(messages_, Contains(HasSubstr("3 runs in a row failed on this host")));
  for (const PlannedRun& planned : runs_) forget_failures(run_folder(sweep_folder(), planned.run_id));
  const fs::path count = folder_ / "count";
  const SweepOutcome mixed =
      run(sweep_folder(), 1,
          script("echo >> " + count.string() + "; if [ $(($(wc -l < " + count.string() +
                 ") % 3)) != 0 ]; then exit 2; fi\n" + publish("done")));
  EXPECT_FALSE(mixed.host_failed);
  EXPECT_THAT(mixed.failures, SizeIs(4)) << "one in three succeeds";
  EXPECT_EQ(mixed.done, 2);
}

TEST_F(ExecutorTest, AFullDiskIsWaitedFor) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400]");
  const fs::path small = folder_ / "small";
  fs::create_directory(small);
  if (mount("none", small.c_str(), "tmpfs", 0, "size=1400k") != 0) GTEST_SKIP() << "no right to mount";
  fs::copy(sweep_folder(), small / "sweep", fs::copy_options::recursive);
  std::thread space([&] {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex_);
      return !messages_.empty();
    }));
    fs::remove(small / "filler");
  });
  const SweepOutcome outcome = run(small / "sweep", 1,
                                   script("if [ ! -e " + (folder_ / "again").string() + " ]; then touch " +
                                          (folder_ / "again").string() + "; head -c 1000000 /dev/zero > " +
                                          (small / "filler").string() + "; exit 74; fi\n" + publish("done")));
  space.join();
  umount2(small.c_str(), MNT_DETACH);
  EXPECT_EQ(outcome.done, 1);
  EXPECT_THAT(messages_, testing::ElementsAre(HasSubstr("is full"), HasSubstr("going on with it"),
                                              HasSubstr("there is space again")));
}

TEST_F(ExecutorTest, ShortestOrAsPlanned) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [12800, 6400, 19200]");
  const fs::path order = folder_ / "order";
  for (const auto& [wanted, ids] :
       {std::pair{RunOrder::shortest, std::vector<std::size_t>{1, 0, 2}}, {RunOrder::planned, {0, 1, 2}}}) {
    ExecutorOptions options;
    options.sweep = sweep_folder();
    options.program = script("echo $id >> " + order.string() + "\n" + publish("done"));
    options.order = wanted;
    run_sweep(options, {});
    std::string expected;
    for (const std::size_t run : ids) {
      expected += runs_[run].run_id + "\n";
      fs::remove(run_of(sweep_folder(), run) / "result.json");
    }
    EXPECT_EQ(read_file(order), expected);
    fs::remove(order);
  }
}

TEST_F(ExecutorTest, EachPinnedWorkerHasACoreOfItsOwn) {
  const std::vector<int> cores = allowed_cores();
  if (cores.size() < 2) GTEST_SKIP() << "one core";
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400, 12800]");
  const fs::path seen = folder_ / "seen";
  ExecutorOptions options;
  options.sweep = sweep_folder();
  options.workers = 2;
  options.pin = true;
  options.program =
      script("grep Cpus_allowed_list /proc/self/status >> " + seen.string() + "; while [ $(wc -l < " +
             seen.string() + ") != 2 ]; do sleep 0.01; done\n" + publish("done"));
  EXPECT_EQ(run_sweep(options, {}).done, 2);
  std::istringstream lines(read_file(seen));
  std::set<std::string> different;
  for (std::string line; std::getline(lines, line);) different.insert(line);
  EXPECT_THAT(different, SizeIs(2));
  for (const std::string& line : different)
    EXPECT_THAT(line, testing::MatchesRegex(".*\t[0-9]+")) << "one core";
}

TEST_F(ExecutorTest, WhereOthersAreFasterARunIsPickedAtRandom) {
  store(sweep_folder(),
        "kind: grid, sizes: [1x16], tokens: [6400], seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]");
  const fs::path other = folder_ / "other", order = folder_ / "order";
  const Attempt faster(other);
  wait_for_others_ = false;
  const SweepOutcome outcome = run(
      sweep_folder(), 1,
      script("echo $id >> " + order.string() + "; cp -r " + (other / "attempts").string() + " $run; exit 1"));
  EXPECT_EQ(outcome.elsewhere, 12);
  std::istringstream text(read_file(order));
  const std::vector<std::string> taken{std::istream_iterator<std::string>(text), {}};
  std::vector<std::string> planned;
  for (const PlannedRun& run : runs_) planned.push_back(run.run_id);
  EXPECT_THAT(taken, testing::UnorderedElementsAreArray(planned)) << "each once";
  EXPECT_EQ(taken.front(), planned.front());
  EXPECT_NE(taken, planned) << "12 runs in their order by chance: once in ten million";
}

TEST_F(ExecutorTest, WorkersOfOneGpuFitInItsMemoryTogether) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400], seeds: [1, 2, 3]");
  play_gpus({0}, 1.5);
  EXPECT_EQ(run(sweep_folder(), 3, script("sleep 0.3; " + publish("done"))).done, 3);
  EXPECT_EQ(most_workers_, 1u);
}

TEST_F(ExecutorTest, AGpuWithRoomIsSharedAndEachGpuCountsItsOwn) {
  for (const auto& [gpus, free] : {std::pair<std::vector<int>, double>{{0}, 2.5}, {{0, 1}, 1.5}}) {
    fs::remove_all(sweep_folder());
    store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400], seeds: [1, 2, 3, 4]");
    play_gpus(gpus, free);
    most_workers_ = 0;
    EXPECT_EQ(run(sweep_folder(), 4, script("sleep 0.3; " + publish("done"))).done, 4);
    EXPECT_EQ(most_workers_, 2u) << gpus.size() << " GPUs";
  }
}

TEST_F(ExecutorTest, WhatAWorkerHasAllocatedIsNoLongerKeptFree) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400], seeds: [1, 2]");
  play_gpus({0}, 1.5);
  const std::string both = "[ $(ls -d " + (sweep_folder() / "runs").string() + "/*/attempts | wc -l) = 2 ]";
  const std::string body =
      "mkdir -p $run/attempts/1; touch $run/attempts/1/origin.json\n"
      "for i in $(seq 500); do " +
      both + " && break; sleep 0.02; done\n" + both + " && " + publish("done");
  EXPECT_EQ(run(sweep_folder(), 2, script(body)).done, 2) << "each ends only once both have begun";
}

TEST_F(ExecutorTest, ARunThatMayNotStartIsLeftToOthers) {
  store(sweep_folder(), kFourRuns);
  ExecutorOptions options;
  options.sweep = sweep_folder();
  options.program = script(publish("done"));
  options.may_start = [](const PlannedRun& run, double) { return run.tokens < 20'000; };
  const SweepOutcome outcome = run_sweep(options, {});
  EXPECT_EQ(outcome.done, 3);
  EXPECT_EQ(outcome.refused, 1);
}

TEST_F(ExecutorTest, TheJsonSaysWhatFailed) {
  SweepOutcome outcome;
  outcome.runs = 3;
  outcome.done = 2;
  outcome.failures = {{"a", "why"}};
  outcome.wall_s = 2;
  outcome.tokens = 10;
  const nlohmann::ordered_json json = outcome_json(outcome);
  EXPECT_EQ(json["failed"][0]["run_id"], "a");
  EXPECT_EQ(json["failed"][0]["message"], "why");
  EXPECT_EQ(json["tokens_per_s"], 5);
}

/// With the trainer itself.
class RealSweepTest : public ExecutorTest {
 protected:
  /// All that a finished run decided: the result but for its times, and the bytes of its last checkpoint.
  std::map<std::string, std::string> bits_of(const fs::path& run) const {
    std::map<std::string, std::string> bits;
    nlohmann::json result = nlohmann::json::parse(read_file(run / "result.json"));
    for (const char* key : {"wall_s", "tokens_per_s"}) result.erase(key);
    bits["result"] = result.dump();
    const std::vector<std::int64_t> steps = numbered_folders(run / "checkpoints");
    if (steps.empty()) return bits;
    for (const fs::directory_entry& file :
         fs::directory_iterator(run / "checkpoints" / std::to_string(steps.back()))) {
      if (file.path().extension() == ".safetensors") bits[file.path().filename()] = read_file(file.path());
    }
    return bits;
  }

  void expect_same_bits(const fs::path& ours, const fs::path& theirs) const {
    for (std::size_t run = 0; run < runs_.size(); ++run) {
      const auto bits = bits_of(run_of(ours, run));
      EXPECT_GE(bits.size(), 2u) << "a result and weights";
      EXPECT_EQ(bits, bits_of(run_of(theirs, run))) << runs_[run].run_id;
    }
  }

  bool has_checkpoint(const fs::path& run) const { return !numbered_folders(run / "checkpoints").empty(); }

  static constexpr const char* kLongRun = "kind: grid, sizes: [2x32], tokens: [200k]";
  static constexpr const char* kOftenSaved = "checkpoint: {every: 200 steps}";
};

TEST_F(RealSweepTest, OneAndTwoWorkersGiveTheSameBits) {
  const fs::path one = folder_ / "one", two = folder_ / "two";
  const std::string config = "kind: isoflop, budgets: [2e8, 4e8], sizes: [1x16, 2x16]";
  store(one, config);
  store(two, config);
  const SweepOutcome outcome = run(one, 1);
  EXPECT_EQ(outcome.done, 4);
  EXPECT_GT(outcome.tokens, 0);
  EXPECT_EQ(run(two, 2).done, 4);
  expect_same_bits(one, two);
  EXPECT_EQ(count_states(sweep_status(two)).done, 4);
  EXPECT_EQ(run(two, 2).tokens, 0) << "nothing is missing";
}

TEST_F(RealSweepTest, AKilledWorkerGoesOnFromItsCheckpointWithTheSameBits) {
  const fs::path calm = folder_ / "calm", killed = folder_ / "killed";
  store(calm, kLongRun, kOftenSaved);
  store(killed, kLongRun, kOftenSaved);
  EXPECT_EQ(run(calm, 1).done, 1);
  std::thread killer([&] {
    EXPECT_TRUE(eventually([&] { return has_checkpoint(run_of(killed, 0)); }));
    const auto owner = read_owner(newest_attempt(run_of(killed, 0)));
    ASSERT_TRUE(owner);
    kill(static_cast<pid_t>(owner->pid), SIGKILL);
  });
  EXPECT_EQ(run(killed, 1).done, 1);
  killer.join();
  EXPECT_THAT(messages_, Contains(HasSubstr("was killed")));
  EXPECT_THAT(numbered_folders(run_of(killed, 0) / "attempts"), SizeIs(2));
  expect_same_bits(calm, killed);
}

TEST_F(RealSweepTest, AStopCheckpointsAndTheNextCallGoesOnWithTheSameBits) {
  const fs::path calm = folder_ / "calm", stopped = folder_ / "stopped";
  store(calm, kLongRun, kOftenSaved);
  store(stopped, kLongRun, kOftenSaved);
  EXPECT_EQ(run(calm, 1).done, 1);
  std::atomic<int> stop{0};
  std::thread stopper([&] {
    EXPECT_TRUE(eventually([&] { return newest_metrics(run_of(stopped, 0)).tokens > 0; }));
    stop = SIGINT;
  });
  const SweepOutcome outcome = run(stopped, 1, MINICHILLA_BINARY, &stop);
  stopper.join();
  EXPECT_TRUE(outcome.interrupted);
  EXPECT_EQ(outcome.done, 0);
  EXPECT_EQ(sweep_status(stopped).at(0).state, RunState::interrupted);
  EXPECT_TRUE(has_checkpoint(run_of(stopped, 0)));
  EXPECT_EQ(run(stopped, 1).done, 1);
  expect_same_bits(calm, stopped);
}

TEST_F(RealSweepTest, AKilledSchedulerIsFollowedByTheNext) {
  const fs::path calm = folder_ / "calm", killed = folder_ / "killed";
  store(calm, kLongRun, kOftenSaved);
  store(killed, kLongRun, kOftenSaved);
  EXPECT_EQ(run(calm, 1).done, 1);
  {
    WorkerProcess scheduler({MINICHILLA_BINARY, "sweep", "run", killed.string(), "--workers", "1"},
                            folder_ / "scheduler.log");
    ASSERT_TRUE(eventually([&] { return has_checkpoint(run_of(killed, 0)); }));
    scheduler.send(SIGKILL);
    ASSERT_TRUE(eventually([&] { return scheduler.ended().has_value(); }));
  }
  EXPECT_EQ(run(killed, 1).done, 1) << "its worker was told and ends, or is waited for";
  expect_same_bits(calm, killed);
}

TEST_F(RealSweepTest, TwoSchedulersShareASweep) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [25600], seeds: [1, 2, 3, 4, 5, 6]");
  SweepOutcome second;
  std::thread other([&] { second = run(sweep_folder(), 1); });
  const SweepOutcome first = run(sweep_folder(), 1);
  other.join();
  EXPECT_EQ(first.done, 6);
  EXPECT_EQ(second.done, 6);
  EXPECT_THAT(first.failures, SizeIs(0));
  EXPECT_THAT(second.failures, SizeIs(0));
  for (std::size_t run = 0; run < runs_.size(); ++run) {
    EXPECT_THAT(numbered_folders(run_of(sweep_folder(), run) / "attempts"), SizeIs(1))
        << "no run was trained twice";
  }
}

TEST_F(RealSweepTest, ABrokenRunDoesNotStopTheOthers) {
  store(sweep_folder(), "kind: grid, sizes: [1x16], tokens: [6400, 12800]");
  folder_.write("sweep/runs/" + runs_[0].run_id + "/config.yaml", "model: {n_layer: 2}\n");
  const SweepOutcome outcome = run(sweep_folder(), 1);
  EXPECT_EQ(outcome.done, 1);
  ASSERT_THAT(outcome.failures, SizeIs(1));
  EXPECT_THAT(outcome.failures[0].message, HasSubstr("n_layer"));
}

}  // namespace
}  // namespace minichilla::local_executor_test
