"""Every row of docs/errors.md is brought about: exit status and message must be what the page says.

Needs the program's path in MINICHILLA_BINARY.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ["MINICHILLA_BINARY"]
ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<status>\d+) \| `(?P<message>.+)` \|$")

RUN = """model: {n_layers: 1, d_model: 16, n_heads: 2, context_length: 16}
data: {corpus: corpus}
train: {tokens: 2560, batch_tokens: 128, micro_batch: 4, checkpoint: {every: 5 steps}}
"""
SWEEP = """model: {context_length: 16}
data: {corpus: corpus}
train: {micro_batch: 4}
sweep: {kind: isoflop, budgets: [1e6], sizes: ['ladder[0:3]'], rules: {learning_rate: '0.01', batch_tokens: '64'}}
"""


def minichilla(folder, *arguments, environment=None):
    return subprocess.run([PROGRAM, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, **(environment or {})})


def documented():
    """What is wrong → (exit status, pattern of the message)."""
    rows = {}
    for line in (SOURCE / "docs" / "errors.md").read_text().splitlines():
        if found := ROW.match(line):
            pattern = ".*".join(map(re.escape, found["message"].split("…")))
            rows[found["what"]] = (int(found["status"]), re.compile("minichilla: " + pattern))
    return rows


CASES = {}


def case(what):
    """Registers the function that brings `what` about in a folder and returns the program's run."""
    def register(function):
        CASES[what] = function
        return function
    return register


def config_case(what, old, new):
    @case(what)
    def train(folder):
        assert old in RUN, old
        (folder / "c.yaml").write_text(RUN.replace(old, new))
        return minichilla(folder, "train", "c.yaml", "--output", "run")


def sweep_case(what, old, new):
    @case(what)
    def plan(folder):
        assert old in SWEEP, old
        (folder / "s.yaml").write_text(SWEEP.replace(old, new))
        return minichilla(folder, "sweep", "plan", "s.yaml", "--output", "sweep", "--no-calibration")


def command_case(what, *arguments):
    case(what)(lambda folder: minichilla(folder, *arguments))


def damage_case(what, corpus, damage):
    @case(what)
    def train(folder):
        shutil.copytree(folder / corpus, folder / "d")
        damage(folder / "d")
        return minichilla(folder, "train", "run.yaml", "--output", "run", "--set", "data.corpus=d")


def table_case(what, text):
    @case(what)
    def fit(folder):
        (folder / "t.csv").write_text(text)
        return minichilla(folder, "fit", "t.csv")


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


command_case("no such file", "train", "none.yaml", "--output", "run")
command_case("a folder for a config", "train", ".", "--output", "run")
config_case("not YAML", RUN, RUN + "  - }{")
config_case("no map", RUN, "hello")
config_case("unknown key", "batch_tokens", "batch_tokns")
config_case("unknown section", "train:", "trian:")
config_case("key given twice", "n_layers: 1", "n_layers: 1, n_layers: 2")
config_case("text for a number", "2560", "many")
config_case("wrong unit", "2560", "2560q")
config_case("list for a number", "2560", "[1, 2]")
config_case("fraction for a whole number", "n_layers: 1", "n_layers: 1.5")
config_case("wrong interval", "5 steps", "5 stps")
config_case("value out of range", "tokens: 2560", "tokens: 2560, optimizer: {beta1: 1.5}")
config_case("unknown choice", "tokens: 2560", "tokens: 2560, precision: fp8")
config_case("unknown recomputation", "tokens: 2560", "tokens: 2560, recompute: [norm]")
config_case("impossible heads", "n_heads: 2", "n_heads: 3")
config_case("batch that micro-batches do not divide", "batch_tokens: 128", "batch_tokens: 100")
config_case("more memory than there is", "n_layers: 1, d_model: 16", "n_layers: 100, d_model: 16384")
config_case("fewer tokens than a step", "tokens: 2560", "tokens: 100")
config_case("a shape that does not exist", "n_layers: 1, d_model: 16, n_heads: 2", "size: gpt3-126M")
config_case("no corpus named", "data: {corpus: corpus}\n", "")
config_case("a sweep for a run", RUN, RUN + "sweep: {kind: isoflop}\n")
command_case("unknown key in --set", "train", "run.yaml", "--output", "run", "--set", "train.sed=3")
command_case("--set without a value", "train", "run.yaml", "--output", "run", "--set", "train.seed")

command_case("unknown option", "train", "run.yaml", "--outptu", "run")
command_case("unknown subcommand", "trian", "run.yaml")
command_case("no subcommand")
command_case("a file for the output folder", "train", "run.yaml", "--output", "text.txt")
command_case("no output", "train", "run.yaml")
command_case("a device that there is not", "train", "run.yaml", "--output", "run", "--device", "gpu")
command_case("products that there are not", "train", "run.yaml", "--output", "run", "--products", "mine")
command_case("products of a GPU on the CPU", "train", "run.yaml", "--output", "run", "--device", "cpu", "--products", "own")
case("no GPU")(lambda folder: minichilla(folder, "train", "run.yaml", "--output", "run", "--device", "cuda",
                                         environment={"CUDA_VISIBLE_DEVICES": "-1"}))
command_case("a precision that only GPUs have", "train", "run.yaml", "--output", "run", "--device", "cpu", "--set",
             "train.precision=tf32")
command_case("a part of the benchmark that there is not", "bench", "--only", "peek")
command_case("a shape of the benchmark that there is not", "bench", "--shapes", "S,XL")
command_case("a benchmark in a precision that only GPUs have", "bench", "--device", "cpu", "--precision", "tf32")

command_case("no such text", "data", "prepare", "none.txt", "--output", "d")
command_case("text for JSONL", "data", "prepare", "text.txt", "--documents", "jsonl", "--output", "d")
command_case("a vocabulary that the text cannot fill", "data", "prepare", "text.txt", "--tokenizer", "sentencepiece",
             "--vocab", "100000", "--output", "d")
command_case("another corpus in the folder", "data", "prepare", "run.yaml", "--output", "corpus")
command_case("no corpus", "train", "run.yaml", "--output", "run", "--set", "data.corpus=nowhere")


@case("text that is no UTF-8")
def invalid_utf8(folder):
    (folder / "bad.txt").write_bytes(b"abc\xff\xfe")
    return minichilla(folder, "data", "prepare", "bad.txt", "--output", "d")


def forge_ids(shard):
    """Large ids in all of the shard but its header."""
    return shard[:128] + b"\xff\x7f" * ((len(shard) - 128) // 2)


damage_case("manifest cut", "corpus", lambda d: edit(d / "manifest.json", lambda text: text[:200]))
damage_case("manifest of something else", "corpus", lambda d: (d / "manifest.json").write_text("[1, 2]"))
damage_case("manifest edited", "corpus",
            lambda d: edit(d / "manifest.json", lambda text: text.replace(b'"train-000.bin"', b'"../x"')))
damage_case("shard missing", "corpus", lambda d: (d / "val.bin").unlink())
damage_case("shard cut", "corpus", lambda d: edit(d / "val.bin", lambda shard: shard[:-10]))
damage_case("shard of something else", "corpus", lambda d: (d / "val.bin").write_bytes(b"x" * 1000))
damage_case("shard of another corpus", "corpus", lambda d: shutil.copy(d / "val.bin", d / "train-000.bin"))
damage_case("ids outside the vocabulary", "corpus", lambda d: edit(d / "train-000.bin", forge_ids))
damage_case("tokenizer missing", "subwords", lambda d: (d / "tokenizer.model").unlink())
damage_case("tokenizer damaged or foreign", "subwords", lambda d: (d / "tokenizer.model").write_bytes(b"abc"))
config_case("corpus smaller than a batch", "tokens: 2560, batch_tokens: 128, micro_batch: 4",
            "tokens: 1G, batch_tokens: 1048576, micro_batch: 64")
config_case("validation text shorter than a context", RUN, RUN.replace("context_length: 16", "context_length: 32768")
            .replace("tokens: 2560, batch_tokens: 128, micro_batch: 4", "tokens: 1M, batch_tokens: 32768, micro_batch: 1"))


@case("a flipped bit, with --verify")
def flipped_bit(folder):
    shutil.copytree(folder / "corpus", folder / "d")
    edit(folder / "d" / "train-000.bin", lambda shard: shard[:500] + bytes([shard[500] ^ 1]) + shard[501:])
    return minichilla(folder, "data", "inspect", "d", "--verify")


def resume_case(what, *assignments):
    sets = [word for assignment in assignments for word in ("--set", assignment)]
    command_case(what, "train", "run.yaml", "--output", "run", "--resume-from", "done/checkpoints/20", *sets)


command_case("another config for the run folder", "train", "run.yaml", "--output", "done", "--set", "train.seed=7")
resume_case("a checkpoint of another config", "train.seed=7")
resume_case("a checkpoint of another corpus", "data.corpus=corpus2")
resume_case("a checkpoint of another tokenizer", "data.corpus=subwords")
command_case("no such checkpoint", "train", "run.yaml", "--output", "run", "--resume-from", "nowhere")
command_case("an older checkpoint of the run itself", "train", "run.yaml", "--output", "done", "--resume-from",
             "done/checkpoints/20")
command_case("the doctor is shown no run", "doctor", "corpus")


@case("a checkpoint that is broken, asked for")
def broken_checkpoint(folder):
    shutil.copytree(folder / "done", folder / "broken")
    edit(folder / "broken" / "checkpoints" / "20" / "model.safetensors", lambda content: content + b"x")
    return minichilla(folder, "train", "run.yaml", "--output", "run", "--resume-from", "broken/checkpoints/20")


def stopped_run(folder):
    """A run that was told to stop after its checkpoints 5 and 10: "done", with what came after step 10 undone."""
    shutil.copytree(folder / "done", folder / "stopped")
    (folder / "stopped" / "result.json").unlink()
    (folder / "stopped" / "attempts" / "1" / "outcome.json").write_text('{"status": "interrupted", "reason": ""}')
    shutil.copytree(folder / "done" / "checkpoints" / "20", folder / "stopped" / "checkpoints" / "10")
    shutil.rmtree(folder / "stopped" / "checkpoints" / "20")
    return folder / "stopped"


@case("the newest checkpoint is broken")
def newest_checkpoint_broken(folder):
    edit(stopped_run(folder) / "checkpoints" / "10" / "model.safetensors", lambda content: content + b"x")
    return minichilla(folder, "train", "run.yaml", "--output", "stopped", "--quiet")


@case("a marker without its files")
def marker_alone(folder):
    (stopped_run(folder) / "checkpoints" / "10" / "model.safetensors").unlink()
    return minichilla(folder, "train", "run.yaml", "--output", "stopped", "--quiet")


@case("a result of something else")
def foreign_result(folder):
    (stopped_run(folder) / "result.json").write_text("[]")
    return minichilla(folder, "train", "run.yaml", "--output", "stopped")


@case("a process trains this run already")
def busy(folder):
    long = ["--set", "train.tokens=100M"]
    owner = subprocess.Popen([PROGRAM, "train", "run.yaml", "--output", "busy", "--quiet", *long], cwd=folder)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "busy" / "attempts" / "1" / "heartbeat").exists():
            assert time.monotonic() < deadline and owner.poll() is None
            time.sleep(0.01)
        return minichilla(folder, "train", "run.yaml", "--output", "busy", *long)
    finally:
        owner.kill()
        owner.wait()


sweep_case("a budget too small for one step", SWEEP, SWEEP)
sweep_case("unknown kind", "isoflop", "isoflp")
sweep_case("unknown size", "ladder[0:3]", "lader[0:3]")
sweep_case("a rule with an unknown name", "'0.01'", "'0.01*(16/d_modl)'")
sweep_case("a budget below zero", "1e6", "-1e6")


@case("nothing to verify")
def nothing_to_verify(folder):
    (folder / "s.yaml").write_text(SWEEP.replace("[1e6]", "[1e9]"))
    planned = minichilla(folder, "sweep", "plan", "s.yaml", "--output", "sweep", "--no-calibration")
    assert planned.returncode == 0, planned
    return minichilla(folder, "sweep", "verify", "sweep")


table_case("a table without a loss", "params,tokens,los\n1,2,3\n")
table_case("text in a table", "params,tokens,loss\n1,2,x\n")
table_case("a loss below zero", "params,tokens,loss\n1,2,-1\n")
table_case("an empty table", "")
GRID = "N,D,loss,config\n" + "".join(f"{n},{d},{3 + 9 / n + 9 / d},a\n" for n in (1, 2, 4) for d in (1, 2, 4))


def fit_case(what, *arguments):
    @case(what)
    def fit(folder):
        (folder / "t.csv").write_text(GRID)
        return minichilla(folder, "fit", "t.csv", *arguments)


fit_case("a column that there is not", "--where", "confg=a")
fit_case("a value that no row has", "--where", "config=b")
fit_case("a condition without a value", "--where", "config")
fit_case("a column for something unknown", "--columns", "parms=N")
fit_case("all runs dropped", "--drop-highest-loss", "9")
fit_case("an unknown base law", "--base-law", "hofmann")
fit_case("a count of FLOPs that the runs do not tell", "--flops", "exact")
fit_case("one input to compare", "--compare")
fit_case("two inputs for one fit", "t.csv")
CURVES = "run,N,D,loss\n" + "".join(f"{run},9,{d},{3 + 9 / d}\n" for run in "ab" for d in (1, 2, 4, 8))


def curve_case(what, *arguments):
    @case(what)
    def curve(folder):
        (folder / "curves.csv").write_text(CURVES)
        return minichilla(folder, "predict", "--curve", "curves.csv", *arguments)


curve_case("several curves", "--share", "0.5")
curve_case("a curve of no known length", "--run", "a")
curve_case("a curve and a budget", "--flops", "1e12")
curve_case("too few finished runs", "--run", "a", "--share", "0.5")
command_case("no fit", "predict", "none.json", "--flops", "1e12")
command_case("neither a fit nor a law", "predict", "--flops", "1e12")
command_case("a fit and a law", "predict", "f.json", "--law", "hoffmann", "--flops", "1e12")
command_case("a law with an unknown name", "predict", "--law", "hofmann", "--flops", "1e12")
command_case("a law with an unknown constant", "predict", "--law", "E=2,A=9,alhpa=1,B=9,beta=1", "--flops", "1e12")
command_case("a law that lacks a constant", "predict", "--law", "E=2,A=9,alpha=1,B=9", "--flops", "1e12")
command_case("a constant given twice", "predict", "--law", "E=2,A=9,E=2", "--flops", "1e12")
command_case("text for a constant", "predict", "--law", "E=2,A=9,alpha=third,B=9,beta=1", "--flops", "1e12")
command_case("a loss asked for without tokens", "predict", "--law", "hoffmann", "--loss-at", "7G")
command_case("an allocation of no budget", "predict", "--law", "hoffmann", "--allocation", "7G")
command_case("prices without a GPU", "predict", "--law", "hoffmann", "--flops", "1e21", "--price-per-hour", "2")
command_case("no such curve", "predict", "--curve", "none.csv")
command_case("a run outside a sweep", "predict", "--curve", "done")
command_case("inference without an optimum", "predict", "--law", "hoffmann", "--loss-at", "7G", "1T", "--inference-tokens", "1T")


@case("a fit of something else")
def foreign_fit(folder):
    (folder / "f.json").write_text("{}")
    return minichilla(folder, "predict", "f.json", "--flops", "1e12")


def submit_case(what, *options, files=None, path=None):
    """Of a planned sweep, with `files` beside it; `path` is the PATH."""
    @case(what)
    def submit(folder):
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin" if path is None else path}
        return minichilla(folder, "sweep", "submit", "planned", *options, environment=environment)


FAKE_SLURM = {"bin/squeue": "#!/bin/sh\n", "bin/scontrol": "#!/bin/sh\n",
              "bin/sbatch": "#!/bin/sh\necho 'sbatch: error: invalid partition specified: nowhere' >&2\nexit 1\n"}
submit_case("no SLURM on this machine", path="/nowhere")
submit_case("sbatch refuses", "--partition", "nowhere", files=FAKE_SLURM)
submit_case("a grace as long as the time limit", "--time", "1")
submit_case("a placeholder that there is not", "--dry-run", "--template", "mine.sbatch",
            files={"mine.sbatch": "#!/bin/sh\n{{nam}}\n"})
submit_case("an unknown key in submit.yaml", files={"planned/slurm/submit.yaml": "partitoin: gpu\n"})
submit_case("jobs.jsonl of something else", files={**FAKE_SLURM, "planned/slurm/name": "x\n",
                                                   "planned/slurm/jobs.jsonl": "hello\n"})
command_case("a speed that is none", "sweep", "plan", "s.yaml", "--output", "sweep", "--speed", "fast")


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.prepared = pathlib.Path(cls.temporary.name) / "prepared"
        cls.prepared.mkdir()
        text = "".join(f"Line {i % 97} of a text, number {i * i % 1013}, that goes on.\n" + "\n" * (i % 50 == 0)
                       for i in range(4000))
        (cls.prepared / "text.txt").write_text(text)
        (cls.prepared / "other.txt").write_text(text.upper())
        (cls.prepared / "run.yaml").write_text(RUN)
        (cls.prepared / "planned.yaml").write_text(SWEEP.replace("1e6", "1e9"))
        prepare = ["data", "prepare", "--val", "0.1"]
        subwords = ["--tokenizer", "sentencepiece", "--vocab", "300"]
        for arguments in ([*prepare, "text.txt", "--output", "corpus"], [*prepare, "other.txt", "--output", "corpus2"],
                          [*prepare, "text.txt", "--output", "subwords", *subwords],
                          ["train", "run.yaml", "--output", "done"],
                          ["sweep", "plan", "planned.yaml", "--output", "planned", "--no-calibration"]):
            done = minichilla(cls.prepared, *arguments)
            assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_the_page_and_the_cases_have_the_same_rows(self):
        self.assertEqual(sorted(documented()), sorted(CASES))

    def test_every_row_happens_as_the_page_says(self):
        for what, (status, message) in documented().items():
            with self.subTest(what), tempfile.TemporaryDirectory() as temporary:
                folder = pathlib.Path(temporary) / "work"
                shutil.copytree(self.prepared, folder)
                done = CASES[what](folder)
                self.assertEqual(done.returncode, status, done.stderr)
                said = [line for line in done.stderr.splitlines() if line.startswith("minichilla: ")]
                self.assertEqual(len(said), 1, done.stderr)
                self.assertRegex(said[0], "^" + message.pattern + "$")


if __name__ == "__main__":
    unittest.main()
