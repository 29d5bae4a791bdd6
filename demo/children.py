"""Processes that are started together, listened to, and ended together.

Each is in its own process group, so that Ctrl-C on the terminal reaches only the one who started
them, and gets SIGTERM from the kernel should that one die (on Linux).
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

KEPT_LINES = 20
KEPT_CHARACTERS = 2000  # of each line
READ_BYTES = 1 << 16

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One process. `heard` is called with each line it writes; the last lines are kept."""

    def __init__(self, name: str, heard: Callable[[str, str], None] | None = None) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._heard = heard
        self._process: asyncio.subprocess.Process | None = None
        self._told_to_stop = False

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.returncode if self._process else None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_lost(self) -> bool:
        """Whether it ended without having been told to."""
        return not self._told_to_stop and self.exit_code is not None

    async def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,
            preexec_fn=_die_with(os.getpid()),
        )

    async def listen(self) -> None:
        """Take in what it writes until it ends. To be run by the owner, beside everything else."""
        assert self._process is not None
        assert self._process.stdout is not None
        rest = b""
        while chunk := await self._process.stdout.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:KEPT_CHARACTERS]
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)
        await self._process.wait()

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()[:KEPT_CHARACTERS]
        if text:
            self.last_lines.append(text)
            if self._heard:
                self._heard(self.name, text)

    async def stop(self, patience_s: float) -> None:
        """SIGTERM, a second one (which hurries `banyan serve`) after that long, then SIGKILL."""
        self._told_to_stop = True
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._process.wait()

    def hurry(self) -> None:
        """One more SIGTERM to a child that is ending."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()


def _die_with(parent: int) -> Callable[[], None]:
    def ask_for_the_signal() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        # The parent may have died before the kernel was asked.
        if os.getppid() != parent:
            os._exit(1)

    return ask_for_the_signal
