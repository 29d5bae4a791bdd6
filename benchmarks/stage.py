"""Sets the stage: the backends, the proxies in front of them, and their end.

Everything runs on free ports of the loopback in one temporary directory. Leaving the `with` stops
every process and removes the directory, whatever happened inside. The configurations of all
proxies are the files in benchmarks/config.
"""

import contextlib
import http.client
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.documents import SMALL_BYTES, differing_document, json_document
from benchmarks.machine import Cores
from benchmarks.odd_backend import ODD
from benchmarks.processes import Child, free_port, wait_until
from benchmarks.shipped import Shipped

CONFIG = Path(__file__).with_name("config")
PLACEHOLDER = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True)
class Proxy:
    """A running proxy under test."""

    name: str
    port: int
    child: Child
    admin: int = 0  # the port of Banyan's admin API


class Stage:
    """Starts what scenarios ask for, once, and stops all of it."""

    def __init__(self, programs: dict[str, str], cores: Cores, shipped: Shipped):
        self.programs = programs
        self.cores = cores
        self.shipped = shipped
        self.children: list[Child] = []
        self.proxies: dict[str, Proxy] = {}
        self.ports: dict[str, int] = {}
        self.directory = Path()

    def __enter__(self) -> "Stage":
        self.directory = Path(tempfile.mkdtemp(prefix="banyan-bench-"))
        try:
            # nginx's workers are another user when this runs as root: they need to read it.
            self.directory.chmod(0o755)
            self.start_backends()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        for child in reversed(self.children):
            child.stop()
        self.children.clear()
        self.proxies.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def proxy(self, name: str) -> Proxy:
        """The proxy of that name, started at its first use. For names see `STARTERS`."""
        if name not in self.proxies:
            self.proxies[name] = STARTERS[name](self, name)
        return self.proxies[name]

    def stop(self, proxy: Proxy) -> None:
        """Stop one proxy now, so that the next use starts a fresh one."""
        proxy.child.stop()
        self.children.remove(proxy.child)
        del self.proxies[proxy.name]

    # Backends

    def start_backends(self) -> None:
        documents = self.directory / "documents"
        documents.mkdir()
        (documents / "16k.json").write_bytes(json_document(16 << 10))
        (documents / "64k.json").write_bytes(json_document(64 << 10))
        for name in ("legacy", "new"):
            for number in range(16):
                large = differing_document(160 << 10, name, number)
                (documents / f"160k-{name}-{number:x}.json").write_bytes(large)
        small = json_document(SMALL_BYTES).decode()
        # Twenty headers in all, with the ten that every answer has.
        headers = ['add_header X-Response-Id "$request_id" always;']
        headers += [f'add_header X-Backend-{n} "the-value-of-{n}" always;' for n in range(14)]
        for name in ("legacy", "new"):
            self.ports[name] = free_port()
            self.start_nginx(
                f"backend-{name}",
                "backend.conf",
                self.ports[name],
                self.cores.backends,
                DOCUMENTS=str(documents),
                NAME=name,
                SMALL=small,
                HEADERS="\n".join(headers),
            )
        odd = {name: free_port() for name in ODD}
        self.ports |= odd
        self.ports["refusing"] = free_port()  # nobody listens there
        arguments = [f"--{name}={port}" for name, port in odd.items()]
        child = self.start(
            "odd-backend",
            [sys.executable, "-m", "benchmarks.odd_backend", *arguments],
            self.cores.backends,
        )
        wait_until("the odd backend listening", lambda: answers(odd["slow"], "/"), child)

    def served_by(self, backend: str) -> int:
        """How many requests a backend has answered since its start."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.ports[backend], timeout=5)
        ) as connection:
            connection.request("GET", "/_status")
            lines = connection.getresponse().read().decode().splitlines()
        return int(lines[2].split()[2])

    # Proxies

    def start_nginx(
        self, name: str, template: str, port: int, cores: frozenset[int], **values: str
    ) -> Child:
        directory = self.directory / name
        directory.mkdir()
        config = directory / "nginx.conf"
        config.write_text(fill(template, PORT=str(port), DIR=str(directory), **values))
        child = self.start(
            name,
            # The second option: errors before the configuration is read, away from /var/log.
            [self.programs["nginx"], "-e", "stderr", "-p", str(directory), "-c", str(config)],
            cores,
        )
        wait_until(f"{name} listening", lambda: answers(port, "/api/start"), child)
        return child

    def start(
        self,
        name: str,
        command: list[str],
        cores: frozenset[int],
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        child = Child(name, command, cores, self.directory / f"{name}.log", environment)
        self.children.append(child)
        return child

    def addresses(self) -> dict[str, str]:
        return {name.upper(): str(port) for name, port in self.ports.items()}


def start_nginx_proxy(stage: Stage, name: str) -> Proxy:
    template = "nginx_mirror.conf" if name == "nginx mirror" else "nginx.conf"
    port = free_port()
    child = stage.start_nginx(
        name.replace(" ", "-"), template, port, stage.cores.proxy, **stage.addresses()
    )
    return Proxy(name, port, child)


def start_haproxy(stage: Stage, name: str) -> Proxy:
    port = free_port()
    config = stage.directory / "haproxy.cfg"
    config.write_text(fill("haproxy.cfg", PORT=str(port), **stage.addresses()))
    child = stage.start(
        name, [stage.programs["haproxy"], "-db", "-f", str(config)], stage.cores.proxy
    )
    wait_until("haproxy listening", lambda: answers(port, "/api/start"), child)
    return Proxy(name, port, child)


def start_aiohttp(stage: Stage, name: str) -> Proxy:
    port = free_port()
    backend = f"http://127.0.0.1:{stage.ports['legacy']}"
    child = stage.start(
        name,
        [
            *(stage.shipped.python, "-m", "benchmarks.aiohttp_proxy"),
            *("--port", str(port), "--backend", backend),
        ],
        stage.cores.proxy,
    )
    wait_until("the aiohttp proxy listening", lambda: answers(port, "/api/start"), child)
    return Proxy(name, port, child)


def start_banyan(stage: Stage, name: str) -> Proxy:
    port, admin = free_port(), free_port()
    # A new one each time: a state that is left over would decide the phases.
    directory = Path(tempfile.mkdtemp(prefix=f"{name.replace(' ', '-')}-", dir=stage.directory))
    config = directory / "routes.yaml"
    config.write_text(
        fill(
            "banyan.yaml",
            PORT=str(port),
            ADMIN=str(admin),
            DIR=str(directory),
            PHASE="shadow-read" if name == "banyan shadow" else "legacy-only",
            **stage.addresses(),
        )
    )
    child = stage.start(
        directory.name,
        [stage.shipped.python, "-m", "proxy.cli.main", "serve", "--config", str(config)],
        stage.cores.proxy,
        stage.shipped.environment,
    )
    wait_until("banyan serving", lambda: answers(port, "/api/start"), child)
    return Proxy(name, port, child, admin)


STARTERS: dict[str, Callable[[Stage, str], Proxy]] = {
    "nginx": start_nginx_proxy,
    "nginx mirror": start_nginx_proxy,
    "haproxy": start_haproxy,
    "aiohttp": start_aiohttp,
    "banyan": start_banyan,
    "banyan shadow": start_banyan,
}


def fill(template: str, **values: str) -> str:
    """A configuration of benchmarks/config with its @NAMES@ filled in."""
    return PLACEHOLDER.sub(lambda name: values[name[1]], (CONFIG / template).read_text())


def answers(port: int, target: str) -> bool:
    """Whether a GET there is answered with 200."""
    try:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        ) as connection:
            connection.request("GET", target)
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
