"""What a run takes of memory at its peak is what --dry-run says, also when it goes on from a checkpoint."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ["MINICHILLA_BINARY"]
CONFIG = """
model: {n_layers: 4, d_model: 256, n_heads: 4, context_length: 64}
data: {corpus: corpus}
train: {tokens: 2048, batch_tokens: 256, micro_batch: 2, gradient_slots: 2, evaluate: {tokens: 1024},
        checkpoint: {every: 4 steps}, optimizer: {learning_rate: 0.001}}
"""


class PeakMemory(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "text.txt").write_text("\n\n".join(f"document {i} of some words" for i in range(2000)))
        (self.folder / "config.yaml").write_text(CONFIG)
        subprocess.run([PROGRAM, "data", "prepare", "text.txt", "--output", "corpus"], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def train(self, *options):
        return [PROGRAM, "train", "config.yaml", "--output", "run", "--device", "cpu", "--threads", "1", *options]

    def peak(self):
        """Bytes."""
        process = subprocess.Popen(self.train("--quiet"), cwd=self.folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        return usage.ru_maxrss * 1024

    def test_is_within_a_tenth_of_the_plan(self):
        dry = subprocess.run(self.train("--dry-run", "--json", "-"), cwd=self.folder, check=True, capture_output=True)
        planned = json.loads(dry.stdout)["memory_bytes"]["total"]
        self.assertGreater(planned, 60e6)
        for beginning in ("anew", "from a checkpoint"):
            peak = self.peak()
            print(f"{beginning}: planned {planned / 2**20:.1f} MiB, peak {peak / 2**20:.1f} MiB")
            self.assertLessEqual(peak, 1.1 * planned, beginning)
            self.assertLessEqual(planned, 1.1 * peak, beginning)
            for name in ("result.json", "attempts/1/outcome.json", "checkpoints/8/complete"):
                (self.folder / "run" / name).unlink(missing_ok=True)  # as if killed in its last checkpoint


if __name__ == "__main__":
    if os.environ.get("MINICHILLA_SANITIZE"):
        print("SKIPPED: sanitizers take memory of their own")
        sys.exit(77)
    unittest.main()
