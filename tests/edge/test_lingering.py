"""Connections that are closed behind an answer while the client still sends (RFC 9112 §9.6)."""

import asyncio

import pytest

from proxy.core.model import Limits
from tests.edge.conftest import Proxy
from tests.edge.test_smuggling import check_problem
from tests.harness.backend import Call
from tests.harness.client import Client
from tests.harness.snapshots import route

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"


async def send_on(client: Client, seconds: float) -> None:
    """Send something ten times a second; raises where the connection is reset."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        await client.send(b"u" * 1000)
        await asyncio.sleep(0.1)  # nothing is awaited: this is how slow it is


async def test_who_still_sends_behind_a_refusal_is_heard_out(proxy: Proxy) -> None:
    """After two seconds a reset took the answer with it, if the client had not read it yet."""
    await proxy.serve(route("/*"), limits=Limits(request_body_bytes=1000))
    await proxy.reported(lambda totals: totals.connections.get("client") == 0)
    async with await proxy.connect() as client:
        client.write(UPLOAD)
        await send_on(client, 3.5)
        check_problem(await client.response(), 413)
        await send_on(client, 3.5)
        # It stops, and stays: the connection is closed a few seconds later.
        await proxy.reported(lambda totals: totals.connections["client"] == 1)
        await proxy.reported(lambda totals: totals.connections["client"] == 0, within_s=8)


async def test_who_still_sends_behind_an_early_answer_is_heard_out(proxy: Proxy) -> None:
    async def handler(call: Call) -> None:
        await call.read_some()
        await call.answer(b"no more", "403 Forbidden", read=False)
        await call.hang()

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(UPLOAD + b"u" * 1000)
        await send_on(client, 3.5)
        assert (await client.response()).body == b"no more"
        assert await client.ended()


async def test_a_client_that_closes_is_not_waited_for(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    await proxy.reported(lambda totals: totals.connections.get("client") == 0)
    async with await proxy.connect() as client:
        assert (await client.get("/", "Connection: close")).status == 200
        assert await client.ended()
        await proxy.reported(lambda totals: totals.connections["client"] == 1)
        client.half_close()
        await proxy.reported(lambda totals: totals.connections["client"] == 0, within_s=2)


@pytest.mark.extended
async def test_nobody_is_heard_for_ever(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), limits=Limits(request_body_bytes=1000))
    async with await proxy.connect() as client:
        client.write(UPLOAD)
        check_problem(await client.response(), 413)
        await send_on(client, 25)
        with pytest.raises(ConnectionError):
            await send_on(client, 10)
