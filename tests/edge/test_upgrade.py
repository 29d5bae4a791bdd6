"""Upgrade: a tunnel to the authoritative side, byte for byte both ways, never shadowed."""

import asyncio
import json

import pytest

from proxy.core.model import Backend as BackendSettings
from tests.edge.conftest import Proxy
from tests.harness.backend import Call
from tests.harness.client import Client
from tests.harness.snapshots import route
from tests.harness.waiting import soon

HANDSHAKE = (
    b"GET /ws?x=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def echo(call: Call) -> None:
    """Switches, then sends everything back."""
    await call.send(SWITCH)
    while data := await call.read_some():
        await call.send(data)
    call.close()


async def upgraded(client: Client) -> None:
    client.write(HANDSHAKE)
    head = await client.head()
    assert head.status == 101
    assert head.header("upgrade") == b"websocket"
    assert (head.header("connection") or b"").lower() == b"upgrade"
    assert head.header("sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


SIDES = {
    "legacy-only": "legacy",
    "shadow-read": "legacy",
    "0%": "legacy",
    "dual-write": "new",
    "new-only": "new",
}


@pytest.mark.parametrize(("phase", "side"), SIDES.items())
async def test_the_authoritative_side_gets_the_tunnel_alone(
    proxy: Proxy, phase: str, side: str
) -> None:
    proxy.legacy.handler = proxy.new.handler = echo
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        await upgraded(client)
        await client.send(b"hello")
        assert await client.exactly(5) == b"hello"
    asked, other = (proxy.legacy, proxy.new) if side == "legacy" else (proxy.new, proxy.legacy)
    assert len(asked.calls) == 1
    assert asked.calls[0].header("upgrade") == b"websocket"
    assert (asked.calls[0].header("connection") or b"").lower() == b"upgrade"
    assert asked.calls[0].header("via") == b"1.1 banyan"
    assert other.calls == []
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 1)
    assert sum(proxy.worker.totals.eligible.values()) == 0


async def test_bytes_sent_ahead_of_the_switch_are_not_lost(proxy: Proxy) -> None:
    proxy.legacy.handler = echo
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(HANDSHAKE + b"early")
        assert (await client.head()).status == 101
        assert await client.exactly(5) == b"early"


async def test_bytes_sent_with_the_switch_are_not_lost(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.send(SWITCH + b"welcome")
        await call.hang()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await upgraded(client)
        assert await client.exactly(7) == b"welcome"


async def test_a_megabyte_goes_both_ways(proxy: Proxy) -> None:
    proxy.legacy.handler = echo
    await proxy.serve(route("/*"))
    data = bytes(range(256)) * 8192
    async with await proxy.connect() as client:
        await upgraded(client)
        sending = asyncio.ensure_future(client.send(data))
        assert await client.exactly(len(data)) == data
        await sending


async def test_a_half_closed_tunnel_still_carries_the_other_way(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.send(SWITCH)
        received = b""
        while data := await call.read_some():
            received += data
        await call.send(b"all: " + received)
        call.close()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await upgraded(client)
        client.write(b"abc")
        client.half_close()
        assert await client.rest() == b"all: abc"


async def test_a_client_that_half_closes_before_the_switch_ends_its_half_of_the_tunnel(
    proxy: Proxy,
) -> None:
    """The backend waited for the rest, and both connections stood for an hour."""
    go = asyncio.Event()

    async def handler(call: Call) -> None:
        await go.wait()
        await echo(call)

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(HANDSHAKE + b"ahead")
        client.half_close()
        await proxy.legacy.called()
        # The worker has read both by the time it answers somebody else.
        async with await proxy.connect() as other:
            other.write(b"BAD\r\n\r\n")
            assert (await other.response()).status == 400
        go.set()
        assert (await client.head()).status == 101
        assert await client.rest() == b"ahead"


async def test_the_backend_half_closes_and_the_client_goes_on(proxy: Proxy) -> None:
    received = bytearray()

    async def handler(call: Call) -> None:
        await call.send(SWITCH + b"bye")
        call.connection.writer.write_eof()
        while data := await call.read_some():
            received.extend(data)
        call.backend.changes.notify()
        call.close()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await upgraded(client)
        assert await client.rest() == b"bye"
        await client.send(b"late words")
        client.half_close()
        await proxy.legacy.changes.until(lambda: bytes(received) == b"late words")


async def test_a_client_that_vanishes_takes_the_tunnel_with_it(proxy: Proxy) -> None:
    proxy.legacy.handler = echo
    await proxy.serve(route("/*"))
    client = await proxy.connect()
    await upgraded(client)
    client.reset()
    await proxy.legacy.changes.until(lambda: not proxy.legacy.open_connections)


async def test_a_backend_that_vanishes_takes_the_tunnel_with_it(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.send(SWITCH)
        await call.read_some()
        call.reset()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await upgraded(client)
        client.write(b"x")
        await client.ended()


async def test_a_backend_that_declines_answers_plainly(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(HANDSHAKE)
        response = await client.response()
        assert response.body == b"legacy GET /ws?x=1 0"
        assert (await client.get("/after")).status == 200


async def test_a_tunnel_is_never_pooled(proxy: Proxy) -> None:
    proxy.legacy.handler = echo
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await upgraded(client)
    await proxy.legacy.changes.until(lambda: not proxy.legacy.open_connections)


async def test_a_tunnel_outlives_a_new_table(proxy: Proxy) -> None:
    proxy.legacy.handler = echo
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await upgraded(client)
        await proxy.serve(route("/*", "new-only"), backends={"legacy": proxy.new.url})
        await client.send(b"still here")
        assert await client.exactly(10) == b"still here"


async def test_upgrade_without_connection_is_only_a_header(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/", "Upgrade: websocket")).status == 200
    assert proxy.legacy.calls[0].header("upgrade") is None


async def test_an_http_1_0_client_cannot_upgrade(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await client.response()).status == 200
    assert proxy.legacy.calls[0].header("upgrade") is None


@pytest.mark.parametrize(
    "protocol",
    ["h2c", "H2C", "h2", "h2c-14", "websocket, h2c", "HTTP/2.0", "HTTP/1.1", "TLS/1.0, HTTP/1.1"],
)
async def test_http_in_a_tunnel_is_not_offered_to_the_backend(proxy: Proxy, protocol: str) -> None:
    """It would carry requests past every rule (h2c smuggling)."""
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.get(
            "/",
            "Connection: Upgrade, HTTP2-Settings",
            f"Upgrade: {protocol}",
            "HTTP2-Settings: AAMA",
        )
    assert proxy.legacy.calls[0].header("upgrade") is None
    assert proxy.legacy.calls[0].header("http2-settings") is None


async def test_tunnels_that_hold_all_connections_are_not_the_error_of_a_backend(
    proxy: Proxy,
) -> None:
    """Who opened enough of them could have a healthy side reverted."""
    proxy.new.handler = echo
    few = BackendSettings("new", (proxy.new.url,), max_connections=2, connect_timeout_s=0.5)
    await proxy.serve(route("/*", "new-only", fallback=False), backends={"new": few})
    async with await proxy.connect() as one, await proxy.connect() as two:
        await upgraded(one)
        await upgraded(two)
        async with await proxy.connect() as third:
            answer = await third.get("/")
            assert (answer.status, json.loads(answer.body)["code"]) == (503, "new_client_slow")
    await proxy.reported(lambda totals: totals.requests.total() == 3)
    totals = proxy.worker.totals
    assert totals.errors.total() == totals.trials["failed"] == 0


async def test_tunnels_apply_back_pressure(proxy: Proxy) -> None:
    """A client that does not read stops the backend, instead of filling the worker."""
    total = 64 << 20
    sent = 0

    async def handler(call: Call) -> None:
        nonlocal sent
        await call.send(SWITCH)
        while sent < total:
            await call.send(b"x" * 65536)
            sent += 65536
            call.backend.changes.notify()
        await call.hang()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect(receive_buffer=8192) as client:
        await upgraded(client)
        before = proxy.worker.rss_mib()
        await proxy.legacy.changes.until(lambda: sent > 1 << 20)
        stuck = -1
        while stuck != sent:
            stuck = sent
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.2)
        assert sent < total
        assert proxy.worker.rss_mib() - before < 20
        left = total
        while left:
            left -= len(await soon(client.reader.read(1 << 18)))
