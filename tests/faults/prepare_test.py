"""minichilla data prepare under faults: a whole corpus or none, and the same bytes when it is run again."""

import shutil
import unittest

import program
from program import run


class PrepareUnderFaults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = program.temporary_folder()
        cls.addClassCleanup(program.remove, cls.folder)
        texts = cls.folder / "texts"
        texts.mkdir()
        for name in ("a.txt", "b.txt"):
            (texts / name).write_text("".join(f"{name}, line {i}.\n\n" for i in range(1500)))
        cls.old = cls.folder / "old"
        cls.prepared(["data", "prepare", texts / "a.txt", "--output", cls.old])
        cls.new = cls.folder / "new"
        cls.prepared(cls.prepare(cls.new))

    @classmethod
    def prepared(cls, arguments):
        ended = run(arguments)
        assert ended.status == 0, ended

    @classmethod
    def prepare(cls, corpus, *options):
        return ["data", "prepare", cls.folder / "texts", "--output", corpus, "--shard-tokens", "20000",
                "--test", "0.1", *options]

    def opens(self, corpus):
        """Whether there is a corpus; it is not allowed to be half of one."""
        inspected = run(["data", "inspect", corpus, "--verify"])
        if (corpus / "manifest.json").exists() != (inspected.status == 0):
            raise AssertionError(f"half a corpus: {inspected}")
        return inspected.status == 0

    def check(self, faults_of, before=None, killed=False):
        """`before`: a corpus that lies there already and is to be replaced."""
        options = ["--force"] if before else []

        def laid(folder):
            if before:
                shutil.copytree(before, folder / "corpus")
            else:
                folder.mkdir(exist_ok=True)
            return self.prepare(folder / "corpus", *options)

        expected = program.file_sums(self.new)
        earlier = before and program.file_sums(before)
        counted = self.folder / f"counted-{self.id().rsplit('.', 1)[-1]}"
        calls = program.calls_of(laid(counted), self.folder)

        def one(fault, folder):
            command = laid(folder)
            ended = run(command, self.folder, fault)
            complaint = program.complaint_about(ended, self.folder, killed)
            there = self.opens(folder / "corpus")
            sums = program.file_sums(folder / "corpus") if there else None
            if ended.status == 0 and sums != expected:
                complaint = complaint or f"it said that all is well, but there is {sums}"
            if there and sums not in (expected, earlier) and not killed:
                complaint = complaint or f"neither the old corpus nor the new one: {sums}"
            again = run(command)
            found = program.file_sums(folder / "corpus")
            if again.status != 0 or found != expected:
                complaint = complaint or f"the same command again: {again}, {found}"
            return f"{complaint}\n  {ended}" if complaint else None

        program.check_all(self, self.folder, calls, faults_of(calls), one)

    def test_any_call_fails(self):
        self.check(program.single_faults)

    def test_killed_at_any_call(self):
        self.check(program.kills, killed=True)

    def test_disk_full_for_a_while(self):
        self.check(lambda calls: program.lasting_faults(calls, "ENOSPC", ["space"]))

    def test_any_call_fails_while_another_corpus_is_replaced(self):
        self.check(program.single_faults, before=self.old)

    def test_killed_at_any_call_while_another_corpus_is_replaced(self):
        self.check(program.kills, before=self.old, killed=True)


if __name__ == "__main__":
    unittest.main()
