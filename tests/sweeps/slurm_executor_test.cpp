#include "sweeps/slurm_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/error.h"
#include "sweeps/run_store.h"
#include "sweeps/slurm_script.h"
#include "tests/sweeps/fake_slurm.h"
#include "tests/sweeps/sweep_fixture.h"
#include "trainer/run_directory.h"

namespace minichilla::slurm_executor_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

TEST(ArraysToSubmit, FillUpWhatIsMissingUnderBothLimits) {
  for (const int wanted : {0, 1, 5, 12, 100}) {
    for (const int living : {0, 3, 12}) {
      for (const int throttle : {0, 1, 4, 50}) {
        const int used = throttle > 0 ? std::min(throttle, living) : living;
        const auto arrays = arrays_to_submit({wanted, living, throttle, used, 10});
        int tasks = 0, at_once = 0;
        for (const WorkerArray& array : arrays) {
          EXPECT_GT(array.tasks, 0);
          EXPECT_LE(array.tasks, 10);
          tasks += array.tasks;
          at_once += array.throttle > 0 ? array.throttle : array.tasks;
        }
        EXPECT_LE(tasks, std::max(0, wanted - living));
        if (throttle == 0) {
          EXPECT_EQ(tasks, std::max(0, wanted - living));
        } else {
          EXPECT_LE(at_once + (tasks > 0 ? used : 0), throttle);
          EXPECT_EQ(tasks > 0, wanted > living && used < throttle);
        }
      }
    }
  }
}

/// A planned sweep of three runs, and commands that take SLURM's place.
class SlurmExecutorTest : public SweepFixture {
 protected:
  SlurmExecutorTest() {
    const SweepPlan three = plan("kind: grid, sizes: [1x16], tokens: [6400, 12800, 25600]");
    store_plan(sweep_folder(), three, false);
    for (const PlanRow& row : three.rows) runs_.push_back(row.planned);
  }
  SubmitRequest request(int workers) const {
    SubmitRequest request;
    request.sweep = sweep_folder();
    request.options.workers = workers;
    return request;
  }
  void end_run(std::size_t run) {
    RunResult result;
    result.run_id = runs_[run].run_id;
    result.status = "done";
    result.tokens = runs_[run].tokens;
    folder_.write("sweep/runs/" + result.run_id + "/result.json", result_json(result));
  }
  /// As sbatch's tasks are in the queue, in another state.
  void set_states(const std::string& state) {
    std::string queue = slurm_.queue();
    for (std::size_t at; (at = queue.find("PENDING")) != std::string::npos;) queue.replace(at, 7, state);
    slurm_.set_queue(queue);
  }

  FakeSlurm slurm_;
  std::vector<PlannedRun> runs_;
};

TEST_F(SlurmExecutorTest, SubmitsWorkersAndTheirFollower) {
  const Submission submission = submit_sweep(request(2));
  EXPECT_EQ(submission.to_do, 3);
  ASSERT_THAT(submission.arrays, SizeIs(1));
  EXPECT_EQ(submission.arrays[0].job_id, "101");
  EXPECT_THAT(slurm_.calls(), ElementsAre("sbatch --parsable --array=0-1 worker.sbatch",
                                          "sbatch --parsable --dependency=afterany:101 report.sbatch"));
  const auto records = read_slurm_records(sweep_folder());
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_EQ(records[0].job_id, "101");
  EXPECT_EQ(records[0].tasks, 2);
  EXPECT_EQ(records[1].kind, "report");
}

TEST_F(SlurmExecutorTest, NeverDoublesWhatIsThere) {
  submit_sweep(request(2));
  const Submission again = submit_sweep(request(2));
  EXPECT_EQ(again.living, 2);
  EXPECT_THAT(again.arrays, IsEmpty());
  EXPECT_THAT(again.report_job, IsEmpty());
  set_states("RUNNING");
  EXPECT_THAT(submit_sweep(request(2)).arrays, IsEmpty());
  EXPECT_THAT(slurm_.calls(), SizeIs(2));
}

TEST_F(SlurmExecutorTest, TopsUpWhatIsLost) {
  submit_sweep(request(3));
  std::string queue = slurm_.queue();
  queue.replace(queue.find("PENDING"), 7, "FAILED");
  slurm_.set_queue(queue);
  const Submission again = submit_sweep(request(3));
  EXPECT_EQ(again.living, 2);
  ASSERT_THAT(again.arrays, SizeIs(1));
  EXPECT_EQ(again.arrays[0].tasks, 1);
}

TEST_F(SlurmExecutorTest, ReleasesWorkersThatCouldNotBeStarted) {
  submit_sweep(request(3));
  std::string queue = slurm_.queue();
  queue.replace(queue.find("Priority"), 8, "launch failed requeued held");
  queue.replace(queue.find("Priority"), 8, "JobHeldUser");
  slurm_.set_queue(queue);
  const Submission again = submit_sweep(request(3));
  EXPECT_THAT(again.released, ElementsAre("101_0")) << "what a person holds stays held";
  EXPECT_EQ(again.living, 3);
  EXPECT_THAT(again.arrays, IsEmpty());
  EXPECT_EQ(slurm_.calls().back(), "scontrol release 101_0");
}

TEST_F(SlurmExecutorTest, AWorkerThatEndsReleasesAndSubmitsNothing) {
  submit_sweep(request(1));
  const std::size_t calls = slurm_.calls().size();
  SubmitRequest release = request(3);
  release.kind = SubmitRequest::Kind::release;
  EXPECT_THAT(submit_sweep(release).released, IsEmpty());
  EXPECT_THAT(slurm_.calls(), SizeIs(calls));
  std::string queue = slurm_.queue();
  queue.replace(queue.find("Priority"), 8, "launch_failed_requeued_held");
  slurm_.set_queue(queue);
  EXPECT_THAT(submit_sweep(release).released, ElementsAre("101_0"));
  EXPECT_THAT(slurm_.calls(), SizeIs(calls + 1));
}

TEST_F(SlurmExecutorTest, CountsJobsThatWereNeverWrittenDown) {
  submit_sweep(request(2));
  std::filesystem::remove(slurm_folder(sweep_folder()) / "jobs.jsonl");
  EXPECT_THAT(submit_sweep(request(2)).arrays, IsEmpty()) << "squeue knows them by their name";
}

TEST_F(SlurmExecutorTest, NeverWantsMoreWorkersThanRuns) {
  end_run(0);
  EXPECT_EQ(submit_sweep(request(50)).wanted, 2);
  end_run(1);
  end_run(2);
  const Submission nothing = submit_sweep(request(50));
  EXPECT_EQ(nothing.to_do, 0);
  EXPECT_EQ(nothing.note, "nothing is left to do");
}

TEST_F(SlurmExecutorTest, DryRunChangesNothing) {
  SubmitRequest dry = request(2);
  dry.options.partition = "fast lane";
  dry.options.modules = {"cuda/12"};
  dry.options.extra = {"--exclude=node7"};
  const std::string text = describe_submission(dry);
  EXPECT_THAT(text,
              AllOf(HasSubstr("#SBATCH --partition=\"fast lane\"\n"), HasSubstr("#SBATCH --exclude=node7\n"),
                    HasSubstr("module load cuda/12\n"), HasSubstr("#SBATCH --signal=B:USR1@120\n"),
                    HasSubstr(" sweep work " + sweep_folder().string()),
                    HasSubstr("# sbatch --array=0-1 worker.sbatch\n"), Not(HasSubstr("{{"))));
  EXPECT_THAT(slurm_.calls(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(slurm_folder(sweep_folder())));
}

TEST_F(SlurmExecutorTest, OptionsAreRemembered) {
  SubmitRequest first = request(2);
  first.options.time = "1:00:00";
  first.options.extra = {"--exclude=node7"};
  submit_sweep(first);
  const SlurmOptions stored = read_slurm_options(sweep_folder());
  EXPECT_EQ(stored.workers, 2);
  EXPECT_EQ(stored.time, "1:00:00");
  EXPECT_THAT(stored.extra, ElementsAre("--exclude=node7"));
  EXPECT_THAT(stored.modules, IsEmpty());
}

TEST_F(SlurmExecutorTest, CancelsTheFollowerFirst) {
  submit_sweep(request(2));
  EXPECT_THAT(cancel_sweep(sweep_folder()), SizeIs(3));
  const auto calls = slurm_.calls();
  ASSERT_THAT(calls, SizeIs(4));
  EXPECT_EQ(calls[2], "scancel 102");
  EXPECT_EQ(calls[3], "scancel 101");
}

TEST_F(SlurmExecutorTest, ReplacesAPreemptedWorkerThatDoesNotRunAgain) {
  submit_sweep(request(2));
  set_states("COMPLETING");  // squeue does not say yet how it ends
  SubmitRequest replace = request(2);
  replace.kind = SubmitRequest::Kind::replace;
  replace.job = "1010";
  slurm_.set_jobs("JobId=1010 Restarts=1 PreemptTime=None RunTime=00:00:10 TimeLimit=01:00:00\n");
  EXPECT_THAT(submit_sweep(replace).note, EndsWith("runs again or was cancelled"));
  slurm_.set_jobs("JobId=1010 Restarts=0 PreemptTime=None RunTime=00:00:10 TimeLimit=01:00:00\n");
  EXPECT_THAT(submit_sweep(replace).note, EndsWith("runs again or was cancelled"));
  slurm_.set_jobs(
      "JobId=1010 Restarts=0 PreemptTime=2026-01-02T03:04:05 RunTime=00:00:10 TimeLimit=01:00:00\n");
  for (const char* job : {"1010", "1011"}) {
    replace.job = job;
    replace.ended = replace.job == "1011";
    const Submission submission = submit_sweep(replace);
    ASSERT_THAT(submission.arrays, SizeIs(1)) << "each of two that end together is replaced";
    EXPECT_EQ(submission.arrays[0].tasks, 1);
  }
}

/// The job that follows the workers up, when they have all ended.
class FollowUpTest : public SlurmExecutorTest {
 protected:
  FollowUpTest() {
    submit_sweep(request(2));
    follower_ = request(2);
    follower_.kind = SubmitRequest::Kind::go_on;
    follower_.job = "1020";  // the task that the fake sbatch made of it
  }
  SubmitRequest follower_;
};

TEST_F(FollowUpTest, SubmitsOthersWhileTheyGetOn) {
  set_states("PREEMPTED");
  end_run(0);
  const Submission submission = submit_sweep(follower_);
  ASSERT_THAT(submission.arrays, SizeIs(1));
  EXPECT_EQ(submission.arrays[0].tasks, 2);
  EXPECT_THAT(submission.report_job, Not(IsEmpty()));
}

TEST_F(FollowUpTest, GivesUpWhenTheyDoNot) {
  set_states("FAILED");
  const Submission submission = submit_sweep(follower_);
  EXPECT_THAT(submission.arrays, IsEmpty());
  EXPECT_THAT(submission.note, StartsWith("the workers ended without getting on, with 3 runs left"));
}

TEST_F(FollowUpTest, GivesUpWhenSomebodyCancelledThem) {
  set_states("CANCELLED");
  end_run(0);
  EXPECT_EQ(submit_sweep(follower_).note, "the workers were cancelled, with 2 runs left");
}

TEST_F(FollowUpTest, WaitsForWorkersThatWereAddedMeanwhile) {
  set_states("PREEMPTED");
  slurm_.set_queue(slurm_.queue() + "200_0|2000|200|RUNNING|None|0:10|1:00:00|n0|" +
                   existing_slurm_job_name(sweep_folder()) + "\n");
  const Submission submission = submit_sweep(follower_);
  EXPECT_EQ(submission.living, 1);
  EXPECT_THAT(slurm_.calls().back(), HasSubstr("--dependency=afterany:"));
  EXPECT_THAT(slurm_.calls().back(), HasSubstr(":200"));
}

TEST_F(SlurmExecutorTest, EveryFailureIsOneLine) {
  slurm_.answer("sbatch", "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1");
  EXPECT_EQ(message_of<InputError>([&] { submit_sweep(request(2)); }),
            "sbatch: failed with status 1: invalid partition specified: nowhere");
  slurm_.answer(
      "squeue",
      "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1");
  EXPECT_EQ(message_of<SlurmUnreachable>([&] { submit_sweep(request(2)); }),
            "squeue: failed with status 1: Unable to contact slurm controller (connect failure); try again "
            "when SLURM's "
            "controller answers");
  slurm_.answer("squeue", "echo nonsense");
  EXPECT_THAT(message_of<InputError>([&] { submit_sweep(request(2)); }),
              HasSubstr("found the line 'nonsense'"));
}

TEST_F(SlurmExecutorTest, ForgetsWhatSlurmRefused) {
  submit_sweep(request(1));
  slurm_.answer("sbatch", "exit 1");
  SubmitRequest refused = request(2);
  refused.options.partition = "nowhere";
  EXPECT_EQ(message_of<InputError>([&] { submit_sweep(refused); }),
            "sbatch: failed with status 1: it said nothing");
  EXPECT_EQ(read_slurm_options(sweep_folder()).partition, "");
  EXPECT_EQ(read_slurm_options(sweep_folder()).workers, 1);
}

TEST_F(SlurmExecutorTest, SaysWhichCommandIsMissing) {
  slurm_.hide("squeue");
  EXPECT_EQ(message_of<InputError>([&] { submit_sweep(request(2)); }),
            "squeue: found no such program in PATH, expected SLURM's commands on this machine");
}

TEST_F(SlurmExecutorTest, AGraceAsLongAsTheLimitIsRefused) {
  SubmitRequest short_limit = request(2);
  short_limit.options.time = "2";  // minutes
  EXPECT_EQ(message_of<InputError>([&] { submit_sweep(short_limit); }),
            "--grace: found 120 s, expected less than the time limit --time 2");
  EXPECT_THAT(slurm_.calls(), IsEmpty());
}

TEST_F(SlurmExecutorTest, ATemplateOfOnesOwnIsFilledIn) {
  SlurmOptions options;
  options.container = "apptainer exec image.sif";
  options.program = "/opt/mini chilla";
  options.worker_template = folder_.write("mine", "#!/bin/sh\n#SBATCH -J {{name}}\n{{worker}}\n").string();
  EXPECT_EQ(worker_script(sweep_folder(), "n", options),
            "#!/bin/sh\n#SBATCH -J n\napptainer exec image.sif '/opt/mini chilla' sweep work " +
                sweep_folder().string() + " --device auto\n");
  folder_.write("mine", "#!/bin/sh\n{{nam}}\n");
  EXPECT_THAT(message_of<InputError>([&] { worker_script(sweep_folder(), "n", options); }),
              AllOf(HasSubstr("mine:2: found the placeholder 'nam', expected one of "), HasSubstr("name")));
}

}  // namespace
}  // namespace minichilla::slurm_executor_test
