"""Tests of scripts/compare_pytorch.py, with a PyTorch that is not there and a stand-in for llm.c: both are compared by
hand."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "compare_pytorch.py"

# Reads the files as llm.c does, checks their sizes, and prints lines of its form.
STAND_IN = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "llmc/fail.h"

static long bytes_after_header(const char *name, int header[256]) {
    FILE *file = fopen(name, "rb");
    if (!file || fread(header, sizeof(int), 256, file) != 256) fail(name);
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file) - 1024;
    fclose(file);
    return bytes;
}

int main() {
    int model[256], tokens[256];
    long floats = bytes_after_header("gpt2_124M.bin", model) / 4;
    if (model[0] != 20240326 || model[1] != 3) fail("Bad magic or version of the model");
    long T0 = model[2], V = model[3], L = model[4], C = model[6], Vp = model[7];
    if (Vp < V || Vp % 128 || C % model[5]) fail("Bad config");
    if (floats != Vp * C + T0 * C + L * (12 * C * C + 13 * C) + 2 * C) fail("Bad size of the model");
    int B = 4; // batch
    int T = 64; // context
    const char *names[] = {"dev/data/tinyshakespeare/tiny_shakespeare_train.bin",
                           "dev/data/tinyshakespeare/tiny_shakespeare_val.bin"};
    for (int i = 0; i < 2; i++) {
        long bytes = bytes_after_header(names[i], tokens);
        if (tokens[0] != 20240520 || tokens[1] != 1 || bytes != 2L * tokens[2] || tokens[2] < B * T + 1) fail(names[i]);
    }
    if (T != T0) fail("Bad context");
    for (int step = 0; step <= 40; step++)
        printf("step %d: train loss %f (took %f ms)\n", step, 5.5,
               step ? B * T / 2.0 : 1e6); // 2000 tokens a second
    return 0;
}
"""
FAIL = '#define fail(why) do { printf("%s\\n", (const char *)(why)); exit(1); } while (0)\n'
# Says that it makes 8000 tokens a second, on any shape.
PROGRAM = """#!/bin/sh
echo '{"measured": [{"lanes": 1, "steps": [{"tokens_per_s": 8000, "median_tokens_per_s": 6000}]}]}'
"""


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

    def checkout(self, source):
        """A folder like a checkout of llm.c, with a program that stands for minichilla beside it."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        checkout = pathlib.Path(folder.name) / "llm.c"
        (checkout / "llmc").mkdir(parents=True)
        (checkout / "train_gpt2.c").write_text(source)
        (checkout / "llmc" / "fail.h").write_text(FAIL)
        program = checkout.parent / "minichilla"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        return checkout, program

    def with_llmc(self, source, *arguments):
        checkout, program = self.checkout(source)
        before = sorted(checkout.rglob("*"))
        done = self.run_script("--program", program, "--llmc", checkout, "--precisions", "none", "--threads", "1",
                               "--rounds", "2", "--seconds", "0.001", *arguments)
        self.assertEqual(sorted(checkout.rglob("*")), before)
        return done, checkout

    def test_llmc_is_measured_in_turns_with_ours(self):
        with tempfile.NamedTemporaryFile() as file:
            done, _ = self.with_llmc(STAND_IN, "--json", file.name)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            comparison = json.loads(file.read())
        self.assertIsNone(comparison["torch"])
        rows = comparison["rows"]
        self.assertEqual([(row["shape"], row["trainer"]) for row in rows],
                         [(shape, trainer) for shape in "SML" for trainer in ("minichilla fp32", "llm.c fp32")])
        for row in rows[1::2]:
            self.assertAlmostEqual(row["tokens_per_s"], 2000, places=1)
            self.assertAlmostEqual(row["ratio"], 4, places=3)
            self.assertAlmostEqual(row["median_ratio"], 3, places=3)
        self.assertRegex(done.stdout, r"S +1  llm\.c fp32 +2000 +2000 +4\.00x +3\.00x\n")

    def llmc_refused(self, words, source):
        done, checkout = self.with_llmc(source)
        self.assertEqual(done.returncode, 2, done)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(words.replace("DIR", str(checkout)), done.stderr)

    def test_what_is_no_checkout_of_llmc_is_refused(self):
        self.refused("--llmc: found no train_gpt2.c in /nowhere, expected a checkout of llm.c", "--llmc", "/nowhere")
        self.llmc_refused("compare_pytorch.py: --llmc: DIR/train_gpt2.c: found 'int B = 4;' 0 times, expected it once, "
                          "in main()",
                          STAND_IN.replace("int B = 4;", "int B = 8;"))
        self.llmc_refused("DIR/train_gpt2.c does not compile: train_gpt2.c:", STAND_IN.replace("return 0;", "return none;"))
        self.llmc_refused("found status 1 and 0 steps (last line: 'Bad magic or version of the model')",
                          STAND_IN.replace("model[1] != 3", "model[1] != 4"))
        self.llmc_refused("found status 0 and 0 steps (last line: 'trained'), expected 5 lines "
                          "'step N: train loss X (took Y ms)'",
                          STAND_IN.replace('"step %d: train loss %f (took %f ms)\\n"', '"trained\\n"'))

    def test_help_has_an_example(self):
        done = self.run_script("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("usage: scripts/compare_pytorch.py [--shapes S,M,L]", done.stdout)


if __name__ == "__main__":
    unittest.main()
