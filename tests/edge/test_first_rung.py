"""What the worker compares, what it leaves to others, and what is never compared."""

import asyncio

import pytest

from proxy.core.model import (
    Compare,
)
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, hanging, replying, sending
from tests.harness.snapshots import route

# Comparing


SAME = replying(b'{"a": 1}', "200 OK", "Content-Type: application/json", "Date: x")
DIFFERENCES = {
    "same": (SAME, True),
    "other headers differ": (
        replying(b'{"a": 1}', "200 OK", "Content-Type: application/json", "X: y"), True),
    "case of a compared header's name": (
        replying(b'{"a": 1}', "200 OK", "content-type: application/json"), True),
    "body": (replying(b'{"a": 2}', "200 OK", "Content-Type: application/json"), False),
    "longer body": (replying(b'{"a": 11}', "200 OK", "Content-Type: application/json"), False),
    "status": (replying(b'{"a": 1}', "201 Created", "Content-Type: application/json"), False),
    "content type": (replying(b'{"a": 1}', "200 OK", "Content-Type: text/plain"), False),
    "location": (
        replying(b'{"a": 1}', "200 OK", "Content-Type: application/json", "Location: /x"), False),
    "content coding": (
        replying(b'{"a": 1}', "200 OK", "Content-Type: application/json",
                 "Content-Encoding: gzip"), False),
    "chunked": (
        sending(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 1}\r\n0\r\n\r\n"), True),
}  # fmt: skip


@pytest.mark.parametrize("name", ["shadow-read", "0%", "dual-write"])
@pytest.mark.parametrize("difference", DIFFERENCES)
async def test_both_answers_are_compared_byte_by_byte(
    proxy: Proxy, difference: str, name: str
) -> None:
    other, equal = DIFFERENCES[difference]
    proxy.legacy.handler, proxy.new.handler = (
        (other, SAME) if name == "dual-write" else (SAME, other)
    )
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.get("/")).body == b'{"a": 1}'
    await proxy.reported(lambda totals: totals.observations)
    assert proxy.worker.totals.observations[0].equal is equal
    result = "equal" if equal else "differing"
    assert proxy.worker.totals.comparisons == {f"/*|{result}": 1}


@pytest.mark.parametrize("name", ["shadow-read", "0%", "dual-write"])
async def test_a_server_error_of_new_differs_and_one_of_legacy_says_nothing(
    proxy: Proxy, name: str
) -> None:
    proxy.legacy.handler, proxy.new.handler = SAME, replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", name, fallback=False))
    async with await proxy.connect() as client:
        await client.get("/")
        await proxy.reported(lambda totals: totals.comparisons == {"/*|new_failed": 1})
        proxy.legacy.handler, proxy.new.handler = proxy.new.handler, proxy.legacy.handler
        await client.get("/")
    await proxy.reported(lambda totals: totals.skipped == {"/*|legacy_failed": 1})
    assert [each.equal for each in proxy.worker.totals.observations] == [False, None]


async def test_how_the_bytes_are_to_be_read_is_compared_without_any_header(proxy: Proxy) -> None:
    proxy.legacy.handler = SAME
    proxy.new.handler = replying(b'{"a": 1}', "200 OK", "Content-Encoding: gzip", "Location: /x")
    await proxy.serve(route("/*", "shadow-read", compare=Compare(headers=())))
    async with await proxy.connect() as client:
        await client.get("/")
    await proxy.reported(lambda totals: totals.comparisons == {"/*|differing": 1})


async def test_status_may_be_compared_by_class(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"x", "201 Created")
    proxy.legacy.handler = replying(b"x", "200 OK")
    await proxy.serve(route("/*", "shadow-read", compare=Compare(status="class")))
    async with await proxy.connect() as client:
        await client.get("/")
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 1)


async def test_where_both_fail_nothing_is_compared(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 500
    await proxy.reported(lambda totals: totals.comparisons["/*|both_failed"] == 1)
    assert proxy.worker.totals.errors == {"/*|legacy": 1, "/*|new": 1}


@pytest.mark.parametrize(
    "line",
    ["If-None-Match: x", "If-Modified-Since: x", "If-Match: x", "If-Range: x", "Range: bytes=0-1"],
)
async def test_conditional_requests_are_shadowed_and_not_compared(proxy: Proxy, line: str) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", line)
    call = await proxy.new.called()
    assert line.encode() in call.head
    await proxy.reported(lambda totals: totals.skipped["/*|conditional"] == 1)
    assert proxy.worker.totals.observations[0].equal is None
    assert proxy.worker.totals.eligible["/*"] == 0


async def test_errors_of_conditional_requests_count_all_the_same(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", "Range: bytes=0-1")
    await proxy.reported(lambda totals: totals.errors["/*|new"] == 1)


@pytest.mark.parametrize("name", ["shadow-read", "dual-write"])
@pytest.mark.parametrize(
    "line", ["Accept: text/event-stream", "accept: text/html, Text/Event-Stream;q=0.5"]
)
async def test_event_streams_are_not_shadowed(proxy: Proxy, name: str, line: str) -> None:
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        await client.get("/", line)
    await proxy.reported(lambda totals: totals.skipped["/*|event_stream"] == 1)
    assert len(proxy.legacy.calls) + len(proxy.new.calls) == 1


async def test_the_words_elsewhere_are_no_event_stream(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = replying(b"x", "200 OK", "X: text/event-stream")
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/text/event-stream", "X-A: text/event-stream")
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 1)


async def test_a_stream_that_was_not_announced_ends_its_shadow(proxy: Proxy) -> None:
    stop = asyncio.Event()

    async def streaming(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        await call.send(b"data: 1\n\n")
        await stop.wait()
        call.close()

    proxy.legacy.handler = streaming
    proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        await proxy.new.changes.until(
            lambda: proxy.new.connections and not proxy.new.open_connections
        )
        stop.set()
        assert await client.until(b"0\r\n\r\n") == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
    await proxy.reported(lambda totals: totals.skipped["/*|event_stream"] == 1)


async def test_compare_off_still_shadows(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=None))
    async with await proxy.connect() as client:
        await client.get("/")
    await proxy.new.called()
    await proxy.reported(lambda totals: totals.observations)
    assert proxy.worker.totals.observations[0].equal is None
    assert proxy.worker.totals.eligible["/*"] == 0


async def test_a_query_is_not_observed(proxy: Proxy) -> None:
    """It may hold secrets."""
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/a?token=secret")
    await proxy.reported(lambda totals: totals.observations)
    assert "secret" not in repr(proxy.worker.totals.observations)
