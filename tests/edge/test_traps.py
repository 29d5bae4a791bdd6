"""The ten traps of hand-written asyncio protocols (architecture.md), each met on purpose."""

import asyncio

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Limits
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, hanging, plain, sending
from tests.harness.snapshots import route
from tests.harness.waiting import soon

PATTERN = bytes(range(251)) * 4000  # about 1 MB, no period that buffers share


async def test_trap_1_nothing_is_written_behind_the_end(proxy: Proxy) -> None:
    """`write()` after `close()` is still sent while a flush is pending: late answers stay out."""
    late = asyncio.Event()

    async def handler(call: Call) -> None:
        await late.wait()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        # The bad chunk ends the request while the backend still works on it.
        client.write(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        await proxy.legacy.called()
        client.write(b"zz\r\n")
        response = await client.response()
        assert response.status == 400
        late.set()
        assert await client.ended()


async def test_trap_2_a_pause_inside_a_write_loses_and_repeats_nothing(proxy: Proxy) -> None:
    """`pause_writing` fires inside `write()`: one write above the high-water mark re-enters us."""
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PATTERN) + PATTERN
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect(receive_buffer=4096) as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        for _ in range(3):
            assert (await client.response(within_s=30)).body == PATTERN

    async def slow_reader(call: Call) -> None:
        body = bytearray()
        while len(body) < len(PATTERN):
            body += await call.read_some(2000)
        call.complete = True
        assert bytes(body) == PATTERN
        await call.answer(b"same", read=False)

    proxy.legacy.handler = slow_reader
    async with await proxy.connect() as client:
        assert (await client.post("/", PATTERN)).body == b"same"


async def test_trap_3_a_connection_is_resumed_before_it_is_pooled(proxy: Proxy) -> None:
    """A paused transport never sees its peer leave."""
    size = len(PATTERN)
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + PATTERN
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect(receive_buffer=4096) as client:
        for _ in range(5):
            client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.response(within_s=30)).body == PATTERN
    assert len(proxy.legacy.connections) == 1
    # Pooled and reading: the worker notices when the backend leaves.
    proxy.legacy.connections[0].writer.close()
    await proxy.legacy.changes.until(lambda: not proxy.legacy.open_connections)


async def test_trap_3_a_paused_upload_ends_by_its_deadline(proxy: Proxy) -> None:
    """The client vanishes while its upload is paused: nobody sees it, so a deadline must."""
    proxy.legacy.handler = stalling
    idle = BackendSettings("legacy", (proxy.legacy.url,), idle_timeout_s=0.5)
    await proxy.serve(route("/*"), backends={"legacy": idle})
    client = await proxy.connect()
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n")
    client.write(b"x" * 30_000_000)
    await proxy.legacy.called()
    client.reset()
    await proxy.reported(
        lambda totals: (
            totals.connections.get("client") == 0 and totals.connections.get("legacy") == 0
        )
    )


async def stalling(call: Call) -> None:
    """Reads nothing of the body; its connection ends with the backend."""
    call.connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's
    await asyncio.Event().wait()


async def test_trap_4_a_half_closed_client_is_answered_and_a_vanished_one_is_not_kept(
    proxy: Proxy,
) -> None:
    """`eof_received` must neither drop the answer nor keep a dead connection for ever."""
    gate = asyncio.Event()

    async def handler(call: Call) -> None:
        await gate.wait()
        await call.answer(b"for you")

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.half_close()
        await proxy.legacy.called()
        gate.set()
        assert (await client.response()).body == b"for you"
        assert await client.ended()
    # Half-closed with nothing asked: closed, not kept.
    async with await proxy.connect() as client:
        client.half_close()
        assert await client.ended()
    await proxy.reported(lambda totals: totals.connections.get("client") == 0)


async def test_trap_5_a_cut_body_without_length_does_not_look_complete(proxy: Proxy) -> None:
    """`abort()` ends with a clean FIN unless SO_LINGER says reset."""
    cut = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await cut.wait()
        call.close()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.head()).header("content-length") is None
        assert await client.exactly(3) == b"abc"
        cut.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_trap_6_a_refused_upload_still_hears_why(proxy: Proxy) -> None:
    """`close()` with unread input resets, and the reset takes the 413 with it."""
    await proxy.serve(route("/*"), limits=Limits(request_body_bytes=10))

    async def one() -> int:
        async with await proxy.connect() as client:
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
            client.write(b"x" * 500_000)
            return (await client.response()).status

    assert await soon(asyncio.gather(*(one() for _ in range(20)))) == [413] * 20


async def test_trap_7_one_read_with_many_requests_answers_them_one_by_one(proxy: Proxy) -> None:
    """A parser that cannot pause fires every pipelined message's callbacks at once."""
    running = most = 0

    async def handler(call: Call) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await call.read()
        await call.answer(call.target.encode())
        running -= 1

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        good = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50))
        client.write(good + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + good)
        for number in range(50):
            assert (await client.response()).body == b"/%d" % number
        assert (await client.response()).status == 400
        await client.ended()
    assert most == 1
    assert len(proxy.legacy.calls) == 50


async def test_trap_8_a_response_is_read_by_what_was_asked(proxy: Proxy) -> None:
    """HEAD has no body, 1xx is not final, close-delimited bodies end, trailers are no headers."""

    async def handler(call: Call) -> None:
        await call.read()
        if call.method == "HEAD":
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        elif call.target == "/early":
            await call.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal")
        elif call.target == "/close":
            await call.send(b"HTTP/1.1 200 OK\r\n\r\nto the end")
            call.close()
        else:
            await call.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 7\r\n"
                b"X-T: 1\r\n\r\n"
            )

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        for _ in range(3):
            assert (await client.get("/", method="HEAD")).header("content-length") == b"9"
            assert (await client.get("/early")).body == b"final"
            assert (await client.get("/close")).body == b"to the end"
            response = await client.get("/trailers")
            assert (response.body, response.trailers) == (b"", [(b"X-T", b"1")])
            assert response.header("content-length") is None


async def test_trap_9_a_backend_that_answers_early_is_not_pooled(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        if call.method == "GET":
            await plain(call)
            return
        await call.answer(b"early", read=False)
        await call.hang()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 99_999
        )
        assert (await client.response()).body == b"early"
    async with await proxy.connect() as client:
        assert (await client.get("/x")).body == b"legacy GET /x 0"
    assert [call.connection.number for call in proxy.legacy.calls] == [0, 1]
    await proxy.legacy.changes.until(lambda: proxy.legacy.connections[0].ended)


async def test_trap_10_late_callbacks_reach_no_finished_exchange(proxy: Proxy) -> None:
    """An answer with a reset on its heels, again and again, on connections that are reused."""

    async def handler(call: Call) -> None:
        await call.answer(b"x" * 10)
        if call.connection.calls % 2 == 0:
            call.reset()

    proxy.legacy.handler = proxy.new.handler = handler
    await proxy.serve(route("/*", "shadow-read"))

    async def one() -> None:
        async with await proxy.connect() as client:
            for _ in range(50):
                response = await client.get("/")
                assert (response.status, response.body) in ((200, b"x" * 10), (502, response.body))

    await soon(asyncio.gather(*(one() for _ in range(8))), within_s=30)
    proxy.legacy.handler = proxy.new.handler = plain
    async with await proxy.connect() as client:
        statuses = [(await client.get("/")).status for _ in range(20)]
        assert statuses[-10:] == [200] * 10


async def test_trap_10_latency_is_not_read_from_a_clock_of_milliseconds(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        for _ in range(20):
            await client.get("/")
    await proxy.reported(lambda totals: len(totals.observations) == 20)
    times = {observation.legacy.ms for observation in proxy.worker.totals.observations}
    assert len(times) > 5
    assert all(0 < ms < 5000 for ms in times)


async def test_a_hanging_half_closed_client_is_given_up_by_the_backends_time(
    proxy: Proxy,
) -> None:
    proxy.legacy.handler = hanging
    slow = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=0.3)
    await proxy.serve(route("/*"), backends={"legacy": slow})
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.half_close()
        assert (await client.response()).status == 504
        assert await client.ended()
