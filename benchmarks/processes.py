"""Child processes: started on chosen cores, measured with all their descendants, always stopped.

CPU time is read from /proc/PID/stat of the whole tree (launcher, controller and workers of
Banyan; master and worker of nginx), reaped children included, so nothing a proxy does is left
out. Each child leads its own session: Ctrl-C reaches only this program, which stops them all.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class BenchError(Exception):
    """A child did not start, died, or answered wrongly; the text is for the user."""


@dataclass(frozen=True)
class Cpu:
    """CPU time in seconds."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.user_s - other.user_s, self.system_s - other.system_s)


@dataclass(frozen=True)
class Memory:
    """Memory of one process in KiB; `private` is what no other process shares."""

    rss: int
    pss: int
    private: int
    peak: int


class Child:
    """A process and its descendants."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        cores: frozenset[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ):
        self.name = name
        self.log = log

        def prepare() -> None:
            os.sched_setaffinity(0, cores)
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=prepare,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def check_alive(self) -> None:
        """Raise `BenchError`, with the end of the log, when the process is gone."""
        code = self.process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what the process printed."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-5:]) or "it printed nothing"

    def cpu(self) -> Cpu:
        """CPU time of the whole tree since its start."""
        user = system = 0
        for entry in tree(self.pid):
            user += entry.user_ticks
            system += entry.system_ticks
        return Cpu(user / TICKS_PER_SECOND, system / TICKS_PER_SECOND)

    def find(self, word: str) -> int:
        """The pid of the one process of the tree whose command line has `word`."""
        found = [
            entry.pid
            for entry in tree(self.pid)
            if word.encode() in Path(f"/proc/{entry.pid}/cmdline").read_bytes()
        ]
        if len(found) != 1:
            raise BenchError(f"{self.name} has {len(found)} processes with {word!r}, not one")
        return found[0]

    def stop(self, grace_s: float = 5.0) -> None:
        """SIGTERM, then SIGKILL to everything that is left of the tree."""
        members = [entry.pid for entry in tree(self.pid)]
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        for pid in members:
            # The session is ours alone: a pid that was given away since is in another one.
            if session_of(pid) == self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(grace_s)


@dataclass(frozen=True)
class Stat:
    """What is needed of one /proc/PID/stat; the ticks include reaped children."""

    pid: int
    parent: int
    session: int
    user_ticks: int
    system_ticks: int


def tree(root: int) -> list[Stat]:
    """The process and all its descendants that live, whoever adopted them meanwhile."""
    everything = [stat for stat in map(read_stat, numeric_entries()) if stat is not None]
    members = {root}
    grown = True
    while grown:
        grown = False
        for stat in everything:
            inside = stat.parent in members or stat.session == root
            if inside and stat.pid not in members:
                members.add(stat.pid)
                grown = True
    return [stat for stat in everything if stat.pid in members]


def numeric_entries() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read_stat(pid: int) -> Stat | None:
    """Read /proc/PID/stat (proc(5)); None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything: count the fields from its end.
    fields = text[text.rindex(")") + 2 :].split()
    user, system, reaped_user, reaped_system = (int(fields[index]) for index in range(11, 15))
    return Stat(pid, int(fields[1]), int(fields[3]), user + reaped_user, system + reaped_system)


def session_of(pid: int) -> int | None:
    stat = read_stat(pid)
    return None if stat is None else stat.session


def memory_of(pid: int) -> Memory:
    """Memory of one process, from /proc/PID/smaps_rollup and status."""
    sizes: dict[str, int] = {}
    for source in ("smaps_rollup", "status"):
        for line in Path(f"/proc/{pid}/{source}").read_text().splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if len(words) == 2 and words[1] == "kB":
                sizes[name] = int(words[0])
    return Memory(
        rss=sizes["Rss"],
        pss=sizes["Pss"],
        private=sizes["Private_Clean"] + sizes["Private_Dirty"],
        peak=sizes["VmHWM"],
    )


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(what: str, true: Callable[[], bool], child: Child, seconds: float = 15.0) -> None:
    """Poll a condition of a child that offers no event, with a deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        child.check_alive()
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not happen within {seconds:g} s: {child.last_words()}")
        time.sleep(0.05)
