"""TRACE and OPTIONS count their hops; the last one answers by itself (RFC 9110 §7.6.2)."""

import pytest

from tests.edge.conftest import Proxy
from tests.harness.snapshots import route

METHODS = ["OPTIONS", "TRACE"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["5"], [b"4"]),
        (["1"], [b"0"]),
        (["10"], [b"9"]),
        (["007"], [b"6"]),
        (["9" * 18], [b"9" * 17 + b"8"]),
        (["9" * 19], [b"9" * 19]),
        (["-1"], [b"-1"]),
        (["0x"], [b"0x"]),
        ([""], [b""]),
        ([], []),
    ],
)
@pytest.mark.parametrize("method", METHODS)
async def test_a_hop_is_counted_for_both_sides(
    proxy: Proxy, method: str, given: list[str], sent: list[bytes]
) -> None:
    await proxy.serve(route("/*", "0%"))
    async with await proxy.connect() as client:
        lines = [f"MAX-Forwards:  {value} " for value in given]
        assert (await client.get("/", "A: b", *lines, "C: d", method=method)).status == 200
        await proxy.new.called()
    for side in (proxy.legacy, proxy.new):
        (call,) = side.calls
        assert call.headers_named("max-forwards") == sent
        assert (call.header("a"), call.header("c")) == (b"b", b"d")


@pytest.mark.parametrize("more", [[], ["Connection: x", "X: y"]])
@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read", "0%", "dual-write", "new-only"])
@pytest.mark.parametrize("method", METHODS)
async def test_the_last_hop_answers_and_asks_nobody(
    proxy: Proxy, method: str, phase: str, more: list[str]
) -> None:
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        for _ in range(2):
            response = await client.get("/a?b", "Max-Forwards: 0", *more, method=method)
            assert response.status == 200
            assert not response.closes
            assert response.header("x-request-id")
        assert (await client.get("/after")).status == 200
    await proxy.reported(lambda totals: totals.events["/*|max_forwards"] == 2)
    assert {call.target for call in (*proxy.legacy.calls, *proxy.new.calls)} == {"/after"}


async def test_a_trace_shows_the_way_and_no_secret(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get(
            "/a?b",
            "Cookie: a=b",
            "VIA: 1.0 fred",
            "Authorization: Basic eDp5",
            "X-Api-Key: 1",
            "Max-Forwards: 0",
            method="TRACE",
        )
    assert response.header("content-type") == b"message/http"
    assert response.body == (
        b"TRACE /a?b HTTP/1.1\r\nHost: shop.example\r\nVIA: 1.0 fred\r\nMax-Forwards: 0\r\n\r\n"
    )


async def test_options_for_the_whole_server_end_here_too(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("*", "Max-Forwards: 0", method="OPTIONS")
    assert (response.status, response.body) == (200, b"")
    assert response.header("content-length") == b"0"
    assert proxy.legacy.calls == []


@pytest.mark.parametrize("method", METHODS)
async def test_a_body_that_nobody_reads_ends_the_connection(proxy: Proxy, method: str) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.post("/", b"GET / HTTP/1.1", "Max-Forwards: 0", method=method)
        assert response.status == 200
        assert response.closes
        assert await client.ended()
    assert proxy.legacy.calls == []


async def test_an_http_1_0_client_that_keeps_its_connection_is_told_so(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        ask = b"OPTIONS / HTTP/1.0\r\nMax-Forwards: 0\r\nConnection: keep-alive\r\n\r\n"
        for _ in range(2):
            assert (await client.ask(ask)).header("connection") == b"keep-alive"
        assert (await client.ask(b"OPTIONS / HTTP/1.0\r\nMax-Forwards: 0\r\n\r\n")).closes
        assert await client.ended()


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_no_other_method_counts_hops(proxy: Proxy, method: str) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/", "Max-Forwards: 0", method=method)).status == 200
    assert proxy.legacy.calls[0].header("max-forwards") == b"0"
