"""Whole messages that are written together at the end of the loop's turn.

A write wakes up its receiver, which costs more than the write itself where that one sleeps; a
turn's messages sent in one go wake each receiver once and find it awake for the rest. A message
waits only for what the loop was about to do anyway. Everything else that is done to a connection
(further writes, closing) sends what waits first, so that nothing changes its order.
"""

import asyncio
import termios
from array import array
from fcntl import ioctl
from typing import cast

from proxy.edge.wheel import Timed


class Outgoing(Timed):
    """A connection whose messages can wait: what clients' and backends' have in common."""

    __slots__ = ("transport", "unsent", "untaken_at")

    def __init__(self) -> None:
        super().__init__()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.unsent = b""  # waits in the outbox
        self.untaken_at = -1  # what the peer had not taken when that was last looked at

    def untaken(self) -> int:
        """Bytes written that the peer has not taken: those kept here, and those in the kernel.

        The kernel's megabytes hide for minutes from us what a slow peer takes. Where it does not
        say what it has, they count as none.
        """
        kept = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        in_kernel = array("i", [0])
        try:
            if sock is not None:
                ioctl(sock.fileno(), termios.TIOCOUTQ, in_kernel)
        except (OSError, ValueError):
            pass  # closed, or not a kind of socket that tells
        return kept + in_kernel[0]

    def is_taken(self) -> bool:
        """Whether the peer has taken something since this was last asked."""
        before = self.untaken_at
        self.untaken_at = self.untaken()
        return self.untaken_at != before

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
