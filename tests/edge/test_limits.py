"""Each limit, its status, and the problem+json that says so."""

import asyncio
import json
import socket
import time

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Limits
from tests.edge.conftest import Proxy
from tests.edge.test_smuggling import check_problem, refused
from tests.harness.backend import (
    Call,
    flooding,
    hanging,
    resetting,
    sending,
)
from tests.harness.ports import unused_port
from tests.harness.snapshots import route
from tests.harness.waiting import soon


async def test_431_for_too_many_headers(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(headers=10))
    async with await proxy.connect() as client:
        assert (await client.get("/", *["A: b"] * 9)).status == 200
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 10 + b"\r\n")
        await refused(client, 431)


@pytest.mark.parametrize("complete", [True, False])
async def test_431_for_a_head_that_is_too_long(proxy: Proxy, complete: bool) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_bytes=1000))
    async with await proxy.connect() as client:
        client.write(
            b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 2000 + b"\r\n\r\n"[: 4 * complete]
        )
        await refused(client, 431)
    assert proxy.legacy.calls == []


@pytest.mark.parametrize("complete", [True, False])
async def test_414_for_a_target_that_is_too_long(proxy: Proxy, complete: bool) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_bytes=1000))
    async with await proxy.connect() as client:
        end = b" HTTP/1.1\r\nHost: a\r\n\r\n" if complete else b""
        client.write(b"GET /" + b"b" * 2000 + end)
        await refused(client, 414)


async def test_a_problem_has_the_title_of_rfc_9110(proxy: Proxy) -> None:
    """Those of Python 3.11 and 3.12 are of RFC 2616."""
    await proxy.serve(route("/*"), limits=Limits(header_bytes=1000, request_body_bytes=10))
    for request, title in (
        (b"GET /" + b"b" * 2000, "URI Too Long"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", "Content Too Large"),
    ):
        async with await proxy.connect() as client:
            response = await client.ask(request)
        assert json.loads(response.body)["title"] == title
        assert response.line.endswith(title.encode())


async def test_a_head_of_64_kib_passes(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/" + "a" * 30_000, "A: " + "b" * 30_000)).status == 200
    assert proxy.legacy.calls[0].target == "/" + "a" * 30_000


async def test_413_for_a_declared_body(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(request_body_bytes=1000))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x" * 1000)).status == 200
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)
        await refused(client, 413)
    assert len(proxy.legacy.calls) == 1


@pytest.mark.parametrize("size", [2_000, 200_000])
async def test_413_for_a_chunked_body(proxy: Proxy, size: int) -> None:
    await proxy.serve(route("/*"), limits=Limits(request_body_bytes=size))
    async with await proxy.connect() as client:
        client.write(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size
            + b"x" * size
            + b"\r\n1\r\nx\r\n0\r\n\r\n"
        )
        await refused(client, 413)
    assert not any(call.complete for call in proxy.legacy.calls)


async def test_a_client_that_goes_on_uploading_still_reads_its_413(proxy: Proxy) -> None:
    """Trap 6: closing with unread input resets, and the reset takes the answer with it."""
    await proxy.serve(route("/*"), limits=Limits(request_body_bytes=1000))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
        for _ in range(30):
            client.write(b"x" * 100_000)
        check_problem(await client.response(), 413)


async def test_408_for_a_head_that_does_not_end(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_timeout_s=0.3))
    await proxy.worker.forget_refusals()
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
        await refused(client, 408)
    await proxy.reported(lambda totals: totals.refused["header_timeout"] == 1)


async def test_408_comes_in_time_for_a_head_that_trickles(proxy: Proxy) -> None:
    """A byte now and then does not extend the deadline of a head."""
    await proxy.serve(route("/*"), limits=Limits(header_timeout_s=0.5))
    async with await proxy.connect() as client:
        answer = asyncio.ensure_future(client.response())
        started = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 2000:
            client.write(bytes([byte]))
            done, _ = await asyncio.wait([answer], timeout=0.02)
            if done:
                break
        check_problem(await answer, 408)
        assert time.monotonic() - started < 3


async def test_408_for_a_second_head_that_does_not_end(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_timeout_s=0.3))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 200
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
        await refused(client, 408)


async def test_408_for_a_pipelined_head_that_does_not_end(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_timeout_s=0.3))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n")
        assert (await client.response()).status == 200
        await refused(client, 408)


async def test_a_connection_that_says_nothing_is_closed_without_a_word(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_timeout_s=0.3))
    async with await proxy.connect() as client:
        assert await client.ended()


async def test_an_idle_connection_is_closed_without_a_word(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(client_idle_s=0.3, header_timeout_s=30))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 200
        assert await client.ended()


async def test_an_empty_line_behind_a_body_is_no_head_that_has_begun(proxy: Proxy) -> None:
    """As old clients send it: a 408 would be the answer to a request that nobody made."""
    await proxy.worker.forget_refusals()
    await proxy.serve(route("/*"), limits=Limits(client_idle_s=0.3, header_timeout_s=30))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\r\n")
        assert (await client.response()).status == 200
        assert await client.ended()
    assert not proxy.worker.totals.refused["header_timeout"]


async def test_408_for_a_head_behind_an_empty_line_that_does_not_end(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(header_timeout_s=0.3))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\r\nG")
        assert (await client.response()).status == 200
        await refused(client, 408)


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize("phase", ["legacy-only", "dual-write"])
async def test_408_for_a_body_that_stops_arriving(proxy: Proxy, phase: str, size: int) -> None:
    await proxy.serve(route("/*", phase), limits=Limits(body_idle_s=0.3))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nxx" % size)
        await refused(client, 408)
    for backend in (proxy.legacy, proxy.new):
        assert not any(call.complete for call in backend.calls)


async def test_a_client_that_does_not_read_its_answer_is_cut(proxy: Proxy) -> None:
    proxy.legacy.handler = flooding(200 << 20)
    await proxy.serve(route("/*"), limits=Limits(body_idle_s=0.5))
    async with await proxy.connect(receive_buffer=4096) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await proxy.legacy.changes.until(
            lambda: proxy.legacy.connections and proxy.legacy.connections[0].ended,
            "the backend's connection to be given up",
        )
    assert proxy.legacy.bytes_sent < 100 << 20


async def test_503_beyond_the_bound_of_connections(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(connections=5))
    clients = [await proxy.connect() for _ in range(5)]
    for client in clients:
        assert (await client.get("/")).status == 200
    async with await proxy.connect() as one_more:
        one_more.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await one_more.response()
        check_problem(response, 503)
        assert response.header("retry-after")
    clients.pop().close()

    async def room() -> bool:
        async with await proxy.connect() as client:
            return (await client.get("/")).status == 200

    async def until_room() -> None:
        while not await room():
            pass

    await soon(until_room())
    for client in clients:
        client.close()


async def test_502_where_nobody_listens(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), backends={"legacy": f"http://127.0.0.1:{unused_port()}"})
    await answers_problem(proxy, 502)


async def test_502_where_the_name_does_not_exist(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), backends={"legacy": "http://no-such-host.invalid:80"})
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.response()
        assert response.status in (502, 504)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 300_000,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/2.0 200 OK\r\n\r\n",
    ],
    ids=[
        "nothing", "no HTTP", "SSH", "two lengths", "two framings", "line feeds", "endless head",
        "2000 headers", "unasked 101", "half a head", "HTTP/2.0",
    ],
)  # fmt: skip
async def test_502_for_an_answer_that_is_not_clean_http(proxy: Proxy, answer: bytes) -> None:
    proxy.legacy.handler = sending(answer, close=True)
    await proxy.serve(route("/*"))
    await answers_problem(proxy, 502)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\nok",),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\n\n",),
        (b"HTTP/1.1 200 OK\r", b"\nA: b\r\n", b"A: b\n"),
    ],
    ids=["all lines", "one line", "after an interim answer", "in a later piece"],
)
async def test_502_at_once_for_line_feeds(proxy: Proxy, pieces: tuple[bytes, ...]) -> None:
    """The end of the head was waited for: 504 after the whole time."""
    proxy.legacy.handler = sending(*pieces)
    slow = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=60, idle_timeout_s=60)
    await proxy.serve(route("/*"), backends={"legacy": slow})
    await answers_problem(proxy, 502)


async def test_a_line_end_in_two_pieces_is_one(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r")
        await seen.wait()
        await call.send(b"\nContent-Length: 2\r\n\r\nok")

    seen = asyncio.Event()
    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.head()).status == 103
        seen.set()
        assert (await client.response()).body == b"ok"


async def test_502_for_a_reset(proxy: Proxy) -> None:
    proxy.legacy.handler = resetting
    await proxy.serve(route("/*"))
    await answers_problem(proxy, 502)


async def test_504_for_a_backend_that_does_not_answer(proxy: Proxy) -> None:
    proxy.legacy.handler = hanging
    slow = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=0.3)
    await proxy.serve(route("/*"), backends={"legacy": slow})
    await answers_problem(proxy, 504)
    await proxy.reported(lambda totals: totals.errors["/*|legacy"] == 1)


async def test_504_where_the_head_trickles(proxy: Proxy) -> None:
    """`timeout` runs to the end of the response head, not from byte to byte."""

    async def trickling(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\n")
        gone = asyncio.ensure_future(call.connection.reader.read(1))
        while not gone.done():
            await call.send(b"A: b\r\n")
            await asyncio.wait([gone], timeout=0.05)
        call.close()

    proxy.legacy.handler = trickling
    slow = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=0.3)
    await proxy.serve(route("/*"), backends={"legacy": slow})
    await answers_problem(proxy, 504)


async def test_a_body_that_stops_coming_is_cut_after_idle_timeout(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        await call.hang()

    proxy.legacy.handler = handler
    idle = BackendSettings("legacy", (proxy.legacy.url,), idle_timeout_s=0.3)
    await proxy.serve(route("/*"), backends={"legacy": idle})
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.head()).status == 200
        assert await client.exactly(3) == b"abc"
        assert not await client.ended()
    await proxy.reported(lambda totals: totals.errors["/*|legacy"] == 1)


async def test_504_for_a_connection_that_is_never_accepted(proxy: Proxy) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    full = []
    try:
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            full.append(sock)
        port = listener.getsockname()[1]
        slow = BackendSettings("legacy", (f"http://127.0.0.1:{port}",), connect_timeout_s=0.3)
        await proxy.serve(route("/*"), backends={"legacy": slow})
        await answers_problem(proxy, 504)
    finally:
        for sock in full:
            sock.close()
        listener.close()


async def test_503_where_every_connection_is_busy_for_too_long(proxy: Proxy) -> None:
    release = asyncio.Event()

    async def handler(call: Call) -> None:
        await release.wait()
        await call.answer(b"late")

    proxy.legacy.handler = handler
    small = BackendSettings("legacy", (proxy.legacy.url,), max_connections=1, connect_timeout_s=0.3)
    await proxy.serve(route("/*"), backends={"legacy": small})
    async with await proxy.connect() as first:
        first.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await proxy.legacy.called()
        async with await proxy.connect() as second:
            response = await second.get("/")
            assert response.status == 503
            assert response.header("retry-after")
        release.set()
        assert (await first.response()).body == b"late"
    assert len(proxy.legacy.connections) == 1


async def answers_problem(proxy: Proxy, status: int) -> None:
    """The proxy's own answer; the client's connection is not to blame and stays."""
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: my-id\r\n\r\n")
        response = await client.response()
        assert response.status == status
        assert response.header("content-type") == b"application/problem+json"
        assert response.header("x-request-id") == b"my-id"
        assert b"my-id" in response.body
        if not response.closes:
            client.write(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await client.response("HEAD")
            assert head.status == status
            assert head.body == b""
