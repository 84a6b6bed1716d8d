#include "sweeps/worker_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "kernels/error.h"
#include "tests/temporary_folder.h"
#include "trainer/files.h"

namespace minichilla::worker_process_test {
namespace {

using testing::HasSubstr;

ProcessEnd wait_for(WorkerProcess& process) {
  for (;;) {
    if (const auto end = process.ended()) return *end;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

class WorkerProcessTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::filesystem::path log_ = folder_ / "worker.log";
};

TEST_F(WorkerProcessTest, ReportsTheExitStatus) {
  WorkerProcess process({"/bin/sh", "-c", "exit 75"}, log_);
  const ProcessEnd end = wait_for(process);
  EXPECT_EQ(end.status, 75);
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(process.last_line(), "");
}

TEST_F(WorkerProcessTest, ReportsTheSignal) {
  WorkerProcess process({"/bin/sh", "-c", "exec sleep 60"}, log_);
  EXPECT_FALSE(process.ended());
  process.send(SIGKILL);
  EXPECT_EQ(wait_for(process).signal, SIGKILL);
}

TEST_F(WorkerProcessTest, AppendsBothStreamsAndFindsItsOwnLastLine) {
  folder_.write("worker.log", "of an earlier one\n");
  WorkerProcess silent({"/bin/sh", "-c", "true"}, log_);
  wait_for(silent);
  EXPECT_EQ(silent.last_line(), "") << "an earlier process' line is not its own";
  WorkerProcess process({"/bin/sh", "-c", "echo one; echo two >&2; echo; echo '  '"}, log_);
  wait_for(process);
  EXPECT_EQ(process.last_line(), "two");
  EXPECT_EQ(read_file(log_), "of an earlier one\none\ntwo\n\n  \n");
}

TEST_F(WorkerProcessTest, AMissingProgramSaysSoInTheLog) {
  WorkerProcess process({(folder_ / "none").string()}, log_);
  EXPECT_EQ(wait_for(process).status, 127);
  EXPECT_THAT(process.last_line(), HasSubstr("No such file"));
}

TEST_F(WorkerProcessTest, AnUnwritableLogIsAnInputOutputError) {
  EXPECT_THAT(message_of<IoError>([&] { WorkerProcess({"/bin/true"}, folder_ / "none/worker.log"); }),
              HasSubstr("none/worker.log"));
}

TEST_F(WorkerProcessTest, DestructionEndsTheChild) {
  pid_t pid = 0;
  {
    WorkerProcess process({"/bin/sh", "-c", "exec sleep 60"}, log_);
    pid = process.pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_NE(kill(pid, 0), 0) << "it is gone, and not a zombie";
}

TEST_F(WorkerProcessTest, TheChildIsToldWhenItsParentDies) {
  const pid_t parent = fork();
  if (parent == 0) {
    // The trap's sleep is cut short by the signal; the child then leaves a mark.
    const std::string mark = (folder_ / "mark").string();
    WorkerProcess child(
        {"/bin/sh", "-c", "trap 'touch " + mark + "; kill $!; exit' TERM; echo up; sleep 60 & wait"}, log_);
    while (child.last_line() != "up") std::this_thread::sleep_for(std::chrono::milliseconds(2));
    kill(getpid(), SIGKILL);
  }
  waitpid(parent, nullptr, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!std::filesystem::exists(folder_ / "mark") && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(std::filesystem::exists(folder_ / "mark"));
}

}  // namespace
}  // namespace minichilla::worker_process_test
