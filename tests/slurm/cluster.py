"""A real SLURM cluster on this machine for one test: private folder, free ports, loopback only, gone at the end.

    with Cluster(nodes=2, preempt_mode="CANCEL") as cluster:
        cluster.run("sinfo")

Needs root and Debian's slurm-wlm and munge; `missing()` says what lacks. Nodes are virtual: they share the machine's
host name, and SLURMD_NODENAME tells them apart. Nothing is contained: memory and cores are booked, not enforced.
By hand: `tests/slurm/cluster.py` starts one and gives a shell in it.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROGRAMS = ["slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "munged", "munge"]
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

CONF = """ClusterName=minichilla
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=2,bf_interval=2
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode={preempt_mode}
JobRequeue=1
KillWait=10
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=8
MinJobAge=300
MaxArraySize={max_array_size}
{node_lines}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 PriorityTier=1 PreemptMode={preempt_mode} State=UP
PartitionName=high Nodes=ALL MaxTime=INFINITE DefaultTime=60 PriorityTier=10 PreemptMode=OFF State=UP
"""


def missing():
    """What lacks for a cluster, in words; empty when nothing does."""
    if os.geteuid() != 0:
        return "not root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    return "found no " + ", ".join(absent) + " (scripts/install_packages.sh test)" if absent else ""


def free_ports(count):
    """Ports that nothing listens on; they are held open together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def wait_until(condition, what, seconds=60):
    """Polls until `condition()` is true and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.2)
    return value


class Cluster:
    def __init__(self, nodes=3, cpus=2, preempt_mode="REQUEUE", max_array_size=1001):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mc-slurm-", dir="/tmp"))  # sockets need a short path
        self.nodes = [f"n{i}" for i in range(nodes)]
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.processes = {}
        ports = free_ports(1 + nodes)
        host = socket.gethostname().split(".")[0]
        lines = [f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=2000 "
                 f"State=UNKNOWN" for name, port in zip(self.nodes, ports[1:])]
        (self.folder / "slurm.conf").write_text(CONF.format(
            folder=self.folder, host=host, ports=ports, preempt_mode=preempt_mode, node_lines="\n".join(lines),
            max_array_size=max_array_size))
        for name in ("cgroup.conf", "plugstack.conf"):
            (self.folder / name).write_text("")

    def __enter__(self):
        try:
            self.start_munge()
            self.start("slurmctld")
            for name in self.nodes:
                self.start(name)
            wait_until(self.ready, f"a cluster in {self.folder}")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start_munge(self):
        key, munge_socket = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.launch("munged", "munged", "-F", "--force", "--num-threads=2", f"--key-file={key}",
                    f"--socket={munge_socket}", f"--pid-file={self.folder}/munged.pid",
                    f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed")
        wait_until(munge_socket.exists, "munged")

    def launch(self, name, *command):
        with open(self.folder / f"{name}.out", "ab") as output:
            self.processes[name] = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                                    stdout=output, stderr=output, start_new_session=True)

    def start(self, name):
        """Starts slurmctld, or the slurmd of a node."""
        conf = self.environment["SLURM_CONF"]
        if name == "slurmctld":
            self.launch(name, "slurmctld", "-D", "-f", conf)
        else:
            self.launch(name, "slurmd", "-D", "-N", name, "-f", conf)

    def kill(self, name):
        """Kills a daemon as a crash would: nothing is said, what it started lives on."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def run(self, *command, check=True):
        """Standard output of one of SLURM's commands."""
        done = subprocess.run([str(word) for word in command], env=self.environment, capture_output=True, text=True,
                              timeout=60, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: status {done.returncode}: {done.stderr}")
        return done.stdout

    def controller_answers(self):
        return "is UP" in self.run("scontrol", "-o", "ping", check=False)

    def ready(self):
        if not self.controller_answers():
            return False
        states = self.run("sinfo", "-h", "-N", "-o", "%N %t", check=False).splitlines()
        return len({line for line in states if line.split()[1] in ("idle", "mix", "alloc")}) >= len(self.nodes)

    def situation(self):
        """What somebody wants to see who asks why a test failed: ended daemons, nodes, jobs, the logs' ends."""
        ended = [f"{name} ended with status {process.poll()}" for name, process in self.processes.items()
                 if process.poll() is not None]
        said = [self.run(*command, check=False) for command in (["sinfo", "-N", "-l"], ["sinfo", "-R"], ["squeue", "-l"])]
        logs = [f"{path.name}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:])
                for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(ended + said + logs)

    def job(self, job):
        """The fields of `scontrol show job` of one job, by name; empty when the controller is away."""
        text = self.run("scontrol", "-o", "show", "job", job, check=False)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def job_processes(self):
        """Processes that jobs of this cluster have left; slurmstepd is outside of every process group of ours."""
        wanted = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        ours = {process.pid for process in self.processes.values()} | {os.getpid(), os.getppid()}
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if int(entry.name) not in ours and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def stop(self):
        """Ends everything that the cluster started, each process by its id, and removes the folder."""
        for name in [*self.nodes, "slurmctld", "munged"]:
            if name in self.processes:
                self.kill(name)
        for _ in range(20):
            left = self.job_processes()
            if not left:
                break
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    if missing():
        sys.exit("cluster.py: " + missing())
    with Cluster(preempt_mode=sys.argv[1] if len(sys.argv) > 1 else "REQUEUE") as cluster:
        subprocess.run([os.environ.get("SHELL", "/bin/sh")], env=cluster.environment, check=False)
