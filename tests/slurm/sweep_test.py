"""A sweep of 12 runs through an array of workers on a real SLURM, with everything done to it that clusters do: a worker
is killed, a job is requeued, one is preempted, one runs out of time, a node's daemon dies, the controller restarts, the
sweep is cancelled and submitted again. Every run must end done, once, with the bits of an undisturbed local sweep.

Once where SLURM requeues a preempted job, and once where it cancels it.

Needs the program's path in MINICHILLA_BINARY, root, and Debian's slurm-wlm and munge: without these it is skipped
(exit status 77).
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "tests" / "slurm"), str(SOURCE / "tests" / "faults")]

import cluster as slurm
from cluster import wait_until

PROGRAM = os.environ["MINICHILLA_BINARY"]
RUNS, THROTTLE = 12, 3
PROBE_TOKENS, SECONDS_PER_RUN = 200_000, 12
GRACE = 50  # SLURM's limits are whole minutes, so a limit of one leaves ten seconds
SKIPPED = 77
SWEEP = """model: {{context_length: 64}}
data: {{corpus: {corpus}}}
train: {{batch_tokens: 512, micro_batch: 4, evaluate: {{tokens: 1024, every: 0.25}}, checkpoint: {{every: 2s}},
        log: {{every: 1 step}}}}
sweep: {{kind: grid, sizes: [1x16, 2x24], tokens: [{tokens}], seeds: [1, 2, 3, 4, 5, 6]}}
"""


def processes_of(job, *words):
    """Processes of one job whose command line has all of the words, the youngest last."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"SLURM_JOB_ID={job}".encode() in environment and all(word.encode() in command for word in words):
            found.append(int(entry.name))
    return sorted(found)


class Sweep:
    """The folder of a sweep, and what the program does with it inside of a cluster."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster = folder, cluster

    def call(self, command, *options, status=0):
        done = subprocess.run([PROGRAM, "sweep", command, self.folder, *map(str, options)], capture_output=True, text=True,
                              env=self.cluster.environment, check=False, timeout=300)
        if done.returncode != status:
            raise AssertionError(f"sweep {command} {options}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def submit(self, *options):
        return json.loads(self.call("submit", *options, "--json", "-").stdout)

    def status(self):
        return json.loads(self.call("status", "--json", "-").stdout)

    def workers(self, state):
        return [worker for worker in self.status()["workers"]["list"] if worker["state"] == state]

    def done(self):
        return len(list(self.folder.glob("runs/*/result.json")))

    def records(self, kind):
        lines = (self.folder / "slurm" / "jobs.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["kind"] == kind]

    def logs(self):
        return "".join(path.read_text() for path in sorted((self.folder / "slurm" / "logs").glob("[0-9]*.log")))

    def job_id(self, worker):
        return self.cluster.job(worker["name"])["JobId"]

    def worker_at_work(self, but=""):
        """A worker that runs, has a run and a process, with its job id; not the one with the name `but`."""
        def find():
            # The last task of an array first: its job id is the array's, which scripts may confuse.
            task = lambda worker: int(worker["name"].split("_")[1])
            for worker in sorted(self.workers("running"), key=task, reverse=True):
                job = self.job_id(worker)
                if worker["name"] != but and worker["run_id"] and processes_of(job, "work"):
                    return worker, job
            return None
        return wait_until(find, "a worker at work", 120)


def plan(folder, sweep, tokens):
    (folder / "sweep.yaml").write_text(SWEEP.format(corpus=folder / "corpus", tokens=tokens))
    call("sweep", "plan", folder / "sweep.yaml", "--output", sweep, "--no-calibration")


def call(*arguments):
    """The program outside of the cluster."""
    subprocess.run([PROGRAM, *map(str, arguments)], check=True, capture_output=True)


class SlurmSweep(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """A sweep that is planned, copied, and run here without any trouble. Its runs are as long as this machine needs
        for SECONDS_PER_RUN: shorter ones would have ended before all is done to them."""
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        text = cls.folder / "text.txt"
        text.write_text("".join(f"Line {i % 97} of a text, number {i * i % 1013}, that goes on.\n" + "\n" * (i % 9 == 0)
                                for i in range(20_000)))
        call("data", "prepare", text, "--output", cls.folder / "corpus")
        plan(cls.folder, cls.folder / "probe", PROBE_TOKENS)
        began = time.monotonic()
        call("sweep", "run", cls.folder / "probe", "--device", "cpu", "--workers", 2)
        seconds_per_run = (time.monotonic() - began) / (RUNS / 2)
        tokens = int(PROBE_TOKENS * SECONDS_PER_RUN / seconds_per_run)
        print(f"12 runs of {tokens} tokens", flush=True)
        cls.local, cls.planned = cls.folder / "local", cls.folder / "planned"
        plan(cls.folder, cls.local, tokens)
        shutil.copytree(cls.local, cls.planned)
        call("sweep", "run", cls.local, "--device", "cpu", "--workers", 2)

    def start(self, preempt_mode):
        self.preempt_mode = preempt_mode
        self.cluster = slurm.Cluster(nodes=4, cpus=1, preempt_mode=preempt_mode)
        self.cluster.__enter__()
        self.addCleanup(self.cluster.stop)
        self.sweep = Sweep(self.folder / preempt_mode, self.cluster)
        shutil.copytree(self.planned, self.sweep.folder)

    def test_where_slurm_requeues_what_it_preempts(self):
        self.disturb_a_sweep("REQUEUE")

    def test_where_slurm_cancels_what_it_preempts(self):
        self.disturb_a_sweep("CANCEL")

    def disturb_a_sweep(self, preempt_mode):
        self.start(preempt_mode)
        try:
            self.submit_disturb_and_check()
        except BaseException:
            print(self.cluster.situation(), flush=True)
            raise

    def submit_disturb_and_check(self):
        began = time.monotonic()
        self.submit_cancel_and_submit_again()
        for disturb in (self.run_out_of_time, self.kill_worker, self.requeue, self.preempt, self.lose_a_nodes_daemon,
                        self.restart_controller):
            self.assertLess(self.sweep.done(), RUNS, f"{disturb.__name__} must have something to disturb")
            disturb()
            print(f"{disturb.__name__}: {self.sweep.done()} runs done after {time.monotonic() - began:.0f} s", flush=True)
        wait_until(lambda: self.sweep.done() == RUNS, "all runs", 400)
        self.check_against_local()
        self.check_report()
        self.check_logs()

    def submit_cancel_and_submit_again(self):
        # Tasks behind the throttle take the place of lost ones; without any, the sweep itself has to see to that.
        workers = 6 if self.preempt_mode == "REQUEUE" else THROTTLE
        first = self.sweep.submit("--workers", workers, "--throttle", THROTTLE, "--time", 60, "--grace", GRACE,
                                  "--device", "cpu", "--partition", "low")
        self.assertEqual([array["tasks"] for array in first["arrays"]], [workers])
        self.assertTrue(first["report_job"])
        wait_until(lambda: len(self.sweep.workers("running")) == THROTTLE, "three workers", 60)
        self.assertEqual(self.sweep.submit()["arrays"], [], "nothing may be doubled")
        self.sweep.call("cancel")
        wait_until(lambda: not self.cluster.run("squeue", "-h"), "an empty queue", 60)
        again = self.sweep.submit()  # options are remembered
        self.assertEqual([array["tasks"] for array in again["arrays"]], [workers])

    def run_out_of_time(self):
        """Its signal comes within half a minute; nobody waits for it."""
        worker, _ = self.sweep.worker_at_work()
        self.cluster.run("scontrol", "update", f"JobId={worker['name']}", "TimeLimit=1")
        self.out_of_time = worker["name"]

    def restarts(self, task):
        return int(self.cluster.job(task).get("Restarts", 0))

    def kill_worker(self):
        _, job = self.sweep.worker_at_work(but=self.out_of_time)
        os.kill(processes_of(job, "work")[0], signal.SIGKILL)
        wait_until(lambda: "killed by signal 9" in self.sweep.logs(), "the script's word about it", 60)

    def requeue(self):
        worker, _ = self.sweep.worker_at_work(but=self.out_of_time)
        self.cluster.run("scontrol", "requeue", worker["name"])
        wait_until(lambda: self.restarts(worker["name"]) > 0, "a requeue")

    def restart_controller(self):
        self.cluster.kill("slurmctld")
        said = self.sweep.call("status").stdout
        self.assertRegex(said, r"workers: unknown: squeue: failed with status 1: .*; try again when SLURM's controller")
        self.cluster.start("slurmctld")
        # Nodes may stay in completion for minutes: what they told the dead controller is asked for again by and by.
        wait_until(self.cluster.controller_answers, "the controller", 120)

    def lose_a_nodes_daemon(self):
        """The jobs' processes live on, so for a while SLURM starts workers beside them."""
        worker, _ = self.sweep.worker_at_work(but=self.out_of_time)
        self.cluster.kill(worker["node"])
        wait_until(lambda: "down" in self.cluster.run("sinfo", "-h", "-n", worker["node"], "-o", "%T"), "a lost node", 120)
        self.cluster.start(worker["node"])

    def preempt(self):
        worker, job = self.sweep.worker_at_work(but=self.out_of_time)
        high = self.cluster.run("sbatch", "--parsable", "-p", "high", "-w", worker["node"], "--exclusive", "-o",
                                "/dev/null", "--wrap", "sleep 2").strip()
        wait_until(lambda: self.cluster.job(high).get("JobState") == "COMPLETED", "the preempting job", 120)
        if self.preempt_mode == "CANCEL":
            wait_until(lambda: job in [record["job_id"] for record in self.sweep.records("replaced")],
                       "the script's word that its job does not run again", 60)
            wait_until(lambda: len(self.sweep.records("workers")) == 3, "a worker in its place", 60)
        else:
            self.assertGreater(self.restarts(worker["name"]), 0)

    def check_against_local(self):
        from runs import Finished
        folders = sorted(path.name for path in self.local.glob("runs/*"))
        self.assertEqual(len(folders), RUNS)
        for name in folders:
            with self.subTest(name):
                theirs, ours = Finished(self.sweep.folder / "runs" / name), Finished(self.local / "runs" / name)
                self.assertEqual(theirs.result["status"], "done")
                self.assertIsNone(theirs.difference(ours))
                self.assertEqual(theirs.numbers, list(range(1, theirs.result["steps"] + 1)))
                ends = [json.loads(path.read_text())
                        for path in (self.sweep.folder / "runs" / name).glob("attempts/*/outcome.json")]
                self.assertEqual(len([end for end in ends if end["status"] == "done" and not end["reason"]]), 1, ends)

    def check_logs(self):
        said = self.sweep.logs()
        print(f"workers released after failed launches: {said.count('released, as their launch')}", flush=True)
        self.assertIn("asked to stop: time", said)
        self.assertIn("asked to stop: kill", said)
        self.assertIn("restart 1", said)
        logs = {path.stem: path.read_text() for path in (self.sweep.folder / "slurm" / "logs").glob("[0-9]*.log")}
        self.assertGreaterEqual(len(logs), 2 * THROTTLE)
        restarts = {task: len(re.findall("begins, restart [1-9]", log)) for task, log in logs.items()}
        self.assertGreater(restarts.pop(self.out_of_time), 0)
        # The controller may have lost what it had just started: its launch fails, and it is released.
        self.assertLessEqual(sum(restarts.values()), 4, "requeued, preempted, lost its node, forgotten; and nobody else")
        attempts = [len(list((run / "attempts").glob("[0-9]*"))) for run in self.sweep.folder.glob("runs/*")]
        self.assertGreater(sum(attempts), RUNS + 3, "disturbed runs have several attempts")

    def check_report(self):
        """The follow-up waits for the last worker, and comes to its end alone."""
        wait_until(lambda: (self.sweep.folder / "report.html").exists() and not self.cluster.run("squeue", "-h"),
                   "the report", 240)
        self.assertEqual(self.sweep.status()["counts"]["done"], RUNS)
        self.assertIn("nothing is left to do", self.sweep.call("submit").stdout)


if __name__ == "__main__":
    why = slurm.missing()
    if why:
        print(f"SKIPPED: no SLURM to test against: {why}")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
