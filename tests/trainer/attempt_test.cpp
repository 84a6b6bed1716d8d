#include "trainer/attempt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spdlog/logger.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/trainer/run_fixture.h"
#include "trainer/json_fields.h"

namespace minichilla::attempt_test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

class AttemptTest : public FolderTest {
 protected:
  /// An attempt whose owner is a process of another boot: only its heartbeat can tell.
  fs::path foreign_attempt(int number) {
    const fs::path attempt = folder_ / "attempts" / std::to_string(number);
    fs::create_directories(attempt);
    write(attempt / "owner.json",
          R"({"host":"elsewhere","pid":77,"boot_id":"other","pid_namespace":"pid:[1]","start_ticks":5})");
    write(attempt / "heartbeat", "1\n");
    return attempt;
  }
  void declare_lost(int number) {
    write(folder_ / "attempts" / std::to_string(number) / "outcome.json",
          R"({"status":"lost","cause":"killed","reason":"slow","step":0})");
  }
  static void write(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }
};

/// Runs `work` in a child process and returns its pid; the child ends by _exit(work()).
template <class Work>
pid_t in_child(Work work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  return child;
}

TEST_F(AttemptTest, NumbersAscendAndOutcomesAreRead) {
  {
    Attempt first(folder_);
    EXPECT_EQ(first.number(), 1);
    EXPECT_EQ(first.folder(), folder_ / "attempts" / "1");
    EXPECT_FALSE(read_outcome(first.folder()).has_value());
    first.log().info("hello");
    first.finish("interrupted", "enough");
  }
  const fs::path first = newest_attempt(folder_);
  EXPECT_EQ(read_outcome(first)->status, "interrupted");
  EXPECT_EQ(read_outcome(first)->reason, "enough");
  EXPECT_THAT(read_file(first / "log"),
              ::testing::AllOf(HasSubstr("info: hello"), HasSubstr("interrupted: enough")));
  Attempt second(folder_);
  EXPECT_EQ(second.number(), 2);
  EXPECT_EQ(newest_attempt(folder_), second.folder());
}

TEST_F(AttemptTest, OwnerIsThisProcess) {
  const Attempt attempt(folder_);
  const ProcessIdentity owner = read_owner(attempt.folder()).value(), self = this_process();
  EXPECT_EQ(owner.pid, getpid());
  EXPECT_EQ(owner.boot_id, self.boot_id);
  EXPECT_EQ(owner.start_ticks, self.start_ticks);
  EXPECT_GT(self.start_ticks, 0);
  EXPECT_TRUE(owner_is_alive(attempt.folder()));
  EXPECT_THAT(describe_owner(attempt.folder()), HasSubstr("pid " + std::to_string(getpid()) + " on "));
}

TEST_F(AttemptTest, StrangeOwnersAndNumbersAreToldInOneLine) {
  const fs::path attempt = foreign_attempt(1);
  write(attempt / "owner.json",
        R"({"host":"a\nb","pid":77,"boot_id":"other","pid_namespace":"pid:[1]","start_ticks":5})");
  EXPECT_EQ(describe_owner(attempt), "pid 77 on a\\nb");
  fs::create_directories(folder_ / "attempts" / "99999999999");
  try {
    const Attempt next(folder_, 1ms);
    FAIL() << "claimed";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("found attempt 99999999999"));
  }
}

TEST_F(AttemptTest, ALivingOwnerKeepsTheRun) {
  const Attempt attempt(folder_);
  try {
    Attempt second(folder_);
    FAIL() << "a second attempt began";
  } catch (const RunBusyError& error) {
    EXPECT_THAT(error.what(), HasSubstr("another process (pid " + std::to_string(getpid()) + " on "));
  }
  EXPECT_FALSE(attempt.superseded());
}

TEST_F(AttemptTest, AnAttemptThatEndsWithoutAnOutcomeHasFailed) {
  { const Attempt attempt(folder_); }
  EXPECT_EQ(read_outcome(newest_attempt(folder_))->status, "failed");
  EXPECT_FALSE(owner_is_alive(newest_attempt(folder_)));
}

TEST_F(AttemptTest, AKilledOwnerIsTakenOver) {
  const pid_t child = in_child([this] {
    Attempt attempt(folder_);
    for (;;) pause();
    return 0;
  });
  while (!fs::exists(folder_ / "attempts" / "1" / "log")) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(owner_is_alive(folder_ / "attempts" / "1"));
  EXPECT_THROW(Attempt{folder_}, RunBusyError);
  kill(child, SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);  // it stays a zombie
  EXPECT_FALSE(owner_is_alive(folder_ / "attempts" / "1"));
  {
    const Attempt second(folder_);
    EXPECT_EQ(second.number(), 2);
  }
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(owner_is_alive(folder_ / "attempts" / "1"));
}

TEST_F(AttemptTest, OneOfManyProcessesWins) {
  for (int round = 0; round < 5; ++round) {
    const fs::path run = folder_ / std::to_string(round);
    int gate[2], decided[2];
    ASSERT_EQ(pipe(gate), 0);
    ASSERT_EQ(pipe(decided), 0);
    for (int i = 0; i < 6; ++i) {
      in_child([&] {
        char byte;
        close(gate[1]);
        close(decided[1]);
        static_cast<void>(!read(gate[0], &byte, 1));  // all begin when the parent closes the pipe
        try {
          Attempt attempt(run);
          pollfd others{decided[0], POLLIN, 0};
          poll(&others, 1, 30'000);  // owns the run until the parent has seen the others leave
          return attempt.number();
        } catch (const RunBusyError&) {
          return 100;
        }
      });
    }
    close(gate[0]);
    close(gate[1]);
    int winners = 0, refused = 0;
    for (int ended = 0; ended < 6; ++ended) {
      if (ended == 5) close(decided[1]);
      int status = 0;
      ASSERT_GT(waitpid(-1, &status, 0), 0);
      winners += WIFEXITED(status) && WEXITSTATUS(status) == 1;
      refused += WIFEXITED(status) && WEXITSTATUS(status) == 100;
    }
    close(decided[0]);
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(refused, 5);
    EXPECT_EQ(numbered_folders(run / "attempts").size(), 1u);
    const auto entries = std::distance(fs::directory_iterator(run / "attempts"), fs::directory_iterator());
    EXPECT_EQ(entries, 1) << "a loser left something behind";
  }
}

TEST_F(AttemptTest, APidThatWasGivenToAnotherProcessIsNotTheOwner) {
  ProcessIdentity other = this_process();
  const fs::path attempt = folder_ / "attempts" / "1";
  fs::create_directories(attempt);
  std::ostringstream json;
  json << "{\"host\":\"x\",\"pid\":" << other.pid << ",\"boot_id\":\"" << other.boot_id
       << "\",\"pid_namespace\":\"" << other.pid_namespace << "\",\"start_ticks\":" << other.start_ticks - 1
       << "}";
  write(attempt / "owner.json", json.str());
  EXPECT_FALSE(owner_is_alive(attempt));
}

TEST_F(AttemptTest, AForeignOwnerIsJudgedByItsHeartbeat) {
  const fs::path attempt = foreign_attempt(1);
  EXPECT_FALSE(owner_is_alive(attempt, 50ms));
  std::atomic<bool> stop{false};
  std::thread beats([&] {
    for (int i = 2; !stop; ++i) {
      write(attempt / "beat", std::to_string(i) + "\n");
      fs::rename(attempt / "beat", attempt / "heartbeat");
      std::this_thread::sleep_for(5ms);
    }
  });
  EXPECT_TRUE(owner_is_alive(attempt, 60s));
  EXPECT_THROW(Attempt(folder_, 60s), RunBusyError);
  stop = true;
  beats.join();
  const Attempt taken(folder_, 50ms);
  EXPECT_EQ(taken.number(), 2);
}

TEST_F(AttemptTest, TheWatchDoesNotWait) {
  const fs::path attempt = foreign_attempt(1);
  OwnerWatch watch(50ms);
  EXPECT_EQ(watch.judge(attempt), OwnerState::undecided);
  write(attempt / "heartbeat", "2\n");
  EXPECT_EQ(watch.judge(attempt), OwnerState::alive);
  std::this_thread::sleep_for(60ms);
  EXPECT_EQ(watch.judge(attempt), OwnerState::dead);
  write(attempt / "outcome.json", R"({"status":"failed","reason":"x"})");
  EXPECT_EQ(watch.judge(attempt), OwnerState::ended);
}

TEST_F(AttemptTest, BeatsByItself) {
  const Attempt attempt(folder_);
  const std::string before = read_file(attempt.folder() / "heartbeat");
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  std::string after = before;
  while (after == before && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(20ms);
    after = read_file(attempt.folder() / "heartbeat");
  }
  EXPECT_GT(after, before);
  EXPECT_EQ(after.size(), before.size());
}

TEST_F(AttemptTest, NoticesThatItWasSuperseded) {
  Attempt attempt(folder_);
  EXPECT_FALSE(attempt.superseded());
  EXPECT_FALSE(attempt.lost());
  declare_lost(1);
  EXPECT_TRUE(attempt.superseded());
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!attempt.lost() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(attempt.lost()) << "a beat looks too";
}

TEST_F(AttemptTest, WhoWasDeclaredLostPublishesNothing) {
  Attempt attempt(folder_);
  declare_lost(1);
  EXPECT_FALSE(attempt.publish(RunResult()));
  EXPECT_FALSE(fs::exists(folder_ / "result.json"));
  EXPECT_EQ(read_outcome(attempt.folder())->status, "lost");
  EXPECT_THAT(read_file(attempt.folder() / "log"), HasSubstr("declared lost before: slow"));
}

TEST_F(AttemptTest, ATakerEndsTheAttemptOfADeadOwner) {
  foreign_attempt(1);
  const Attempt taken(folder_, 20ms);
  const AttemptOutcome outcome = read_outcome(folder_ / "attempts" / "1").value();
  EXPECT_EQ(outcome.status, "lost");
  EXPECT_EQ(outcome.cause, cause::kKilled);
  EXPECT_THAT(outcome.reason, HasSubstr("(pid 77 on elsewhere) was found dead by pid"));
}

TEST_F(AttemptTest, AResultThatItsOwnerCouldNotPublishIsPublishedForHim) {
  RunResult result;
  result.status = "done";
  result.steps = 7;
  {
    Attempt attempt(folder_);
    EXPECT_TRUE(attempt.publish(result));
  }
  fs::remove(folder_ / "result.json");  // as if he had been killed between the two links
  EXPECT_THROW(Attempt{folder_}, RunEndedError);
  EXPECT_EQ(read_file(folder_ / "result.json"), result_json(result));
  EXPECT_EQ(newest_attempt_number(folder_), 1);
  EXPECT_EQ(read_outcome(newest_attempt(folder_))->step, 7);
}

TEST_F(AttemptTest, OriginsReadBack) {
  Attempt attempt(folder_);
  EXPECT_FALSE(read_origin(attempt.folder()).has_value());
  attempt.begin_after({40, 3}, "0123456789ab", "some CPU");
  EXPECT_EQ(read_origin(attempt.folder())->step, 40);
  EXPECT_EQ(read_origin(attempt.folder())->attempt, 3);
  EXPECT_THAT(read_file(attempt.folder() / "origin.json"),
              ::testing::AllOf(HasSubstr("0123456789ab"), HasSubstr("minichilla "), HasSubstr("\"cpu\"")));
}

TEST_F(AttemptTest, AFailureIsRecordedWhereTheWorkerLeftOff) {
  record_failure(folder_, 1, cause::kBadInput, "no such corpus");  // it had not begun an attempt
  EXPECT_EQ(read_outcome(folder_ / "attempts" / "1")->cause, cause::kBadInput);
  const pid_t child = in_child([this] {
    Attempt attempt(folder_);
    kill(getpid(), SIGKILL);
    return 0;
  });
  waitpid(child, nullptr, 0);
  record_failure(folder_, child, cause::kOutOfMemory, "killed");
  EXPECT_EQ(read_outcome(folder_ / "attempts" / "2")->cause, cause::kOutOfMemory);
  {
    Attempt attempt(folder_);
    record_failure(folder_, 1, cause::kCrash, "not this one");  // somebody else has the run
    attempt.fail(cause::kInputOutput, "its own words");
    record_failure(folder_, getpid(), cause::kCrash, "too late");
  }
  EXPECT_EQ(read_outcome(folder_ / "attempts" / "3")->reason, "its own words");
  EXPECT_EQ(newest_attempt_number(folder_), 3);
}

TEST_F(AttemptTest, BelowAFileItCannotBegin) {
  write(folder_ / "file", "x");
  EXPECT_THROW(Attempt{folder_ / "file"}, IoError);
}

TEST_F(AttemptTest, StrangeFilesAreNamed) {
  const fs::path attempt = foreign_attempt(1);
  write(attempt / "outcome.json", "[1]");
  EXPECT_THROW(read_outcome(attempt), InputError);
  write(attempt / "outcome.json", R"({"status":3,"reason":""})");
  try {
    read_outcome(attempt);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("outcome.json: status: found 3, expected a text"));
  }
}

}  // namespace
}  // namespace minichilla::attempt_test
