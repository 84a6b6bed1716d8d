"""What a sweep's folder says about where its numbers came from: sources, build, machine, corpus, config.

Needs the program's path in MINICHILLA_BINARY, built of the sources as they are, and that of cmake in CMAKE.
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ["MINICHILLA_BINARY"]
SWEEP = """model: {context_length: 16}
data: {corpus: corpus}
train: {batch_tokens: 64, micro_batch: 4}
sweep: {kind: grid, tokens: [1280], sizes: [1x16]}
"""
HASHED = ["CMakeLists.txt", "minichilla.cpp", "kernels", "model", "trainer", "sweeps", "scripts/slurm"]


def source_hash(root):
    files = [file for name in HASHED for file in ([root / name] if (root / name).is_file() else (root / name).rglob("*"))]
    names = sorted(str(file.relative_to(root)) for file in files if file.is_file())
    sums = "".join(f"{hashlib.sha256((root / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    return hashlib.sha256(sums.encode()).hexdigest()


class Provenance(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def call(self, *arguments):
        return subprocess.run([PROGRAM, *arguments], cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def read(self, file):
        return json.loads(file.read_text())

    def test_version_and_folder_name_the_sources(self):
        version, source = re.fullmatch(r"(\d+\.\d+\.\d+) \(source ([0-9a-f]{64})\)\n", self.call("--version")).groups()
        self.assertEqual(source, source_hash(SOURCE), "the program is older than the sources, or hashes other files")
        (self.folder / "text.txt").write_text("".join(f"Line {i % 97} of a text.\n\n" for i in range(2000)))
        (self.folder / "sweep.yaml").write_text(SWEEP)
        self.call("data", "prepare", "text.txt", "--val", "0.1", "--split", "position", "--output", "corpus")
        self.call("sweep", "run", "sweep.yaml", "--output", "sweep", "--device", "cpu", "--no-calibration")
        run, = (self.folder / "sweep" / "runs").iterdir()
        planned, result = self.read(self.folder / "sweep" / "provenance.json"), self.read(run / "result.json")
        origin = self.read(run / "attempts" / "1" / "origin.json")
        for found in (planned, result, origin["environment"]):
            self.assertEqual(found["source"], source)
        self.assertEqual((planned["version"], result["version"]), (version, version))
        self.assertEqual(planned["corpus"], self.read(self.folder / "corpus" / "manifest.json"))
        self.assertEqual(result["numerics_id"], origin["numerics_id"])
        self.assertRegex(planned["program"], "compiler .*, build [0-9a-f]{64}$")
        for key in ("host", "system", "cpu"):
            self.assertTrue(planned[key], key)

    def hash_of(self, tree):
        note = self.folder / "note.cpp"
        subprocess.run([os.environ["CMAKE"], f"-DSOURCE_DIR={tree}", f"-DOUTPUT={note}", "-P",
                        SOURCE / "trainer" / "source_hash.cmake"], check=True)
        return re.search(r'\.ascii "([0-9a-f]{64})"', note.read_text()).group(1)

    def test_the_hash_is_of_names_and_contents_and_needs_no_git(self):
        tree = self.folder / "tree"
        for name in ("CMakeLists.txt", "minichilla.cpp", "kernels/cpu/a.cpp", "kernels/a b.h", "model/.hidden",
                     "trainer/x-y.cpp", "sweeps/Z.h", "scripts/slurm/worker.sbatch", "scripts/other.sh"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(name)
        before = self.hash_of(tree)
        self.assertEqual(before, source_hash(tree))
        (tree / "scripts/other.sh").write_text("no part of the program")
        self.assertEqual(self.hash_of(tree), before)
        (tree / "kernels/cpu/a.cpp").write_text("one byte more")
        changed = self.hash_of(tree)
        self.assertNotEqual(changed, before)
        (tree / "kernels/cpu/a.cpp").rename(tree / "kernels/cpu/b.cpp")
        self.assertNotIn(self.hash_of(tree), (before, changed))


if __name__ == "__main__":
    unittest.main()
