"""Tests of scripts/compare_pytorch.py, with a PyTorch that is not there: it is compared by hand."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "compare_pytorch.py"


class ComparePytorch(unittest.TestCase):
    def run_script(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "torch.py").write_text("raise ImportError('none here')\n")
            environment = dict(os.environ, PYTHONPATH=folder, PYTHONDONTWRITEBYTECODE="1")
            return subprocess.run([sys.executable, SCRIPT, "--program", "/bin/true", *arguments],
                                  capture_output=True, text=True, env=environment)

    def refused(self, words, *arguments):
        done = self.run_script(*arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, f"compare_pytorch.py: {words}\n")

    def test_without_pytorch_it_says_what_to_install(self):
        self.refused(f"{sys.executable} found no PyTorch (none here), expected Debian's python3-torch or another")

    def test_options_that_cannot_be_used_are_named(self):
        self.refused("--shapes: found 'XL', expected some of S,M,L", "--shapes", "S,XL")
        self.refused("--precisions: found 'fp8', expected some of fp32,bf16", "--precisions", "fp8")
        self.refused("--threads: found 0, expected at least 1", "--threads", "0")
        self.refused("--threads: found 'all', expected numbers such as 1,2", "--threads", "all")
        self.refused("--rounds: found 0, expected at least 1", "--rounds", "0")
        self.refused("--seconds: found nan, expected more than 0", "--seconds", "nan")
        self.refused("--program: found no program /nowhere, expected a built minichilla", "--program", "/nowhere")

    def test_help_has_an_example(self):
        done = self.run_script("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("usage: scripts/compare_pytorch.py [--shapes S,M,L]", done.stdout)


if __name__ == "__main__":
    unittest.main()
