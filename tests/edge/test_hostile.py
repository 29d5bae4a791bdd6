"""Hostile clients and broken backends: what each was once able to do."""

import asyncio
import signal
import socket
import time

import pytest
from msgspec import structs

from proxy.core.forwarding import Peer, request_lines
from proxy.core.message import RequestHead, parse_request_head
from proxy.core.model import Backend as BackendSettings
from proxy.core.model import RouteState, Side
from proxy.core.tracing import trace_context
from proxy.edge.outbox import Outbox
from proxy.edge.pool import EJECT_MAX_S, Pool
from proxy.edge.wheel import Wheel
from tests.edge.conftest import Proxy
from tests.harness.backend import Backend, Call, flooding, plain, replying
from tests.harness.snapshots import phase, route, snapshot
from tests.harness.waiting import soon, stays
from tests.harness.worker import Worker

UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
# Writes pass at once: the flag that the other side lacks them stands already.
FLAGGED = RouteState(phase("legacy-only"), Side.LEGACY, missed=frozenset({Side.NEW}))


async def test_a_client_that_resets_before_it_is_heard_is_not_trusted(proxy: Proxy) -> None:
    """Without its peer's name a TCP connection passed for a Unix socket, which is believed."""
    await proxy.serve(route("/*"), states={"/*": FLAGGED})
    proxy.worker.signal(signal.SIGSTOP)
    try:
        client = await proxy.connect()
        await client.send(
            b"POST /reset HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.8.7\r\n"
            b"Content-Length: 1\r\n\r\nx"
        )
        client.reset()
        await asyncio.sleep(0)  # the reset is sent by a callback of the loop
    finally:
        proxy.worker.signal(signal.SIGCONT)
    async with await proxy.connect() as other:
        assert (await other.get("/after")).status == 200
    assert [call.target for call in proxy.legacy.calls] == ["/after"]
    await proxy.reported(lambda totals: totals.refused["client_gone"] == 1)


@pytest.mark.parametrize("side", ["client", "backend"])
async def test_what_a_long_connection_header_names_is_removed(proxy: Proxy, side: str) -> None:
    names = "Connection: x-gone," + ",".join(f"n{number}" for number in range(9000))
    proxy.legacy.handler = replying(
        b"ok", "200 OK", names if side == "backend" else "A: b", "X-Gone: 1"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/", names if side == "client" else "A: b", "X-Gone: 1")
    assert response.body == b"ok"
    assert (response.header("x-gone") is None) == (side == "backend")
    assert (proxy.legacy.calls[0].header("x-gone") is None) == (side == "client")


def test_a_connection_header_of_thousands_of_names_costs_one_pass() -> None:
    """Each name was searched for by itself: 64 KiB of them kept a worker busy for seconds."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + b"a," * 32000 + b"\r\n\r\n"
    head = parse_request_head(raw)
    assert isinstance(head, RequestHead)
    peer = Peer(b"192.0.2.1", False, b"http")
    began = time.process_time()
    request_lines(head, peer, trace_context(None, 1, False), b"id", None, None, False)
    # Generous for a busy machine: it took 5 s, and takes 3 ms.
    assert time.process_time() - began < 0.5


async def test_pipelined_answers_wait_for_their_reader(proxy: Proxy) -> None:
    """Only the answer that was being written when the buffer filled was ever held back."""
    flood, small = flooding(1 << 30), replying(b"x" * 50_000, "200 OK", "Date: x")

    async def handler(call: Call) -> None:
        await (flood if call.target == "/flood" else small)(call)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    before = proxy.worker.rss_mib()
    async with await proxy.connect(receive_buffer=4096) as client:
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        client.write(request * 200 + request.replace(b"/ ", b"/flood ", 1) + request * 2000)
        for at in range(200):
            response = await client.response()
            assert len(response.body) == 50_000, at
            assert proxy.worker.rss_mib() - before < 32
        assert (await client.head()).status == 200
        await client.exactly(8 << 20)
        await stays(lambda: proxy.worker.rss_mib() - before < 32, "memory")
    assert len(proxy.legacy.calls) == 201


async def test_a_pipeline_is_answered_to_its_end_however_slowly_it_is_read(proxy: Proxy) -> None:
    proxy.legacy.handler = replying(b"x" * 50_000, "200 OK", "Date: x")
    await proxy.serve(route("/*"))
    async with await proxy.connect(receive_buffer=4096) as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 300)
        client.half_close()
        for _ in range(300):
            assert len((await client.response()).body) == 50_000
        assert await client.rest() == b""


async def test_a_client_that_fell_behind_before_the_answer_began_is_waited_for(
    proxy: Proxy,
) -> None:
    """A pause that came while the exchange had no connection yet was lost."""
    flood, large = flooding(1 << 30), replying(b"x" * (6 << 20), "200 OK", "Date: x")
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.target == "/flood":
            await go.wait()
        await (flood if call.target == "/flood" else large)(call)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    before = proxy.worker.rss_mib()
    async with await proxy.connect(receive_buffer=4096) as client:
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        client.write(request + request.replace(b"/ ", b"/flood ", 1))
        assert len((await client.response()).body) == 6 << 20
        await proxy.legacy.called(2)
        go.set()
        await client.head()
        await stays(lambda: proxy.worker.rss_mib() - before < 32, "memory")


@pytest.mark.parametrize("how", ["close", "half-closed", "HTTP/1.0"])
async def test_a_slow_reader_gets_the_end_of_its_last_answer(proxy: Proxy, how: str) -> None:
    """Two seconds after the last byte was written the rest of it was thrown away."""
    size = 1 << 20
    proxy.legacy.handler = replying(b"x" * size)
    await proxy.serve(route("/*"))
    loop = asyncio.get_running_loop()
    # A raw socket: streams read ahead.
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, proxy.worker.address)
        version = b"1.0" if how == "HTTP/1.0" else b"1.1"
        line = b"Connection: close\r\n" if how == "close" else b""
        await loop.sock_sendall(sock, b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, line))
        if how == "half-closed":
            sock.shutdown(socket.SHUT_WR)
        received = 0
        slow_until = loop.time() + 3
        while data := await soon(loop.sock_recv(sock, 10_000)):
            received += len(data)
            # Slow while all the rest stands in the buffers of the proxy and the kernel.
            if loop.time() < slow_until:
                await asyncio.sleep(0.05)
        assert received > size


async def test_an_upload_waits_while_there_is_no_connection_to_send_it_on(proxy: Proxy) -> None:
    """It was taken into memory as fast as the client could send it."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.target == "/busy":
            await go.wait()
            await call.answer()
        else:
            assert await call.drop_body() == 32 << 20
            await call.answer(b"all", read=False)

    proxy.legacy.handler = handler
    busy = BackendSettings("legacy", (proxy.legacy.url,), max_connections=1, connect_timeout_s=30)
    await proxy.serve(route("/*"), states={"/*": FLAGGED}, backends={"legacy": busy})
    before = proxy.worker.rss_mib()
    async with await proxy.connect() as first, await proxy.connect() as client:
        first.write(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        await proxy.legacy.called()
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 << 20))
        client.write(b"u" * (32 << 20))
        await stays(lambda: proxy.worker.rss_mib() - before < 16, "memory")
        go.set()
        assert (await client.response()).body == b"all"


@pytest.mark.parametrize("first", ["client", "backend"])
async def test_a_tunnel_whose_halves_have_both_ended_is_over(proxy: Proxy, first: str) -> None:
    """Both connections stood for an hour after each WebSocket that ended in peace."""

    async def handler(call: Call) -> None:
        await call.send(SWITCH)
        if first == "backend":
            await call.send(b"bye")
            call.connection.writer.write_eof()
        while await call.read_some():
            pass
        if first == "client":
            await call.send(b"bye")
            call.connection.writer.write_eof()
        await go.wait()

    go = asyncio.Event()
    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    await proxy.reported(lambda totals: totals.connections.get("legacy") == 0)
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n")
        assert (await client.head()).status == 101
        if first == "client":
            client.half_close()
        assert await client.rest() == b"bye"
        if first == "backend":
            client.half_close()
        await proxy.reported(
            lambda totals: totals.connections.get("legacy") == totals.connections["client"] == 0
        )
    go.set()


async def test_a_write_that_was_refused_while_it_waited_is_not_sent(proxy: Proxy) -> None:
    """It stayed in line, was sent torn, and counted as under way for ever."""
    proxy.worker.answer_missing = False
    await proxy.serve(route("/*"))
    bad = (
        b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\nnot a size\r\n"
    )
    async with await proxy.connect() as client:
        assert (await client.ask(bad)).status == 400
    await proxy.worker.changes.until(lambda: proxy.worker.missing, "the flag is asked for")
    proxy.worker.grant_missing(proxy.worker.missing[0])
    async with await proxy.connect() as client:
        assert (await client.post("/good")).status == 200
    assert [call.target for call in proxy.legacy.calls] == ["/good"]
    await proxy.worker.set_states({"/*": structs.replace(FLAGGED, writes_paused=True)})
    await proxy.worker.changes.until(lambda: proxy.worker.quiet, "no write is under way")


async def test_a_connection_with_an_unsent_body_is_not_used_again(proxy: Proxy) -> None:
    """An early answer to a body of one piece: its rest stood in front of the next request."""

    async def handler(call: Call) -> None:
        if call.method == "POST":
            await call.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await ended.wait()
            call.reset()
        else:
            await plain(call)

    ended = asyncio.Event()
    proxy.legacy.handler = handler
    await proxy.serve(route("/*", "0%"))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x" * (12 << 20))).status == 413
        assert (await client.get("/next")).status == 200
    # It is given back at once, though the backend neither reads nor closes.
    await proxy.reported(lambda totals: totals.connections.get("legacy") == 1)
    ended.set()


def test_an_outage_of_every_url_does_not_count_beyond_all_numbers() -> None:
    """After 1,024 ejections each fifth failure raised, leaked a connection and hung its client."""
    loop = asyncio.new_event_loop()
    urls = ("http://127.0.0.1:1", "http://127.0.0.1:2")
    wheel = Wheel(loop)
    pool = Pool(BackendSettings("legacy", urls), wheel, Outbox(loop), loop, 1)
    for _ in range(6000):
        pool.count_failure(pool.endpoints[0])
    assert pool.endpoints[0].ejected_until <= wheel.now + EJECT_MAX_S
    loop.close()


@pytest.mark.parametrize("who", ["second side", "authoritative side of a client that left"])
async def test_a_switch_that_nobody_waits_for_ends_the_write(proxy: Proxy, who: str) -> None:
    """The write counted as under way for ever: authority could not move, no drain could end."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        await go.wait()
        await call.send(SWITCH)

    state = RouteState(phase("0%"), Side.LEGACY)
    if who == "second side":
        go.set()
        proxy.new.handler = handler
        await proxy.serve(route("/*", "0%", ack="authoritative"), states={"/*": state})
    else:
        state = FLAGGED
        proxy.legacy.handler = handler
        await proxy.serve(route("/*"), states={"/*": state})
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n")
        if who == "second side":
            assert (await client.response()).status == 200
            await proxy.worker.changes.until(lambda: proxy.worker.missing, "the write is missed")
        else:
            await proxy.legacy.called()
            client.reset()
            await proxy.reported(lambda totals: totals.connections.get("client") == 0)
            go.set()
    await proxy.worker.set_states({"/*": structs.replace(state, writes_paused=True)})
    await proxy.worker.changes.until(lambda: proxy.worker.quiet, "no write is under way")


@pytest.mark.parametrize("how", ["the client leaves", "the answer is torn"])
async def test_a_drain_waits_for_a_second_write_whoever_left(
    legacy: Backend, new: Backend, how: str
) -> None:
    """The worker exited in the middle of it, and no flag said that it was missed."""
    go = asyncio.Event()

    async def torn(call: Call) -> None:
        await call.read()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        await new.called()
        call.reset()

    async def slow(call: Call) -> None:
        await go.wait()
        await call.answer()

    if how == "the answer is torn":
        legacy.handler = torn
    new.handler = slow
    worker = await Worker().start()
    try:
        table = snapshot(
            [route("/*", "0%", ack="both", ack_timeout_s=30)],
            {"legacy": legacy.url, "new": new.url},
        )
        await worker.apply(table)
        async with await worker.connect() as client:
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
            await new.called()
            if how == "the client leaves":
                await worker.reported(lambda totals: sum(totals.requests.values()) == 1)
                client.reset()
            await worker.reported(lambda totals: totals.connections.get("client") == 0)
        worker.signal(signal.SIGTERM)
        await worker.reported(lambda totals: totals.draining)
        assert worker.running
        go.set()
        assert await worker.exit_code() == 0
        assert sum(worker.totals.requests.values()) == 2
    finally:
        await worker.stop()
