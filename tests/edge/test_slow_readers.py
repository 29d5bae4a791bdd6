"""Answers and uploads that are taken slowly: who takes something has time, others have not.

The kernel has room for megabytes of them, so what a peer takes is not seen in our own buffers.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Limits, RouteState, Side
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, flooding
from tests.harness.snapshots import phase, route
from tests.harness.waiting import soon

MISSED = RouteState(phase("legacy-only"), Side.LEGACY, missed=frozenset({Side.NEW}))
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
UPGRADE = b"Connection: upgrade\r\nUpgrade: x\r\n"


@asynccontextmanager
async def small_socket() -> AsyncIterator[socket.socket]:
    """One whose system takes no more than a few kilobytes ahead."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        yield sock


async def read_slowly(sock: socket.socket, seconds: float) -> int:
    """Some 40 kB a second for so long: how many bytes came."""
    loop = asyncio.get_running_loop()
    received = 0
    until = loop.time() + seconds
    while loop.time() < until:
        data = await soon(loop.sock_recv(sock, 2000))
        assert data, "it was cut"
        received += len(data)
        await asyncio.sleep(0.05)  # nothing is awaited: this is how slow it is
    return received


async def flood_tunnel(call: Call) -> None:
    await call.send(SWITCH)
    while True:
        await call.send(b"f" * 65536)


@pytest.mark.parametrize("what", ["answer", "tunnel", "pipeline"])
async def test_a_client_that_reads_slowly_is_not_cut_until_it_reads_nothing(
    proxy: Proxy, what: str
) -> None:
    """It was, as soon as the kernel took nothing more for a while: `client_stalled`."""
    proxy.legacy.handler = flood_tunnel if what == "tunnel" else flooding(200 << 20)
    await proxy.worker.forget_refusals()
    await proxy.serve(route("/*"), limits=Limits(body_idle_s=0.5))
    async with small_socket() as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, proxy.worker.address)
        lines = UPGRADE if what == "tunnel" else b""
        request = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines
        await loop.sock_sendall(sock, request * (2 if what == "pipeline" else 1))
        assert await read_slowly(sock, 4.0) > 50_000
        assert not proxy.worker.totals.refused["client_stalled"]
        # Now it reads nothing more.
        await proxy.reported(lambda totals: totals.refused["client_stalled"] == 1)
        await proxy.legacy.changes.until(lambda: proxy.legacy.connections[0].ended)


async def test_a_connection_whose_answer_is_still_being_read_is_not_idle(proxy: Proxy) -> None:
    """It was closed under the client: its next request met a reset."""
    size = 400_000
    proxy.legacy.handler = flooding(size)
    await proxy.serve(route("/*"), limits=Limits(client_idle_s=0.5))
    async with small_socket() as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, proxy.worker.address)
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        await loop.sock_sendall(sock, request)
        received = await read_slowly(sock, 2.5)
        await loop.sock_sendall(sock, request)
        # Once it has read everything, it is idle.
        while data := await soon(loop.sock_recv(sock, 1 << 16)):
            received += len(data)
        assert received > 2 * size


async def test_a_backend_that_takes_an_upload_slowly_is_not_idle_until_it_takes_nothing(
    proxy: Proxy,
) -> None:
    """504 after its `idle_timeout`, however much of the body it had taken meanwhile."""
    loop = asyncio.get_running_loop()
    async with small_socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        slow = BackendSettings("legacy", (url,), idle_timeout_s=0.5)
        await proxy.serve(route("/*"), states={"/*": MISSED}, backends={"legacy": slow})
        async with await proxy.connect() as client:
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 << 20))
            client.write(b"u" * (32 << 20))
            taken, _ = await soon(loop.sock_accept(listener))
            with taken:
                answer = asyncio.ensure_future(client.response())
                await read_slowly(taken, 3.0)
                assert not answer.done()
                assert (await answer).status == 504
