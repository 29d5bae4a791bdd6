"""What a worker holds of bodies: once, and no more than it is said to (README, bounds)."""

import asyncio
import contextlib

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Limits, Route, Shadow
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, plain
from tests.harness.client import Client
from tests.harness.snapshots import route
from tests.harness.waiting import soon
from tests.harness.worker import Worker

HELD_MIB = 256
BODY = 16 << 20
COUNT = 20  # of which 15 fit, what their pieces take being counted as well
MARGIN_MIB = 90  # the interpreter, what the allocator keeps, a buffer for each connection


async def upload(client: Client, lines: bytes) -> None:
    """Send a large body, unless it is refused."""
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines)
    piece = b"u" * (1 << 20)
    chunked = b"chunked" in lines
    with contextlib.suppress(ConnectionError):
        for _ in range(BODY >> 20):
            await client.send(b"100000\r\n%b\r\n" % piece if chunked else piece, within_s=60)
        await client.send(b"0\r\n\r\n" if chunked else b"")


LENGTH = b"Content-Length: %d\r\n\r\n" % BODY
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
WRITES = route("/*", "dual-write", write_body_bytes=BODY)
READS = route(
    "/*",
    "shadow-read",
    safe_methods=frozenset({"POST"}),
    shadow=Shadow(max_body_bytes=BODY, timeout_s=120, max_in_flight=128),
)


@pytest.mark.parametrize("lines", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("served", "stuck"), [(WRITES, "new"), (WRITES, "legacy"), (READS, "new")],
    ids=["first side", "second side", "shadow"],
)  # fmt: skip
async def test_bodies_owed_to_both_sides_take_what_they_are_counted_for(
    proxy: Proxy, served: Route, stuck: str, lines: bytes
) -> None:
    """Three copies of each made 800 MiB of them."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.backend.name == stuck:
            await go.wait()  # it takes nothing of the body
            call.reset()
        else:
            await call.answer()

    proxy.legacy.handler = proxy.new.handler = handler
    patient = {
        name: BackendSettings(name, (url,), timeout_s=120, idle_timeout_s=120)
        for name, url in (("legacy", proxy.legacy.url), ("new", proxy.new.url))
    }
    worker = await Worker().start()  # its own: the highest so far is looked at
    own = Proxy(worker, proxy.legacy, proxy.new)
    try:
        await own.serve(served, backends={**patient}, limits=Limits(body_idle_s=120))
        clients = [await own.connect() for _ in range(COUNT)]
        await soon(asyncio.gather(*(upload(each, lines) for each in clients)), within_s=120)
        backend = own.legacy if stuck == "legacy" else own.new
        fit = HELD_MIB // (BODY >> 20) - 1
        await backend.changes.until(lambda: len(backend.calls) >= fit, "all that fit", 60)
        assert worker.rss_mib(peak=True) < HELD_MIB + MARGIN_MIB
        go.set()
        for client in clients:
            client.close()
        await own.reported(lambda totals: totals.connections.get("client") == 0, within_s=30)
    finally:
        await worker.stop()


PATTERN = bytes(range(251)) * 8000  # about 2 MB, no period that buffers share


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_that_is_sent_as_it_is_taken_comes_whole(proxy: Proxy, chunked: bool) -> None:
    async def handler(call: Call) -> None:
        reader = call.connection.reader
        reader._limit = 1 << 16  # type: ignore[attr-defined]  # asyncio's: it reads little ahead
        await call.answer(await call.read())

    proxy.legacy.handler = proxy.new.handler = handler
    await proxy.serve(route("/*", "dual-write"))
    lines = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(PATTERN)
    async with await proxy.connect() as client:
        for turn in (1, 2):
            client.write(b"PUT / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
            if chunked:
                for at in range(0, len(PATTERN), 70_001):
                    piece = PATTERN[at : at + 70_001]
                    client.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                client.write(b"0\r\nX-Sum: 1\r\n\r\n")
            else:
                client.write(PATTERN)
            assert (await client.response()).body == PATTERN
            for backend in (proxy.new, proxy.legacy):
                call = await backend.complete(turn)
                assert call.body == PATTERN
                assert call.trailers == ([(b"X-Sum", b"1")] if chunked else [])
    # They were clean to the end: the second time, no other connection was needed.
    assert [len(backend.connections) for backend in (proxy.new, proxy.legacy)] == [1, 1]


async def test_a_large_body_is_sent_again_whole_where_a_pooled_connection_was_dead(
    proxy: Proxy,
) -> None:
    async def handler(call: Call) -> None:
        if call.connection.calls == 2:
            await call.read_some()
            call.reset()
        else:
            await plain(call)

    proxy.new.handler = handler
    await proxy.serve(route("/*", "dual-write"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 200
        response = await client.post("/", PATTERN, method="PUT")
        assert response.body == b"new PUT / %d" % len(PATTERN)
    assert proxy.new.calls[-1].body == PATTERN
    assert (await proxy.legacy.complete(2)).body == PATTERN
