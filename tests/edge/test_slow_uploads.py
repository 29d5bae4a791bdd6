"""Bodies that come slowly: whose time runs out, the client's or the backend's."""

import asyncio
import json
import time

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Limits
from tests.edge.conftest import Proxy
from tests.edge.test_smuggling import check_problem
from tests.harness.backend import Call, resetting
from tests.harness.snapshots import route

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def serve(proxy: Proxy, body_idle_s: float, idle_timeout_s: float, phase: str) -> None:
    """A route whose side that is asked has this idle time-out."""
    await proxy.worker.forget_refusals()
    await proxy.serve(
        route("/*", phase),
        limits=Limits(body_idle_s=body_idle_s),
        backends={
            name: BackendSettings(name, (backend.url,), idle_timeout_s=idle_timeout_s)
            for name, backend in (("legacy", proxy.legacy), ("new", proxy.new))
        },
    )


async def blamed_on_the_client(proxy: Proxy) -> None:
    """It is counted as refused, and as no side's error or trial."""
    await proxy.reported(lambda totals: totals.refused["body_timeout"] == 1)
    totals = proxy.worker.totals
    assert totals.errors.total() == totals.trials.total() == 0


@pytest.mark.parametrize(
    ("phase", "idle_timeout_s"), [("legacy-only", 60.0), ("legacy-only", 0.2), ("new-only", 0.2)]
)
@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"5;", b"a"),
        (b"", b"0"),
        (b"1\r\nx\r\n5;", b"a"),
        (b"1\r\nx\r\n0\r\nA: ", b"a"),
    ],
    ids=["extension", "size", "second extension", "trailer"],
)
async def test_408_for_a_body_of_which_only_its_framing_comes(
    proxy: Proxy, begin: bytes, more: bytes, phase: str, idle_timeout_s: float
) -> None:
    """The client's time never ran out for that, and the backend's did: it counted as its error."""
    await serve(proxy, 0.5, idle_timeout_s, phase)
    async with await proxy.connect() as client:
        answer = asyncio.ensure_future(client.response())
        client.write(CHUNKED + begin)
        end = time.monotonic() + 5
        while not (await asyncio.wait([answer], timeout=0.05))[0]:
            assert time.monotonic() < end, "they won time"
            client.write(more)
        check_problem(await answer, 408)
    await blamed_on_the_client(proxy)


@pytest.mark.parametrize("phase", ["legacy-only", "new-only"])
async def test_408_for_a_body_that_is_announced_and_never_sent(proxy: Proxy, phase: str) -> None:
    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await call.hang()

    proxy.legacy.handler = proxy.new.handler = handler
    await serve(proxy, 0.6, 0.2, phase)
    async with await proxy.connect() as client:
        client.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.head()).status == 100
        check_problem(await client.response(), 408)
    await blamed_on_the_client(proxy)


async def test_a_body_may_come_more_slowly_than_the_backend_may_answer(proxy: Proxy) -> None:
    """The pauses are the client's, and shorter than those it may make."""
    await serve(proxy, 30.0, 0.2, "legacy-only")
    async with await proxy.connect() as client:
        client.write(CHUNKED)
        for _ in range(2):
            client.write(b"1\r\nx\r\n")
            # Nothing is awaited here: this is how slow it is.
            await asyncio.sleep(0.6)
        client.write(b"0\r\n\r\n")
        assert (await client.response()).status == 200
    assert proxy.legacy.calls[0].body == b"xx"


async def test_an_answer_that_began_has_its_whole_time_behind_the_body(proxy: Proxy) -> None:
    """What was left of it when the body ended was how long the client had waited."""

    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        await call.read()
        await asyncio.sleep(0.9)
        await call.send(b"cde")

    proxy.legacy.handler = handler
    await serve(proxy, 30.0, 1.5, "legacy-only")
    async with await proxy.connect() as client:
        client.write(CHUNKED + b"1\r\nx\r\n")
        assert (await client.head()).status == 200
        assert await client.exactly(2) == b"ab"
        await asyncio.sleep(1.0)
        client.write(b"0\r\n\r\n")
        assert await client.exactly(3) == b"cde"


@pytest.mark.parametrize("phase", ["legacy-only", "new-only"])
@pytest.mark.parametrize("half_closes", [False, True], ids=["stops", "half-closes"])
async def test_an_early_answer_comes_whole_to_a_client_that_stops_its_body(
    proxy: Proxy, half_closes: bool, phase: str
) -> None:
    """As RFC 9112 §9.5 tells it to."""

    async def handler(call: Call) -> None:
        await call.read_some()
        await call.send(b"HTTP/1.1 403 Forbidden\r\nDate: x\r\nContent-Length: 4\r\n\r\na")
        for piece in (b"b", b"c", b"d"):
            # Nothing is awaited here: this is how slow it is.
            await asyncio.sleep(0.4)
            await call.send(piece)
        await call.hang()

    proxy.legacy.handler = proxy.new.handler = handler
    await serve(proxy, 0.2, 30.0, phase)
    async with await proxy.connect() as client:
        client.write(POST + b"Content-Length: 500000\r\n\r\n" + b"u" * 1000)
        assert (await client.head()).status == 403
        if half_closes:
            client.half_close()
        assert await client.rest() == b"abcd"
    for backend in (proxy.legacy, proxy.new):
        assert not any(call.complete for call in backend.calls)
    assert not proxy.worker.totals.refused["body_timeout"]


async def test_an_early_answer_that_stops_with_the_body_is_cut(proxy: Proxy) -> None:
    """Else they would wait for each other for ever."""

    async def handler(call: Call) -> None:
        await call.read_some()
        await call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\na")
        await call.hang()

    proxy.legacy.handler = handler
    await serve(proxy, 0.2, 0.5, "legacy-only")
    async with await proxy.connect() as client:
        client.write(POST + b"Content-Length: 500000\r\n\r\n" + b"u" * 1000)
        assert (await client.head()).status == 403
        assert await client.exactly(1) == b"a"
        assert not await client.ended()
    await blamed_on_the_client(proxy)


async def test_504_for_a_backend_that_does_not_take_the_body(proxy: Proxy) -> None:
    """The client would send: it is the backend that is idle."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        call.connection.reader._transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's
        await go.wait()
        call.reset()

    proxy.legacy.handler = handler
    await serve(proxy, 0.3, 0.5, "legacy-only")
    async with await proxy.connect() as client:
        client.write(POST + b"Content-Length: %d\r\n\r\n" % (32 << 20) + b"u" * (32 << 20))
        check_problem(await client.response(), 504)
    await proxy.reported(lambda totals: totals.errors["/*|legacy"] == 1)
    assert not proxy.worker.totals.refused["body_timeout"]
    go.set()


@pytest.mark.parametrize("stalls_s", [0.0, 1.5], ids=["at once", "after the client stalled"])
async def test_a_backend_that_breaks_off_a_stalled_upload_is_not_to_blame(
    proxy: Proxy, stalls_s: float
) -> None:
    """By a time-out of its own, which a client can run into whenever it likes."""

    async def handler(call: Call) -> None:
        await call.read_some()
        # Nothing is awaited here: this is how long the client stalls.
        await asyncio.sleep(stalls_s)
        await resetting(call)

    proxy.legacy.handler = proxy.new.handler = handler
    await serve(proxy, 30.0, 60.0, "new-only")
    async with await proxy.connect() as client:
        client.write(CHUNKED + b"1\r\nx\r\n")
        answer = await client.response()
        assert answer.status == (503 if stalls_s else 502)
    blamed = 0 if stalls_s else 1
    await proxy.reported(lambda totals: totals.requests.total() == 1)
    assert proxy.worker.totals.errors.total() == blamed


@pytest.mark.parametrize("how", ["stall", "trickle"])
async def test_clients_that_hold_all_connections_are_not_the_error_of_a_backend(
    proxy: Proxy, how: str
) -> None:
    """Those that sent a byte now and then were not taken for slow: it was the backend's error."""
    proxy.new.handler = proxy.legacy.handler = lambda call: call.hang()
    backends: dict[str, object] = {
        name: BackendSettings(name, (backend.url,), max_connections=2, connect_timeout_s=1.5)
        for name, backend in (("legacy", proxy.legacy), ("new", proxy.new))
    }
    await proxy.worker.forget_refusals()
    await proxy.serve(route("/*", "new-only"), backends=backends)
    async with await proxy.connect() as one, await proxy.connect() as two:
        for client in (one, two):
            client.write(CHUNKED + b"1\r\nx\r\n")
        await proxy.new.changes.until(lambda: len(proxy.new.calls) == 2, "both uploads")
        async with await proxy.connect() as third:
            third.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            coming = asyncio.ensure_future(third.response())
            while not (await asyncio.wait([coming], timeout=0.2))[0]:
                if how == "trickle":
                    for client in (one, two):
                        client.write(b"1\r\nx\r\n")
            answer = await coming
            assert (answer.status, json.loads(answer.body)["code"]) == (503, "new_client_slow")
    await proxy.reported(lambda totals: totals.requests.total() >= 1)
    assert proxy.worker.totals.errors.total() == 0
