"""Bodies stream both ways with back-pressure; what is sent piece by piece arrives so."""

import asyncio
import time
from collections.abc import Callable

import pytest

from proxy.core.model import Shadow
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, Handler, hanging
from tests.harness.client import Client
from tests.harness.snapshots import route
from tests.harness.waiting import soon

MIB = 1 << 20
PIECE = bytes(range(256)) * 256  # 64 KiB, position visible
NORMAL, EXTENDED = 64, 1024
SIZES = [
    pytest.param(NORMAL, id="64 MiB"),
    pytest.param(EXTENDED, id="1 GiB", marks=pytest.mark.extended),
]
HEADS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "until close": b"HTTP/1.0 200 OK\r\n\r\n",
}


def source(form: str, size: int) -> Handler:
    """A handler that sends so many bytes as fast as they are taken."""

    async def handler(call: Call) -> None:
        await call.read()
        head = HEADS[form]
        await call.send(head % size if b"%d" in head else head)
        for _ in range(size // len(PIECE)):
            if form == "chunked":
                await call.send(b"10000\r\n" + PIECE + b"\r\n")
            else:
                await call.send(PIECE)
            call.backend.bytes_sent += len(PIECE)
        if form == "chunked":
            await call.send(b"0\r\n\r\n")
        if form == "until close":
            call.close()

    return handler


async def drain_body(client: Client, size: int, chunked: bool, within_s: float) -> None:
    """Read a body of PIECEs and check every byte's place."""
    left, at = size, 0
    end = time.monotonic() + within_s
    while left:
        if chunked:
            line = await soon(client.reader.readuntil(b"\r\n"))
            data = await soon(client.reader.readexactly(int(line, 16)))
            await soon(client.reader.readexactly(2))
        else:
            data = await soon(client.reader.read(1 << 18))
        assert data
        assert data[0] == at % 256
        assert data[-1] == (at + len(data) - 1) % 256
        at += len(data)
        left -= len(data)
        assert time.monotonic() < end
    if chunked:
        assert await client.exactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("mib", SIZES)
@pytest.mark.parametrize("form", HEADS)
@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read"])
async def test_a_large_download_passes_through_in_little_memory(
    proxy: Proxy, form: str, phase: str, mib: int
) -> None:
    size = mib * MIB
    proxy.legacy.handler = proxy.new.handler = source(form, size)
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.head()
        await drain_body(client, size, head.header("transfer-encoding") is not None, mib)
    assert proxy.worker.rss_mib(peak=True) < 100
    if phase == "shadow-read":
        await proxy.reported(lambda totals: totals.skipped["/*|body_too_large"] == 1)


@pytest.mark.parametrize("mib", SIZES)
@pytest.mark.parametrize("form", ["length", "chunked"])
async def test_a_large_upload_passes_through_in_little_memory(
    proxy: Proxy, form: str, mib: int
) -> None:
    size = mib * MIB
    received = 0

    async def sink(call: Call) -> None:
        nonlocal received
        if form == "length":
            received = await call.drop_body()
        else:
            reader = call.connection.reader
            while length := int(await reader.readuntil(b"\r\n"), 16):
                received += len(await reader.readexactly(length + 2)) - 2
            assert await reader.readexactly(2) == b"\r\n"
        call.complete = True
        await call.answer(b"done", read=False)

    proxy.legacy.handler = sink
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        if form == "length":
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        else:
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(size // len(PIECE)):
            await client.send(PIECE if form == "length" else b"10000\r\n" + PIECE + b"\r\n")
        if form == "chunked":
            client.write(b"0\r\n\r\n")
        assert (await client.response()).body == b"done"
    assert received == size
    assert proxy.worker.rss_mib(peak=True) < 100


@pytest.mark.parametrize("form", HEADS)
@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read", "dual-write"])
async def test_a_client_that_does_not_read_stops_the_backend(
    proxy: Proxy, form: str, phase: str
) -> None:
    size = 64 * MIB
    proxy.legacy.handler = proxy.new.handler = source(form, size)
    await proxy.serve(route("/*", phase))
    asked = proxy.new if phase == "dual-write" else proxy.legacy
    async with await proxy.connect(receive_buffer=16384) as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.head()
        await stalled(lambda: asked.bytes_sent)
        # Sockets on the way hold a few megabytes at most, and the worker next to nothing.
        assert asked.bytes_sent < 32 * MIB
        assert proxy.worker.rss_mib() < 80
        await drain_body(client, size, head.header("transfer-encoding") is not None, 60)


async def test_a_backend_that_does_not_read_stops_the_client(proxy: Proxy) -> None:
    go_on = asyncio.Event()
    size = 64 * MIB

    async def handler(call: Call) -> None:
        await go_on.wait()
        await call.drop_body()
        await call.answer(b"done", read=False)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0

        async def upload() -> None:
            nonlocal sent
            while sent < size:
                await client.send(PIECE, within_s=60)
                sent += len(PIECE)

        task = asyncio.ensure_future(upload())
        await stalled(lambda: sent)
        assert sent < 32 * MIB
        assert proxy.worker.rss_mib() < 80
        go_on.set()
        await task
        assert (await client.response()).body == b"done"


async def stalled(measure: Callable[[], int]) -> None:
    """Wait until something that grows has not grown for a while."""
    before, since = -1, time.monotonic()
    end = since + 20
    while time.monotonic() - since < 0.4:
        now = measure()
        if now != before or now == 0:
            before, since = now, time.monotonic()
        assert time.monotonic() < end, "it never stalled"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read", "0%"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until close"])
async def test_server_sent_events_arrive_as_they_are_sent(
    proxy: Proxy, phase: str, chunked: bool
) -> None:
    """In lock-step: no event is sent before the one before it has arrived."""
    arrived = asyncio.Semaphore(0)

    async def events(call: Call) -> None:
        how = b"Transfer-Encoding: chunked" if chunked else b"Connection: close"
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n\r\n" % how)
        for number in range(20):
            event = b"id: %d\ndata: x\n\n" % number
            await call.send(b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)
            await arrived.acquire()
        if chunked:
            await call.send(b"0\r\n\r\n")
        else:
            call.close()

    proxy.legacy.handler = events
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        assert (await client.head()).header("content-type") == b"text/event-stream"
        for number in range(20):
            event = b"id: %d\ndata: x\n\n" % number
            assert await client.until(b"\n\n\r\n") == b"%x\r\n%b\r\n" % (len(event), event)
            arrived.release()
        assert await client.until(b"0\r\n\r\n") == b"0\r\n\r\n"
    assert proxy.new.connections == []


@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read"])
async def test_a_response_of_known_length_arrives_as_it_is_sent(proxy: Proxy, phase: str) -> None:
    arrived = asyncio.Semaphore(0)

    async def slowly(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for number in range(10):
            await call.send(b"%d" % number)
            if call.backend.name == "legacy":
                await arrived.acquire()

    proxy.legacy.handler = proxy.new.handler = slowly
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        for number in range(10):
            assert await client.exactly(1) == b"%d" % number
            arrived.release()


async def test_a_chunked_upload_arrives_as_it_is_sent(proxy: Proxy) -> None:
    pieces: list[bytes] = []

    async def handler(call: Call) -> None:
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += await call.read_some()
            pieces.append(received)
            call.backend.changes.notify()
        call.complete = True
        await call.answer(b"done", read=False)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(10):
            client.write(b"2\r\n#%d\r\n" % number)
            await proxy.legacy.changes.until(
                lambda n=number: pieces and b"#%d" % n in pieces[-1]  # type: ignore[misc]  # bound early on purpose
            )
        client.write(b"0\r\n\r\n")
        assert (await client.response()).body == b"done"


async def test_a_conversation_over_one_request(proxy: Proxy) -> None:
    """Both bodies at once (as gRPC-Web and some uploads do): each answer to each piece."""

    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        received = b""
        while True:
            received += await call.read_some()
            if received.endswith(b"0\r\n\r\n"):
                break
            await call.send(b"%x\r\n%b\r\n" % (len(received), received))
            received = b""
        call.complete = True
        await call.send(b"0\r\n\r\n")

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.write(b"1\r\na\r\n")
        assert (await client.head()).status == 200
        assert b"1\r\na\r\n" in await client.until(b"a\r\n\r\n")
        client.write(b"1\r\nb\r\n")
        assert b"1\r\nb\r\n" in await client.until(b"b\r\n\r\n")
        client.write(b"0\r\n\r\n")
        assert (await client.until(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_the_bodies_of_many_shadows_are_bounded_together(proxy: Proxy) -> None:
    """Answers of legacy that wait for a hanging new side cost bounded memory."""
    body = b"x" * (MIB - 10)
    proxy.new.handler = hanging

    async def large(call: Call) -> None:
        await call.answer(body)

    proxy.legacy.handler = large
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(timeout_s=20, max_in_flight=16)))
    async with await proxy.connect() as client:
        for _ in range(60):
            assert len((await client.get("/")).body) == len(body)
    assert proxy.worker.rss_mib() < 100
    await proxy.reported(lambda totals: totals.skipped["/*|in_flight"] == 44)
