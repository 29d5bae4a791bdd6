"""Whole messages that are written together at the end of the loop's turn.

A write wakes up its receiver, which costs more than the write itself where that one sleeps; a
turn's messages sent in one go wake each receiver once and find it awake for the rest. A message
waits only for what the loop was about to do anyway. Everything else that is done to a connection
(further writes, closing) sends what waits first, so that nothing changes its order.
"""

import asyncio
from typing import cast

from proxy.edge.wheel import Timed


class Outgoing(Timed):
    """A connection whose messages can wait: what clients' and backends' have in common."""

    __slots__ = ("transport", "unsent")

    def __init__(self) -> None:
        super().__init__()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.unsent = b""  # waits in the outbox

    def send_unsent(self) -> None:
        """Write what waits now."""
        data = self.unsent
        if data:
            self.unsent = b""
            self.transport.write(data)


class Outbox:
    """The connections with something unsent; emptied once a turn of the loop."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Outgoing] = []

    def add(self, connection: Outgoing, data: bytes) -> None:
        """Send this at the end of the turn."""
        if connection.unsent:
            connection.unsent += data
            return
        connection.unsent = data
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self._flush)
        waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.send_unsent()
