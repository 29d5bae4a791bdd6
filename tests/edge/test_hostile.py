"""Hostile clients and broken backends: what each was once able to do."""

import asyncio
import signal

from proxy.core.model import RouteState, Side
from tests.edge.conftest import Proxy
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
