"""The processes below the launcher: how one is started, why it ended, when it starts again.

A child that dies is restarted after 0.1 s, doubling to 5 s while it keeps dying early; ten seconds
of life reset that. Children live in their own process group, so that Ctrl-C on a terminal reaches
the launcher alone, and get SIGTERM from the kernel when the launcher dies.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from proxy.control.turns import Turns, take

FIRST_BACK_OFF_S = 0.1
LONGEST_BACK_OFF_S = 5.0
HEALTHY_AFTER_S = 10.0
LOUD_AFTER_FAILURES = 5

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Child:
    """One process that the launcher keeps alive. `now` is in seconds of a monotonic clock."""

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        keep_fds: Sequence[int],
        environment: Mapping[str, str] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.name = name
        self.restart_at: float | None = 0.0  # None while it runs, or is to stay down
        self.is_told_to_stop = False
        self._killed_since = ""  # why we killed it
        self.failures = 0  # early deaths in a row
        # What is installed, whatever stands in the working directory.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._keep_fds = tuple(keep_fds)
        self._turns = turns
        # What the operator has set goes before what we would set.
        self._environment = {**(environment or {}), **os.environ}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    def start(self, now: float) -> None:
        """Start it. Raises OSError when the system cannot (no memory, no processes left)."""
        self._process = subprocess.Popen(
            self._command,
            pass_fds=self._keep_fds,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            process_group=0,
            # Runs between fork and exec of a process without threads.
            preexec_fn=_prepared(os.getpid(), self._turns),
        )
        self._started_at = now
        self._killed_since = ""
        self.restart_at = None

    def ended(self, status: int, now: float) -> str:
        """It was reaped with this wait status: plan the restart; why it ended, in words."""
        assert self._process is not None
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self._process = None
        lived_s = now - self._started_at
        self.failures = 0 if lived_s >= HEALTHY_AFTER_S else self.failures + 1
        if not self.is_told_to_stop:
            self.restart_at = now + back_off_s(self.failures)
        return exit_reason(code, self._killed_since)

    def start_failed(self, now: float) -> None:
        """The system could not start it: try again later."""
        self.failures += 1
        self.restart_at = now + back_off_s(self.failures)

    def stay_down(self) -> None:
        """Do not start it again."""
        self.is_told_to_stop = True
        self.restart_at = None

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal, if it runs. It is not reaped elsewhere, so the pid is still its own."""
        if self._process:
            os.kill(self._process.pid, signum)

    def kill(self, since: str) -> None:
        """SIGKILL, if it runs; `since` says why."""
        self._killed_since = since
        self.send(signal.SIGKILL)


def back_off_s(failures: int) -> float:
    """How long to wait before the next start, after so many early deaths in a row."""
    doublings = min(max(failures - 1, 0), 10)
    return min(FIRST_BACK_OFF_S * 2.0**doublings, LONGEST_BACK_OFF_S)


def exit_reason(code: int, killed_since: str = "") -> str:
    """An exit code (negative: a signal, of ours if it is SIGKILL and we know why) in words."""
    if code >= 0:
        return f"exited with {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ""
    if name == "SIGKILL":
        hint = f" (since {killed_since})" if killed_since else " (out of memory?)"
    return f"was killed by {name}{hint}"


def _prepared(parent: int, turns: Turns | None) -> Callable[[], None]:
    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        # The launcher may have died before the kernel was asked.
        if os.getppid() != parent:
            os._exit(1)
        if turns is not None:
            take(turns)

    return prepare
