"""Running the parts of an acceptance: each has a limit, an outcome, its seconds, its figures and a log."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import time


class Skipped(Exception):
    """The part cannot run here; the text says why."""


class Failed(Exception):
    def __init__(self, reason, figures=None):
        super().__init__(reason)
        self.figures = figures or {}


@dataclasses.dataclass
class Part:
    name: str
    status: str = "skipped"
    reason: str = ""
    seconds: float = 0.0
    figures: dict = dataclasses.field(default_factory=dict)


class Clock:
    def __init__(self, seconds):
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()


def last_words(log, lines=3):
    """The end of what a command said, in one line."""
    said = [line.strip() for line in log.read_text(errors="replace").splitlines()[1:] if line.strip()]
    return " | ".join(said[-lines:])[-400:] or "it said nothing"


def stop(process):
    """Ends a process and its children: asks first, so that a run writes its checkpoint."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Runner:
    """Runs parts one after the other. `on_change(parts)` is called after each of them."""

    def __init__(self, folder: pathlib.Path, limits, total_seconds, on_change):
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.limits, self.total, self.on_change = limits, Clock(total_seconds), on_change
        self.parts: list[Part] = []
        self.clock = self.total

    def run(self, name, work, needs=()):
        """`work()` gives the part's figures. It is skipped when a part that it needs is not ok."""
        part = Part(name)
        self.parts.append(part)
        self.clock = Clock(min(self.limits[name.split(" ")[0]], self.total.left()))
        begin = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            missing = [needed.name for needed in needs if needed.status != "ok"]
            if missing:
                raise Skipped(f"it needs {' and '.join(missing)}, which did not succeed")
            if self.clock.left() <= 1:
                raise Failed(f"no time is left of the {self.total.seconds:.0f} s of all parts")
            part.figures = work()
            part.status = "ok"
        except Skipped as skipped:
            part.reason = str(skipped)
        except Failed as failed:
            part.status, part.reason, part.figures = "failed", str(failed), failed.figures
        except Exception as error:  # what one part did not foresee must not end the others
            part.status, part.reason = "failed", f"{type(error).__name__}: {error}"
        part.seconds = round(time.monotonic() - begin, 2)
        print(f"   {part.status}{': ' + part.reason if part.reason else ''} ({part.seconds:.1f} s)", flush=True)
        self.on_change(self.parts)
        return part

    def call(self, log_name, arguments, environment=None):
        """Runs a command into logs/LOG_NAME.log within what is left of the part: (exit status, log)."""
        log = self.logs / f"{log_name}.log"
        with log.open("w") as output:
            output.write("$ " + " ".join(map(str, arguments)) + "\n")
            output.flush()
            process = subprocess.Popen([str(argument) for argument in arguments], stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True,
                                       env={**os.environ, **(environment or {})})
            try:
                return process.wait(max(0.1, self.clock.left())), log
            except subprocess.TimeoutExpired:
                stop(process)
                raise Failed(f"stopped at its time limit of {self.clock.seconds:.0f} s: {last_words(log)}")
            except BaseException:
                stop(process)
                raise

    def must(self, log_name, arguments, environment=None):
        """As call, and the command must succeed."""
        status, log = self.call(log_name, arguments, environment)
        if status != 0:
            raise Failed(f"{pathlib.Path(arguments[0]).name} ended with status {status}: {last_words(log)}")
        return log
