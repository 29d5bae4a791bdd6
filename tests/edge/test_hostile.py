"""Hostile clients and broken backends: what each was once able to do."""

import asyncio
import signal
import time

import pytest

from proxy.core.forwarding import Peer, request_lines, trace_context
from proxy.core.message import RequestHead, parse_request_head
from proxy.core.model import RouteState, Side
from tests.edge.conftest import Proxy
from tests.harness.backend import replying
from tests.harness.worker import phase, route

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
