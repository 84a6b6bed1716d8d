"""minichilla train under faults: whatever fails or is killed, the same command ends with the same bits."""

import functools
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import time
import unittest

import program
from program import Fault, end_of, run, start
from runs import LONG_STEPS, Finished, Material, joined_metrics


class TrainUnderFaults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.material = Material()
        cls.addClassCleanup(program.remove, cls.material.folder)

    def goes_on(self, output):
        """A complaint unless the same command, undisturbed now, goes on from the newest checkpoint to the same bits."""
        complete = [int(marker.parent.name) for marker in output.glob("checkpoints/[0-9]*/complete")]
        ended_before = any('"run_id"' in outcome.read_text() for outcome in output.glob("attempts/[0-9]*/outcome.json"))
        again = run(self.material.train(self.material.short, output))
        if again.status != 0:
            return f"the same command again: {again}"
        difference = Finished(output).difference(self.material.undisturbed)
        if difference or ended_before:
            return difference
        log = max(output.glob("attempts/[0-9]*/log"), key=lambda path: int(path.parent.name)).read_text()
        begun = int(re.search(r"begins after step (\d+) of", log)[1])
        return None if begun == max(complete, default=0) else f"began after {begun}, there were checkpoints {complete}"

    def check(self, faults, killed=False, also=lambda ended: None, goes_on_from=None, calls=None):
        """Each fault in a run of its own: how it ends, and that the run then goes on to the same bits."""
        material = self.material
        self.assertEqual(material.undisturbed.result["status"], "done")  # made here, by one thread

        def one(fault, folder):
            if goes_on_from:
                shutil.copytree(goes_on_from, folder / "run")
            ended = run(material.train(material.short, folder / "run"), material.folder, fault)
            complaint = program.complaint_about(ended, material.folder, killed) or also(ended)
            complaint = complaint or self.goes_on(folder / "run")
            return f"{complaint}\n  {ended}" if complaint else None

        program.check_all(self, material.folder, calls or material.calls, faults, one)

    def test_the_calls_are_counted(self):
        names = [call.name for call in self.material.calls]
        self.assertLessEqual({"create", "open", "write", "fsync", "fdatasync", "rename", "link", "mkdir", "unlink", "mmap",
                              "stat"}, set(names))
        self.assertTrue(any(call.path.endswith("/log") and call.name == "write" for call in self.material.calls))
        self.assertGreater(len(names), 100)

    def test_any_call_fails(self):
        self.check(program.single_faults(self.material.calls))

    def test_killed_at_any_call(self):
        self.check(program.kills(self.material.calls), killed=True)

    def test_any_call_fails_when_it_goes_on(self):
        calls = self.material.calls_of_going_on
        self.assertTrue(any(call.name == "mmap" and "/checkpoints/16/" in call.path for call in calls))
        new = calls if program.LONG else [call for call in calls if call.kind == "look" or "/attempts/" in call.path]
        self.check(program.single_faults(new), goes_on_from=self.material.killed, calls=calls)

    def test_killed_when_it_goes_on(self):
        calls = self.material.calls_of_going_on
        new = calls if program.LONG else [call for call in calls if "/checkpoints/20" in call.path]
        self.check(program.kills(new), killed=True, goes_on_from=self.material.killed, calls=calls)

    def test_disk_full_for_a_while(self):
        def says_so(ended):
            if ended.status == 0:
                return None  # only lines of the log were lost
            wanted = ("No space left on device", "the same command goes on")
            missing = [text for text in wanted if text not in ended.errors]
            return f"the message does not say {missing}" if missing else None

        self.check(program.lasting_faults(self.material.calls, "ENOSPC", ["space"]), also=says_so)

    def test_lines_of_the_log_that_are_lost_do_not_matter(self):
        lines = [call.number for call in self.material.calls if call.path.endswith("/log") and call.name == "write"]
        for first in (lines[0], lines[2]):
            output = self.material.folder / f"log-{first}"
            ended = run(self.material.train(self.material.short, output), self.material.folder,
                        Fault("fail", first, 0, "ENOSPC", file="log"))
            self.assertEqual(ended.status, 0, ended)
            self.assertIsNone(Finished(output).difference(self.material.undisturbed))
            self.assertEqual(len((output / "attempts/1/log").read_text().splitlines()), lines.index(first))

    def test_file_beyond_the_limit_of_the_process(self):
        output = self.material.folder / "limited"
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (8192, 8192))
        ended = end_of(start(self.material.train(self.material.short, output), preexec_fn=limit))
        self.assertEqual(ended.status, 74, ended)
        self.assertIn("/model.safetensors: cannot write: File too large", ended.errors)
        self.assertIsNone(self.goes_on(output))

    def test_unwritable_folder(self):
        for error in ("EACCES", "EROFS"):
            self.check(program.lasting_faults(self.material.calls, error, ["change", "space"]))
            self.check(program.lasting_faults(self.material.calls, error, ["look", "change", "space"])[:3])


class TrainDisturbedFromOutside(unittest.TestCase):
    """A longer run that is still at it when something happens to it."""

    @classmethod
    def setUpClass(cls):
        cls.material = Material()
        cls.addClassCleanup(program.remove, cls.material.folder)
        cls.expected = cls.material.undisturbed_long

    def setUp(self):
        self.output = self.material.folder / self.id().rsplit(".", 1)[-1]
        self.command = self.material.train(self.material.long, self.output)

        lines = [call.number for call in self.material.long_calls if call.path.endswith("/log") and call.name == "write"]
        self.evaluated = lines[3]  # the line about the evaluation after step 50, 10 steps after a checkpoint

    def stopped(self, first, last=None, listing=None):
        """The long run, stopped at one of its file calls: what is to happen to it can happen there in peace."""
        fault = Fault("stop", first, last or first)
        process = start(self.command, self.material.folder, fault, listing)
        self.addCleanup(process.kill)
        self.assertTrue(program.is_stopped(process))
        return process

    def end_of(self, process):
        process.send_signal(signal.SIGCONT)
        return end_of(process)

    def assert_same_bits(self, output):
        self.assertIsNone(Finished(output).difference(self.expected))

    def test_killed_twenty_times_at_random_moments(self):
        seed = int(os.environ.get("MINICHILLA_FAULT_SEED", time.time_ns() % 1000000))
        moments = random.Random(seed)
        begin = time.monotonic()
        run(self.material.train(self.material.long, self.output / "timed"))
        longest = (time.monotonic() - begin) / 5
        killed = rounds = 0
        while killed < (200 if program.LONG else 20):
            output = self.output / str(rounds)
            process = start(self.material.train(self.material.long, output))
            try:
                status = process.wait(moments.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            process.communicate()
            self.assertIn(status, (0, program.KILLED), f"MINICHILLA_FAULT_SEED={seed}")
            killed += status == program.KILLED
            rounds += status == 0
        for output in self.output.iterdir():
            self.assertEqual(run(self.material.train(self.material.long, output)).status, 0)
            self.assertIsNone(Finished(output).difference(self.expected), f"MINICHILLA_FAULT_SEED={seed}")

    def test_signals_end_it_with_a_checkpoint_and_the_command_that_goes_on(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            with self.subTest(number.name):
                self.output = self.material.folder / f"it's run {number.name}"  # a name that a shell would take apart
                self.command = self.material.train(self.material.long, self.output) + ["--set", "train.seed=1"]
                process = self.stopped(self.evaluated)
                process.send_signal(number)
                stopped = self.end_of(process)
                self.assertEqual(stopped.status, 75, stopped)
                message, command = stopped.errors.splitlines()
                self.assertIn(f"stopped by signal {int(number)} after step 50 of {LONG_STEPS}", message)
                self.assertEqual(joined_metrics(self.output)[0][-1]["step"], 50)
                self.assertTrue((self.output / "checkpoints" / "50" / "complete").exists())
                words = shlex.split(command)
                self.assertEqual(words[:3], ["minichilla", "train", str(self.material.long)])
                self.assertEqual(sorted(words[1:]), sorted(map(str, self.command)))
                self.assertEqual(run(words[1:]).status, 0)
                self.assert_same_bits(self.output)

    def test_more_signals_while_it_stops(self):
        process = self.stopped(self.evaluated, self.evaluated + 60)
        signals = 0
        while True:  # at each file call of the last checkpoint and of the end
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                process.send_signal(number)
            signals += 3
            process.send_signal(signal.SIGCONT)
            if not program.is_stopped(process):
                break
        stopped = end_of(process)
        self.assertEqual(stopped.status, 75, stopped)
        self.assertGreater(signals, 100)
        self.assertEqual([path.name for path in (self.output / "checkpoints").iterdir()].count("50"), 1)
        self.assertEqual(run(self.command).status, 0)
        self.assert_same_bits(self.output)

    def test_a_second_process_is_refused_and_harms_nothing(self):
        first = self.stopped(self.evaluated)
        second = run(self.command)
        self.assertEqual(second.status, 2, second)
        self.assertIn(f"another process (pid {first.pid} on ", second.errors)
        self.assertEqual(self.end_of(first).status, 0)
        self.assert_same_bits(self.output)
        self.assertEqual([path.name for path in (self.output / "attempts").iterdir()], ["1"])

    def test_a_folder_that_vanishes_is_named_and_not_made_again(self):
        process = self.stopped(self.evaluated)
        moved = self.output.with_suffix(".moved")
        self.output.rename(moved)
        ended = self.end_of(process)
        self.assertIsNone(program.complaint_about(ended, self.output))
        self.assertEqual(ended.status, 74)
        self.assertFalse(self.output.exists())
        moved.rename(self.output)
        self.assertEqual(run(self.command).status, 0)
        self.assert_same_bits(self.output)

    def test_a_heartbeat_that_cannot_be_written_does_not_matter(self):
        listing = self.material.folder / "beats"
        process = start([*self.command, "--set", "train.tokens=1G"], self.material.folder,
                        Fault("fail", 1, 0, "EIO", file="heartbeat"), listing)
        self.addCleanup(process.kill)
        while process.poll() is None and not (listing.exists() and listing.read_text().count("/heartbeat") >= 3):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        ended = end_of(process)
        self.assertEqual(ended.status, 75, ended)

    def test_a_clock_that_goes_back_an_hour(self):
        arguments = [word for word in self.material.train(self.material.short, self.output) if word != "--quiet"]
        middle = next(call.number for call in self.material.calls if call.path.endswith("/checkpoints/8"))
        ended = run(arguments, self.material.folder, Fault("clock_back", middle, 0))
        self.assertEqual(ended.status, 0, ended)
        self.assertIsNone(Finished(self.output).difference(self.material.undisturbed))
        times = [line[:23] for line in (self.output / "attempts/1/log").read_text().splitlines()]
        self.assertGreater(len(times), 4)
        self.assertEqual(times, sorted(times))
        self.assertNotIn("unknown", ended.errors)
        rows = [json.loads(line) for line in (self.output / "attempts/1/metrics.jsonl").read_text().splitlines()]
        spent = [row["wall_s"] for row in rows]
        self.assertEqual(spent, sorted(spent))
        self.assertTrue(0 <= spent[0] and spent[-1] < 600, spent)


if __name__ == "__main__":
    unittest.main()
