"""The main job on real text in a reduced size: fetch, prepare, plan, train, fit, predict, report.

Needs the program's path in MINICHILLA_BINARY, a folder to work in as MINICHILLA_WORK, and Debian's package archive
(scripts/fetch_text.py): without it the test is skipped, with CI=true that is an error. The sweep is
configs/quickstart.yaml with smaller budgets.
"""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ["MINICHILLA_BINARY"]
WORK = pathlib.Path(os.environ["MINICHILLA_WORK"])
BUDGETS = [1e10, 2.5e10, 6e10]


def minichilla(*arguments, status=0):
    """Runs the program and returns its standard output; fails the test on another exit status."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise AssertionError(f"{arguments}: exit status {done.returncode}, expected {status}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class MainJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The fetched text is kept between runs (the script verifies it); all else starts fresh.
        cls.sweep, cls.corpus = WORK / "sweep", WORK / "corpus"
        for folder in (cls.sweep, cls.corpus):
            shutil.rmtree(folder, ignore_errors=True)
        fetched = subprocess.run([sys.executable, SOURCE / "scripts/fetch_text.py", WORK / "text"], check=False)
        if fetched.returncode != 0:
            if os.environ.get("CI") == "true":
                raise AssertionError("scripts/fetch_text.py failed")
            raise unittest.SkipTest("no text: is Debian's package archive out of reach?")
        minichilla("data", "prepare", WORK / "text", "--output", cls.corpus)
        minichilla("sweep", "plan", SOURCE / "configs/quickstart.yaml", "--output", cls.sweep,
                   "--set", f"data.corpus={cls.corpus}", "--set", f"sweep.budgets={BUDGETS}",
                   "--set", "sweep.around={params: '8e3*(C/1e10)^0.4', count: 5, span: 6}")
        minichilla("sweep", "run", cls.sweep)
        minichilla("fit", cls.sweep)
        cls.fit = json.loads((cls.sweep / "fit.json").read_text())
        cls.results = [json.loads(path.read_text()) for path in sorted(cls.sweep.glob("runs/*/result.json"))]

    def test_every_run_is_done_and_beats_the_unigram_entropy(self):
        self.assertEqual(len(self.results), 5 * len(BUDGETS))
        inspected = json.loads(minichilla("data", "inspect", self.corpus, "--json", "-"))
        unigram = inspected["val_entropy"]["unigram_nats_per_token"]
        self.assertTrue(2.5 < unigram < 3.5, unigram)
        for result in self.results:
            self.assertEqual(result["status"], "done", result)
            self.assertLess(result["val_loss"], unigram, result["run_id"])

    def test_budgets_are_spent_and_larger_ones_reach_lower_losses(self):
        best = []
        for budget in BUDGETS:
            group = [r for r in self.results if abs(math.log(r["flops"] / budget)) < 0.2]
            self.assertEqual(len(group), 5, budget)
            best.append(min(r["val_loss"] for r in group))
        self.assertEqual(best, sorted(best, reverse=True))

    def test_running_again_trains_nothing(self):
        before = {p: p.stat().st_mtime_ns for p in self.sweep.glob("runs/*/attempts/*")}
        minichilla("sweep", "run", self.sweep)
        self.assertEqual(before, {p: p.stat().st_mtime_ns for p in self.sweep.glob("runs/*/attempts/*")})

    def test_fit_has_the_three_approaches(self):
        self.assertEqual(self.fit["runs"], 5 * len(BUDGETS))
        self.assertLessEqual({"envelope", "isoflop", "parametric"}, set(self.fit["approaches"]))
        parametric = self.fit["approaches"]["parametric"]
        self.assertAlmostEqual(parametric["a"]["value"] + parametric["b"]["value"], 1, places=6)
        self.assertEqual(len(self.fit["approaches"]["isoflop"]["profiles"]), len(BUDGETS))

    def test_predict_and_report(self):
        self.assertIn("1T", minichilla("predict", self.sweep / "fit.json", "--flops", "1e12"))
        page = self.sweep / "report.html"
        minichilla("report", self.sweep, "--output", page)
        text = page.read_text()
        self.assertEqual(text.count("<svg"), 9)
        for result in self.results:
            self.assertIn(result["run_id"], text)
        self.assertEqual(len(list((self.sweep / "figures").glob("*.png"))), 9)


if __name__ == "__main__":
    unittest.main(verbosity=2)
