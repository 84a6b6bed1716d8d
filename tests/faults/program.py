"""What the fault tests share: the program with faults in its file calls, and what is expected of it afterwards.

Needs the program's path in MINICHILLA_BINARY and that of the library which makes the faults in MINICHILLA_FAULTS.
With MINICHILLA_LONG_FAULTS=1 every call gets every fault. MINICHILLA_FAULT_CASE="fail 17 EIO" runs that case alone,
says what came of it, and keeps its folder.
"""

import concurrent.futures
import errno
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import NamedTuple

PROGRAM = os.environ["MINICHILLA_BINARY"]
LIBRARY = os.environ["MINICHILLA_FAULTS"]
LONG = os.environ.get("MINICHILLA_LONG_FAULTS") == "1"
ONE_CASE = os.environ.get("MINICHILLA_FAULT_CASE")
KILLED = -9


class Call(NamedTuple):
    """A counted file call of an undisturbed program."""

    number: int
    kind: str  # look, change (of the disk) or space (a change that needs room)
    name: str
    path: str


class Fault(NamedTuple):
    action: str  # see file_faults.cpp
    first: int
    last: int  # 0: until the end
    error: str = ""
    kinds: str = "look"
    file: str = ""  # only calls on files of this name

    @property
    def name(self):
        lasting = " on" if self.last == 0 else ""
        return f"{self.action} {self.first}{lasting} {self.error}".strip()

    def environment(self):
        return {"FAULTS_ACTION": self.action, "FAULTS_FROM": str(self.first), "FAULTS_TO": str(self.last),
                "FAULTS_ERRNO": str(getattr(errno, self.error)) if self.error else "", "FAULTS_KINDS": self.kinds,
                "FAULTS_FILE": self.file}


class Ended(NamedTuple):
    status: int
    output: str
    errors: str


def temporary_folder():
    """In memory where there is such a file system: these tests sync thousands of files."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) and "TMPDIR" not in os.environ else None
    return pathlib.Path(tempfile.mkdtemp(prefix="minichilla-faults-", dir=memory))


def remove(folder):
    if not ONE_CASE:
        shutil.rmtree(folder, ignore_errors=True)


def start(arguments, folder=None, fault=None, listing=None, **options):
    """Starts the program; calls below `folder` are counted when it is given. `options` are those of Popen."""
    environment = dict(os.environ)
    if folder:
        # A program with AddressSanitizer insists on coming first, which a library that keeps no memory need not mind.
        environment |= {"LD_PRELOAD": LIBRARY, "ASAN_OPTIONS": "verify_asan_link_order=0",
                        "FAULTS_FOLDER": str(folder), "FAULTS_LIST": str(listing or "")}
        environment |= fault.environment() if fault else {}
    return subprocess.Popen([PROGRAM, *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def end_of(process):
    output, errors = process.communicate(timeout=120)
    return Ended(process.returncode, output, errors)


def is_stopped(process):
    """Waits until the process stops itself (action stop) or ends."""
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if state.si_code != os.CLD_STOPPED:
        return False
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    return True


def run(arguments, folder=None, fault=None, listing=None):
    return end_of(start(arguments, folder, fault, listing))


def calls_of(arguments, folder):
    """The counted calls of a program that nothing disturbs."""
    listing = pathlib.Path(str(folder) + ".calls")
    ended = run(arguments, folder, listing=listing)
    if ended.status != 0:
        raise AssertionError(f"{arguments}: undisturbed, but {ended}")
    lines = [line.split(" ", 3) for line in listing.read_text().splitlines()]
    listing.unlink()
    return [Call(int(number), kind, name, path) for number, kind, name, path in lines]


def file_sums(folder):
    """Every file below a folder with its SHA-256."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def complaint_about(ended, folder, killed=False):
    """What is wrong with how a disturbed program ended, or nothing. It may have come through."""
    if ended.status == 0 or (killed and ended.status == KILLED):
        return None
    if killed or ended.status != 74:
        return f"exit status {ended.status}, expected 74 (or 0)"
    *before, last = ended.errors.splitlines() or [""]
    if not last.startswith("minichilla: ") or str(folder) not in last or any("minichilla: " in line for line in before):
        return f"expected one line of stderr, its last, to say what failed at a path below {folder}"
    return None


def single_faults(calls):
    """One fault at a time for each call: those that tell most, or with LONG all of them."""
    faults = []
    for call in calls:
        changes = call.kind != "look"
        errors = ["EIO", *(["ENOSPC"] if changes or LONG else []), *(["EACCES", "EDQUOT"] if LONG else [])]
        faults += [Fault("fail", call.number, call.number, error) for error in errors]
        if call.name == "write":
            faults.append(Fault("cut", call.number, call.number))
    return faults


def kills(calls):
    """SIGKILL before each call that changes the disk, and inside each write. After a call the disk is as it is before the
    next one that changes it, so only LONG does both. A power cut tells before and after what makes a file count."""
    faults = []
    for call in calls:
        if call.kind == "look":
            continue
        faults.append(Fault("kill_before", call.number, call.number))
        if LONG or call.name in ("create", "link", "rename"):
            faults.append(Fault("power_cut", call.number, call.number))
        if call.name == "write":
            faults.append(Fault("kill_inside", call.number, call.number))
        if LONG or call is calls[-1]:
            faults.append(Fault("kill_after", call.number, call.number))
    return faults


def lasting_faults(calls, error, kinds):
    """From some call on all of its kind fail, as on a disk that is full."""
    numbers = [call.number for call in calls if call.kind in kinds]
    return [Fault("fail", number, 0, error, kinds[0]) for number in (numbers if LONG else numbers[::5])]


def check_all(test, parent, calls, faults, check):
    """Runs `check(fault, folder)` for every fault in a folder of its own below `parent`; it returns a complaint or
    nothing."""
    test.assertTrue(faults)
    chosen = [fault for fault in faults if ONE_CASE in (None, fault.name)]

    def checked(number, fault):
        own = parent / f"{test.id().rsplit('.', 1)[-1]}-{number}"
        own.mkdir()
        try:
            complaint = check(fault, own)
        except Exception as error:  # a complaint like any other, with its case
            complaint = repr(error)
        if ONE_CASE:
            print(f"\n{fault.name}: {complaint or 'as it should be'}; see {own}")
        remove(own)
        return fault, complaint

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(checked, range(len(chosen)), chosen))
    bad = [(fault, complaint) for fault, complaint in outcomes if complaint]
    if bad:
        where = {call.number: f"{call.name} {call.path}" for call in calls}
        text = [f"{fault.name} ({where.get(fault.first)}): {complaint}" for fault, complaint in bad]
        test.fail(f"{len(bad)} of {len(outcomes)} cases\n" + "\n".join(text[:12]) +
                  f'\nOne of them alone: MINICHILLA_FAULT_CASE="{bad[0][0].name}" ctest --test-dir BUILD '
                  f"-R faults -V")


def read_json(path):
    return json.loads(path.read_text())
