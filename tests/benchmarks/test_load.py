"""The fixed-rate load generator and the aiohttp proxy, on real sockets."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.aiohttp_proxy import end_to_end
from benchmarks.documents import json_document
from benchmarks.odd_backend import ODD
from benchmarks.processes import Child, tree, wait_until
from benchmarks.requests import DISTINCT, read_set, request_set, write_set
from benchmarks.stage import answers, fill
from tests.harness.ports import unused_port

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n\r\nok"
)


class Server:
    """Answers every request, late if told to; keeps the heads it got."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.heads: list[bytes] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


async def run_load(port: int, requests: Path, *arguments: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load", "--port", str(port)),
        *("--requests", str(requests), *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    figures: dict[str, float] = json.loads(output)
    return figures


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests"
    write_set(path, request_set()[:50])
    return path


def test_a_set_survives_its_file(tmp_path: Path) -> None:
    written = request_set("/headers/", more_headers=True)
    write_set(tmp_path / "set", written)
    assert read_set(tmp_path / "set") == written


@pytest.mark.parametrize(("more_headers", "count"), [(False, 10), (True, 20)])
def test_requests_have_distinct_targets_and_ten_headers(more_headers: bool, count: int) -> None:
    requests = request_set(more_headers=more_headers)
    assert len({request.split(b" ")[1] for request in requests}) == DISTINCT
    assert {request.count(b"\r\n") - 2 for request in requests} == {count}


@pytest.mark.parametrize("size", [200, 16 << 10])
def test_answers_have_exactly_their_size(size: int) -> None:
    document = json_document(size)
    assert len(document) == size
    json.loads(document)


async def test_the_rate_is_kept_and_every_answer_counted(requests: Path) -> None:
    async with Server().running() as server:
        figures = await run_load(
            server.port, requests, "--rate", "200", "--seconds", "1", "--warm-up", "0.5"
        )
    assert figures["requests"] == 200
    assert figures["errors"] == 0
    assert len(server.heads) == 300
    assert len(set(server.heads)) == 50


async def test_waiting_for_a_connection_counts_as_latency(requests: Path) -> None:
    # One connection, 50 ms an answer: of 40 a second every second one comes ever later.
    async with Server(delay_s=0.05).running() as server:
        figures = await run_load(
            *(server.port, requests, "--rate", "40", "--seconds", "1", "--warm-up", "0"),
            *("--connections", "1"),
        )
    assert figures["max_ms"] > 500


async def test_a_server_that_hangs_up_is_an_error_not_an_end(requests: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    figures = await run_load(
        port, requests, "--rate", "50", "--seconds", "0.2", "--warm-up", "0", "--connections", "4"
    )
    server.close()
    assert figures["errors"] == figures["requests"] == 10


def test_headers_of_one_hop_are_not_forwarded() -> None:
    kept = end_to_end(
        {"Connection": "close, X-Hop", "X-Hop": "1", "TE": "trailers", "Accept": "*/*"}
    )
    assert dict(kept) == {"Accept": "*/*"}


async def test_the_aiohttp_proxy_forwards(tmp_path: Path) -> None:
    async with Server().running() as backend:
        port = unused_port()
        child = Child(
            "aiohttp",
            [
                *(sys.executable, "-m", "benchmarks.aiohttp_proxy", "--port", str(port)),
                *("--backend", f"http://127.0.0.1:{backend.port}"),
            ],
            frozenset(os.sched_getaffinity(0)),
            tmp_path / "log",
        )
        try:
            await asyncio.to_thread(
                wait_until, "listening", lambda: answers(port, "/a%2Fb?c=%20d"), child
            )
        finally:
            await asyncio.to_thread(child.stop)
    head = backend.heads[0].lower()
    assert head.startswith(b"get /a%2fb?c=%20d http/1.1\r\n")
    for name in (b"via", b"x-forwarded-for", b"x-request-id", b"traceparent"):
        assert b"\r\n" + name + b": " in head


def test_cpu_time_is_that_of_the_whole_tree_and_all_of_it_is_stopped(tmp_path: Path) -> None:
    burn = "x = sum(i * i for i in range(3_000_000))"
    program = (
        "import subprocess, sys, time\n"
        f"subprocess.run([sys.executable, '-c', {burn!r}])\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    child = Child(
        "tree",
        [sys.executable, "-c", program],
        frozenset(os.sched_getaffinity(0)),
        tmp_path / "log",
    )
    try:
        wait_until("the tree", lambda: "ready" in child.log.read_text(), child)
        members = tree(child.pid)
        assert len(members) == 2
        # What burned was reaped by its parent, and counts all the same.
        assert child.cpu().total_s >= 0.1
    finally:
        child.stop(grace_s=2)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{one.pid}").exists() for one in members):
        assert time.monotonic() < deadline
    assert child.process.returncode is not None


def test_every_placeholder_of_the_configurations_is_filled() -> None:
    values = {
        name: f"<{name}>"
        for name in (
            *("PORT", "DIR", "DOCUMENTS", "SMALL", "HEADERS", "LEGACY", "NEW", "REFUSING"),
            *("PHASE", "ADMIN", "NAME", *map(str.upper, ODD)),
        )
    }
    for name in ("backend.conf", "nginx.conf", "nginx_mirror.conf", "haproxy.cfg", "banyan.yaml"):
        assert "@" not in fill(name, **values)
