"""How messages are framed on the way: every form of body, 1xx, pipelines, half-closing."""

import asyncio

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Override
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, sending
from tests.harness.snapshots import route

BODY = b"The quick brown fox"
CHUNKED = b"3\r\nThe\r\n10;x=y\r\n quick brown fox\r\n0\r\n\r\n"
RESPONSES = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n" + BODY,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "a length, then close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 19\r\n\r\n"
    + BODY,
    "until close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
    "until close, unsaid": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "HTTP/1.0 until close": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "HTTP/1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: 19\r\n\r\n" + BODY,
    "HTTP/1.0 kept alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
    b"Content-Length: 19\r\n\r\n" + BODY,
}
CLIENTS = {
    "HTTP/1.1": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.1 closing": b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
    "HTTP/1.0 without Host": b"GET /x HTTP/1.0\r\n\r\n",
    "HTTP/1.0 kept alive": b"GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
}


@pytest.mark.parametrize("split", [False, True], ids=["in one piece", "byte by byte"])
@pytest.mark.parametrize("request_", CLIENTS.values(), ids=CLIENTS.keys())
@pytest.mark.parametrize("answer", RESPONSES.values(), ids=RESPONSES.keys())
async def test_every_form_of_response_reaches_every_client_whole(
    proxy: Proxy, answer: bytes, request_: bytes, split: bool
) -> None:
    closes = b"Content-Length" not in answer and b"chunked" not in answer
    pieces = [answer[at : at + 1] for at in range(len(answer))] if split else [answer]
    proxy.legacy.handler = sending(*pieces, close=closes)
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.ask(request_)
        assert response.status == 200
        assert response.body == BODY
        assert response.line.startswith(b"HTTP/1.1 ")
        old = b"HTTP/1.0" in request_
        if old:
            assert response.header("transfer-encoding") is None
        if b"Connection: close" in request_ or (old and b"keep-alive" not in request_):
            assert response.closes
            assert await client.ended()
        elif not response.closes:
            # The connection stands: it answers again.
            assert (await client.ask(request_)).body == BODY
        else:
            assert old
            assert response.header("content-length") is None
    assert all(call.line.endswith(b" HTTP/1.1") for call in proxy.legacy.calls)


UPLOADS = {
    "a length": (b"Content-Length: 19\r\n\r\n", BODY, BODY),
    "a length of zero": (b"Content-Length: 0\r\n\r\n", b"", b""),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n", CHUNKED, BODY),
    "chunked and empty": (b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n", b""),
    "chunks of one byte": (
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
        BODY,
    ),
}


@pytest.mark.parametrize("split", [False, True], ids=["in one piece", "byte by byte"])
@pytest.mark.parametrize(("lines", "wire", "body"), UPLOADS.values(), ids=UPLOADS.keys())
async def test_every_form_of_request_body_reaches_the_backend_whole(
    proxy: Proxy, lines: bytes, wire: bytes, body: bytes, split: bool
) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        data = b"POST /up HTTP/1.1\r\nHost: a\r\n" + lines + wire
        if split:
            client.writer.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
            for at in range(len(data)):
                await client.send(data[at : at + 1])
            response = await client.response()
        else:
            response = await client.ask(data)
        assert response.body == b"legacy POST /up %d" % len(body)
        assert proxy.legacy.calls[0].body == body
        assert (await client.get("/again")).body == b"legacy GET /again 0"


async def test_request_trailers_reach_the_backend(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 42\r\nContent-Length: 7\r\n\r\n"
        )
    call = proxy.legacy.calls[0]
    assert call.chunked
    assert call.trailers == [(b"X-Sum", b"42")]


async def test_response_trailers_reach_the_client(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Sum: 42\r\nTransfer-Encoding: x\r\n\r\n"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/", "TE: trailers")
        assert response.body == b"abc"
        assert response.trailers == [(b"X-Sum", b"42")]
        assert proxy.legacy.calls[0].header("te") == b"trailers"


CLAIMS = (
    b"X-Real-IP: 6.6.6.6\r\nX-Forwarded-Port: 1\r\nX_Forwarded_For: 6.6.6.6\r\nX-Hop: 1\r\n"
    b"Side: new\r\nX-Sum: 42\r\nCookie: a=b\r\n"
)


@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read", "dual-write"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_what_is_removed_from_headers_does_not_pass_as_a_trailer(
    proxy: Proxy, phase: str, method: bytes
) -> None:
    """A backend that joins trailers to the headers would have believed them."""
    await proxy.serve(route("/*", phase, override=Override("Side", ("10.0.0.0/8",))))
    async with await proxy.connect() as client:
        response = await client.ask(
            method + b" / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + CLAIMS + b"\r\n"
        )
        assert response.status == 200
    both = phase == "dual-write" or (phase == "shadow-read" and method == b"GET")
    for backend in (proxy.legacy, proxy.new) if both else (proxy.legacy,):
        assert (await backend.complete()).trailers == [(b"X-Sum", b"42")]


async def test_what_is_removed_from_an_answer_does_not_pass_as_a_trailer(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Hop: 1\r\nProxy-Authenticate: x\r\nLocation: /x\r\nX-Sum: 42\r\n\r\n"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/", "TE: trailers")).trailers == [(b"X-Sum", b"42")]


async def test_response_trailers_are_dropped_for_an_http_1_0_client(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.ask(b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")
    assert response.body == b"abc"
    assert response.header("trailer") is None
    # Nor are they asked for, though the request goes on as HTTP/1.1.
    assert proxy.legacy.calls[0].header("te") is None


BODILESS = {
    "HEAD with a length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
    "HEAD chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "HEAD with nothing": ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "204 with a length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    "304 with a length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
    "304 chunked": ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "200 with no body": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "answer"), BODILESS.values(), ids=BODILESS.keys())
async def test_responses_without_a_body_end_with_their_head(
    proxy: Proxy, method: str, answer: bytes
) -> None:
    proxy.legacy.handler = sending(answer)
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        for _ in range(3):
            response = await client.get("/", method=method)
            assert response.status == int(answer[9:12])
            assert response.body == b""
            if response.status == 204:
                # RFC 9110 §8.6, RFC 9112 §6.1: neither belongs there.
                assert response.header("content-length") is None
                assert response.header("transfer-encoding") is None
            elif b"500" in answer:
                assert response.header("content-length") == b"500"
    assert len(proxy.legacy.connections) == 1


STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Evil: 1\r\n\r\npoison"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + STRAY),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + STRAY),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + STRAY),
    ],
)
async def test_bytes_behind_a_response_never_reach_the_next_client(
    proxy: Proxy, method: str, answer: bytes
) -> None:
    async def handler(call: Call) -> None:
        if call.target == "/first":
            await call.send(answer)
        else:
            await call.answer(b"second")

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    for _ in range(3):
        async with await proxy.connect() as client:
            first = await client.get("/first", method=method)
            assert first.status in (200, 204, 304)
        async with await proxy.connect() as client:
            second = await client.get("/second")
            assert second.body == b"second"
            assert second.header("x-evil") is None


async def test_interim_answers_are_relayed(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: y\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/")
        assert [interim.status for interim in response.interim] == [103, 102, 103]
        assert response.interim[0].header("link") == b"</a.css>"
        assert response.interim[0].header("connection") is None
        assert response.body == b"ok"
        assert (await client.get("/")).body == b"ok"


@pytest.mark.parametrize("framing", ["Content-Length: 30", "Transfer-Encoding: chunked", ""])
async def test_an_interim_answer_frames_nothing_and_keeps_its_hop_to_itself(
    proxy: Proxy, framing: str
) -> None:
    """A client that believed its length took the answer behind it for its body."""
    lines = ["Link: x", "Connection: X-Hop", "X-Hop: 1", "X-End: 2", *filter(None, [framing])]
    proxy.legacy.handler = sending(
        ("HTTP/1.1 103 Early Hints\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/")
        assert response.interim[0].headers == [(b"Link", b"x"), (b"X-End", b"2")]
        assert response.body == b"ok"


async def test_interim_answers_are_not_for_http_1_0_clients(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert response.interim == []
        assert response.body == b"ok"


async def test_endless_interim_answers_are_no_answer(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        while True:
            await call.send(b"HTTP/1.1 102 Processing\r\n\r\n")

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/")
        assert response.status == 502
        assert len(response.interim) <= 20


async def test_interim_answers_do_not_extend_the_time_for_the_head(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        gone = asyncio.ensure_future(call.connection.reader.read(1))
        while not gone.done():
            await call.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.wait([gone], timeout=0.1)
        call.close()

    proxy.legacy.handler = handler
    slow = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=0.5)
    await proxy.serve(route("/*"), backends={"legacy": slow})
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 504


SMALL, LARGE = 100, 300_000


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
async def test_expect_100_continue_gets_the_body_moving(proxy: Proxy, size: int) -> None:
    async def handler(call: Call) -> None:
        if call.header("expect"):
            await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await call.answer(b"got %d" % len(await call.read()))

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            % size
        )
        assert (await client.head()).status == 100
        client.write(b"x" * size)
        response = await client.response()
        assert response.body == b"got %d" % size
        assert (await client.get("/")).body == b"got 0"


async def test_a_body_that_is_expected_is_not_sent_where_the_backend_refuses(
    proxy: Proxy,
) -> None:
    async def handler(call: Call) -> None:
        await call.answer(b"no", "403 Forbidden", "Connection: close", read=False)
        call.close()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.ask(
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 300000\r\n\r\n"
        )
        assert response.status == 403
        assert response.interim == []
        assert response.closes


async def test_the_backend_does_not_answer_100_by_itself(proxy: Proxy) -> None:
    """A backend that ignores Expect: the body still comes, on whoever's word."""
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
        )
        assert (await client.response()).body == b"legacy PUT / 5"


async def test_an_http_1_0_client_gets_no_100(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        response = await client.response()
        assert response.interim == []
        assert response.body == b"legacy PUT / 5"
    # It is ignored (RFC 9110 §10.1.1): forwarded in HTTP/1.1 a backend would act on it.
    assert proxy.legacy.calls[0].header("expect") is None


async def test_an_unknown_expectation_is_refused_or_passed_on(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/", "Expect: miracles")).status in (200, 417)


async def test_an_early_response_reaches_a_client_that_still_uploads(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.answer(b"too big", "413 Content Too Large", "Connection: close", read=False)
        # As real servers do: read on for a while, or the answer is lost to a reset.
        while await call.read_some():
            pass
        call.close()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 99999
        )
        response = await client.response()
        assert (response.status, response.body) == (413, b"too big")
        assert response.closes
    # The connection to the backend had a request half sent: it is never used again.
    async with await proxy.connect() as client:
        await client.get("/again")
    assert [call.connection.number for call in proxy.legacy.calls] == [0, 1]


async def test_an_early_response_and_then_the_rest_of_the_upload(proxy: Proxy) -> None:
    """A backend that answers first and reads on afterwards: the exchange is whole for both."""
    size = 2_000_000
    go_on = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.method == "GET":
            await call.answer(b"get")
            return
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nearly")
        await go_on.wait()
        await call.send(b" and")
        with_body = await call.drop_body()
        assert with_body == size

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.write(b"x" * 1000)
        head = await client.head()
        assert head.status == 200
        assert await client.exactly(5) == b"early"
        client.write(b"x" * (size - 1000))
        go_on.set()
        assert await client.exactly(4) == b" and"
    async with await proxy.connect() as client:
        assert (await client.get("/")).body == b"get"
