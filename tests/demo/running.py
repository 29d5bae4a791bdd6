"""The demo as a process, on ports of its own, in a directory of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent.parent
WITHIN_S = 60.0
DEFAULT_PORTS = ("8080", "9090", "9001", "9002")


class RunningDemo:
    """A started `banyan demo`. `ports` are those of proxy, admin, legacy and new."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.directory = directory
        self.process = process
        self._log = log
        self.ports = _ports_in(directory / "routes.yaml")

    @property
    def config(self) -> Path:
        return self.directory / "routes.yaml"

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Until the demo has written it. Fails with all of its output."""
        deadline = time.monotonic() + WITHIN_S
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, f"{text!r} was not said:\n{self.output()}"
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    def is_free(self) -> bool:
        """Whether nobody listens on any of the demo's ports."""
        for port in self.ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    return False
        return True


def with_ports(text: str, ports: list[int]) -> str:
    """The text with the four ports of the demo replaced."""
    for default, port in zip(DEFAULT_PORTS, ports, strict=True):
        text = text.replace(f":{default}", f":{port}")
    return text


def write_config(directory: Path, ports: list[int]) -> Path:
    """The shipped routes.yaml on other ports."""
    listeners = "listen: 127.0.0.1:8080\nadmin: {listen: '127.0.0.1:9090'}\n"
    file = directory / "routes.yaml"
    file.write_text(with_ports(listeners + (ROOT / "routes.yaml").read_text(), ports))
    return file


def _ports_in(file: Path) -> list[int]:
    from proxy.cli.demoplaces import places_of

    return [place.port for place in places_of(file)]


@contextlib.contextmanager
def running(directory: Path, *arguments: str) -> Iterator[RunningDemo]:
    """Start the demo in `directory`, which has a routes.yaml; kill what is left at the end."""
    log = directory / "demo.log"
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(temporary)}
    environment.pop("DEMO_SECONDS", None)
    with log.open("wb") as out:
        process = _start(["demo", *arguments], directory, environment, out)
    try:
        yield RunningDemo(directory, process, log)
    finally:
        if process.poll() is None:
            # Twice, so that nothing is waited for; its children go with it.
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WITHIN_S)
            process.kill()
            process.wait()


def _start(
    arguments: list[str], directory: Path, environment: dict[str, str], out: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "proxy.cli.main", *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
    )
