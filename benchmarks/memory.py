"""Memory of a worker: at its start, with thousands of idle clients, and under endless bodies."""

import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Bar, Section
from benchmarks.measuring import Settings, Target, progress, request_file, saturate_once
from benchmarks.processes import BenchError, Memory, memory_of
from benchmarks.requests import read_set
from benchmarks.stage import Proxy, Stage

IDLE_CLIENTS = 5000
STREAM_BYTES = 1 << 30
QUICK_STREAM_BYTES = 256 << 20
BLOCK = b"x" * (1 << 20)
# How long a client leaves its download unread, and the backend an upload: whoever buffers
# instead of holding the other side back is found out by then.
STANDSTILL_S = 1.0
# The process of each proxy that holds its connections, by a word of its command line.
WORKER = {
    "banyan": "proxy.edge.worker",
    "banyan shadow": "proxy.edge.worker",
    "nginx": "nginx: worker",
    "aiohttp": "benchmarks.aiohttp_proxy",
    "haproxy": "haproxy",
}
KIB_PER_MIB = 1024


def measure_memory(stage: Stage, settings: Settings) -> list[Section]:
    """The three questions, of Banyan and for comparison of the others."""
    with_banyan = bool(settings.chosen("banyan"))
    sections = [measure_start(stage)] if with_banyan else []
    sections.append(measure_idle_clients(stage, settings))
    if with_banyan:
        sections.append(measure_streams(stage, settings))
    return sections


def measure_start(stage: Stage) -> Section:
    """A worker that has answered one request."""
    if "banyan" in stage.proxies:
        stage.stop(stage.proxies["banyan"])
    worker = worker_memory(stage.proxy("banyan"))
    section = Section("memory of a worker at its start", ("", "RSS MiB", "PSS MiB", "private MiB"))
    section.rows.append(
        (
            "banyan worker",
            f"{worker.rss / KIB_PER_MIB:.1f}",
            f"{worker.pss / KIB_PER_MIB:.1f}",
            f"{worker.private / KIB_PER_MIB:.1f}",
        )
    )
    section.bars.append(
        Bar("RSS at the start", worker.rss / KIB_PER_MIB, 60, at_least=False, unit="MiB")
    )
    return section


def measure_idle_clients(stage: Stage, settings: Settings) -> Section:
    """Private memory of the worker a client, of clients that sent one request and wait."""
    count = min(IDLE_CLIENTS, file_limit() - 200)
    section = Section(
        f"memory of {count:,} idle keep-alive clients",
        ("", "private before MiB", "private after MiB", "KiB a client"),
    )
    file = request_file(stage, "/api/")
    request = read_set(file)[0]
    for name in settings.chosen("banyan", "nginx", "haproxy", "aiohttp"):
        proxy = stage.proxy(name)
        progress(f"{count} idle clients of {name}")
        # What grows once, whatever the number of clients, is not charged to them.
        saturate_once(stage, Settings(seconds=1, warm_up_s=1), Target(name, name, file))
        before = worker_memory(proxy)
        clients = [open_client(proxy.port, request) for _ in range(count)]
        after = worker_memory(proxy)
        for client in clients:
            client.close()
        each = (after.private - before.private) / count
        section.rows.append(
            (
                name,
                f"{before.private / KIB_PER_MIB:.1f}",
                f"{after.private / KIB_PER_MIB:.1f}",
                f"{each:.2f}",
            )
        )
        if name == "banyan":
            section.bars.append(Bar("an idle client", each, 6, at_least=False, unit="KiB"))
    progress("")
    return section


def measure_streams(stage: Stage, settings: Settings) -> Section:
    """Peak RSS of a worker while one huge body passes, its receiver standing still at first."""
    size = QUICK_STREAM_BYTES if settings.quick else STREAM_BYTES
    section = Section(
        f"memory under a stream of {size >> 20:,} MiB",
        ("", "peak RSS MiB", "seconds", "MiB/s"),
    )
    runs: tuple[tuple[str, str, Callable[[int, int], None]], ...] = (
        ("download", "banyan", download),
        ("upload", "banyan", upload),
        ("download in shadow-read", "banyan shadow", download),
    )
    for label, name, run in runs:
        progress(f"{label} of {size >> 20} MiB")
        proxy = stage.proxy(name)
        worker = proxy.child.find(WORKER[name])
        forget_peak(worker)
        began = time.monotonic()
        run(proxy.port, size)
        seconds = time.monotonic() - began
        proxy.child.check_alive()
        peak = memory_of(worker).peak / KIB_PER_MIB
        section.rows.append(
            (label, f"{peak:.1f}", f"{seconds:.1f}", f"{(size >> 20) / seconds:,.0f}")
        )
        section.bars.append(Bar(f"peak RSS, {label}", peak, 100, at_least=False, unit="MiB"))
    progress("")
    return section


def worker_memory(proxy: Proxy) -> Memory:
    return memory_of(proxy.child.find(WORKER[proxy.name]))


def forget_peak(pid: int) -> None:
    """Let VmHWM start again from the present (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def file_limit() -> int:
    """How many files we may open, raised as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_client(port: int, request: bytes) -> socket.socket:
    """A client that has had one answer and keeps its connection."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(request)
    answer = read_answer(client)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"an idle client was answered with {answer[:60]!r}")
    return client


def read_answer(client: socket.socket) -> bytes:
    """Read one small answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(client)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":", 1)[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    while len(body) < lengths[0]:
        body += received(client)
    return head + b"\r\n\r\n" + body


def received(client: socket.socket) -> bytes:
    data = client.recv(1 << 16)
    if not data:
        raise BenchError("the proxy closed the connection in the middle of an answer")
    return data


def download(port: int, size: int) -> None:
    """Read a body of that size, after a standstill."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /streams/%d HTTP/1.1\r\nHost: shop.example.com\r\n\r\n" % size)
        data = received(client)
        time.sleep(STANDSTILL_S)
        while b"\r\n\r\n" not in data:
            data += received(client)
        left = size - len(data.partition(b"\r\n\r\n")[2])
        buffer = bytearray(1 << 20)
        while left:
            count = client.recv_into(buffer)
            if not count:
                raise BenchError(f"the download ended {left} bytes early")
            left -= count


def upload(port: int, size: int) -> None:
    """Send a body of that size to a backend that stands still at first."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(
            b"POST /streams/late HTTP/1.1\r\nHost: shop.example.com\r\n"
            b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size
        )
        left = size
        while left:
            client.sendall(BLOCK[:left])
            left -= min(left, len(BLOCK))
        answer = read_answer(client)
        if b'{"bytes":%d}' % size not in answer:
            raise BenchError(f"the upload was answered with {answer[:200]!r}")
