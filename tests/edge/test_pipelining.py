"""Several requests on one connection, half-closed clients, torn messages."""

import asyncio

import pytest

from proxy.core.model import Limits
from tests.edge.conftest import Proxy
from tests.edge.test_smuggling import check_problem
from tests.harness.backend import Call, plain, sending
from tests.harness.snapshots import route
from tests.harness.waiting import soon

CHUNKED_X = b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"


async def test_pipelined_requests_are_answered_in_order(proxy: Proxy) -> None:
    release = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.read()
        if call.target == "/0":
            await release.wait()
        await call.answer(f"{call.target} {call.body.decode()}".encode())

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(
            b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            b"HEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
            b"\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        await proxy.legacy.called(1)
        assert len(proxy.legacy.calls) == 1
        release.set()
        assert (await client.response()).body == b"/0 "
        assert (await client.response()).body == b"/1 abc"
        assert (await client.response("HEAD")).header("content-length") == b"3"
        assert (await client.response()).body == b"/3 de"
        assert (await client.response()).body == b"/4 "
    assert [call.target for call in proxy.legacy.calls] == [f"/{n}" for n in range(5)]


async def test_a_thousand_pipelined_requests(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    count = 1000
    async with await proxy.connect() as client:
        client.write(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count))
        )
        for number in range(count):
            assert (await client.response()).body == b"legacy GET /%d 0" % number


@pytest.mark.parametrize("request_end", [b"\r\n", CHUNKED_X], ids=["bodiless", "chunked"])
async def test_what_a_client_sends_ahead_waits_outside(proxy: Proxy, request_end: bytes) -> None:
    """Each request that was answered let more in than it was long: memory without end."""
    count = 400
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        if len(proxy.legacy.calls) > count:
            await go.wait()
        # The next one needs a new connection: its body has to wait for it.
        await call.answer(b"", "200 OK", "Connection: close")
        call.close()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    before = proxy.worker.rss_mib()
    async with await proxy.connect() as client:
        client.write((b"GET / HTTP/1.1\r\nHost: a\r\n" + request_end) * 1_000_000)
        await proxy.legacy.called(count + 1, within_s=60)
        assert proxy.worker.rss_mib() - before < 8
        client.reset()
        go.set()


@pytest.mark.parametrize("end", ["half closed", "kept open"])
async def test_a_pipeline_longer_than_the_buffer_is_answered_whole(proxy: Proxy, end: str) -> None:
    """Bodies and heads of all lengths, and cuts in every place."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.read()
        await go.wait()
        await call.answer(f"{call.target} {len(call.body)}".encode())

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"), limits=Limits(header_bytes=300_000))
    requests, answers = [], []
    for at in range(30):
        size = (at * 79_190) % 400_000
        body = b"b" * size
        requests.append(
            b"GET /%d HTTP/1.1\r\nHost: a\r\nA: %b\r\n\r\n" % (at, b"a" * (at % 7 * 30_000))
            + b"GET /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (at, size, body)
            + b"\r\nPUT /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % at
            + b"1\r\nx\r\n" * (at % 5) + b"%x\r\n%b\r\n0\r\n\r\n" % (size + 1, b"c" + body)
        )  # fmt: skip
        lengths = (0, size, at % 5 + size + 1)
        answers += [b"/%d %d" % (at, length) for length in lengths]
    async with await proxy.connect() as client:
        client.write(b"".join(requests))
        if end == "half closed":
            client.half_close()
        await proxy.legacy.called()
        go.set()
        for answer in answers:
            assert (await client.response()).body == answer
        if end == "half closed":
            assert await client.ended()
        else:
            assert (await client.get("/last")).body == b"/last 0"


async def test_nothing_is_answered_behind_a_closing_request(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(
            b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert (await client.response()).body == b"legacy GET /1 0"
        await client.ended()
    assert len(proxy.legacy.calls) == 1


async def test_a_half_closed_client_gets_its_answer(proxy: Proxy) -> None:
    release = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.read()
        await release.wait()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200000)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        client.half_close()
        await proxy.legacy.complete()
        release.set()
        assert len((await client.response()).body) == 200000
        assert await client.ended()


async def test_pipelined_requests_of_a_half_closed_client_are_all_answered(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        client.half_close()
        assert (await client.response()).body == b"legacy GET /1 0"
        assert (await client.response()).body == b"legacy GET /2 0"
        assert await client.ended()


async def test_a_client_that_stops_in_the_middle_of_its_body_tears_the_exchange(
    proxy: Proxy,
) -> None:
    """A torn upload must not look whole to the backend."""
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 100000
        )
        await proxy.legacy.called()
        client.half_close()
        check_problem(await client.response(), 400)
        assert await client.ended()
    await proxy.legacy.changes.until(lambda: proxy.legacy.calls[0].failed, "the torn request")
    assert not proxy.legacy.calls[0].complete
    await proxy.reported(lambda totals: totals.events["/*|write_torn"] == 1)


PARTS = {
    "streams": b"Content-Length: 300000\r\n\r\nabc",
    "is awaited": b"Content-Length: 5\r\n\r\nabc",
    "is not there": b"Content-Length: 5\r\n\r\n",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("phase", ["legacy-only", "dual-write"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_half_closed_pipeline_that_ends_in_a_body_is_over_at_once(
    proxy: Proxy, method: bytes, phase: str, part: str
) -> None:
    """The rest of the body was waited for, as long as a client may pause."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.target == "/first":
            await go.wait()
        await plain(call)

    proxy.legacy.handler = proxy.new.handler = handler
    await proxy.worker.forget_refusals()
    await proxy.serve(route("/*", phase), limits=Limits(body_idle_s=60))
    first = proxy.new if phase == "dual-write" else proxy.legacy
    async with await proxy.connect() as client:
        client.write(
            b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
            + method + b" /second HTTP/1.1\r\nHost: a\r\n" + PARTS[part]
        )  # fmt: skip
        client.half_close()
        await first.called()
        go.set()
        assert (await client.response()).body == f"{first.name} GET /first 0".encode()
        check_problem(await client.response(), 400)
        assert await client.ended()
    await proxy.reported(lambda totals: totals.refused["body_cut"] == 1)
    totals = proxy.worker.totals
    assert totals.errors.total() == 0
    for backend in (proxy.legacy, proxy.new):
        assert not any(call.complete for call in backend.calls if call.target == "/second")


async def test_a_torn_chunked_upload_does_not_get_its_end(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    client = await proxy.connect()
    client.write(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n"
    )  # fmt: skip
    await proxy.legacy.called()
    client.reset()
    await proxy.legacy.changes.until(lambda: proxy.legacy.calls[0].failed, "the torn request")
    assert not proxy.legacy.calls[0].complete


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ],
    ids=["length", "chunked", "bad chunk"],
)
async def test_a_torn_response_does_not_look_whole(proxy: Proxy, answer: bytes) -> None:
    proxy.legacy.handler = sending(answer, close=True)
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()


async def test_a_torn_close_delimited_response_ends_in_a_reset(proxy: Proxy) -> None:
    """The backend's reset in the middle of a body without length is passed on as one."""

    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.0 200 OK\r\n\r\npartial")
        await sent.wait()
        call.reset()

    sent = asyncio.Event()
    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.head()).status == 200
        assert await client.exactly(7) == b"partial"
        sent.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_an_empty_line_before_a_request_is_forgiven(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.ask(b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        await client.send(b"\r")
        await client.send(b"\n")
        assert (await client.ask(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200


async def test_heads_and_bodies_of_many_connections_do_not_mix(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        body = await call.read()
        await call.answer(call.target.encode() + b" " + body)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))

    async def one(number: int) -> None:
        async with await proxy.connect() as client:
            for turn in range(10):
                body = b"%d.%d" % (number, turn)
                response = await client.post(f"/{number}", body)
                assert response.body == b"/%d %b" % (number, body)

    await soon(asyncio.gather(*(one(number) for number in range(30))))
