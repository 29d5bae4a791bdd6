"""Starts shadows after the answers of the moment.

The requests that one turn of the event loop brings are all sent to the side that answers before
any of their shadows is: a client does not wait for the work of the shadows of those before it.
"""

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.edge.exchange import Exchange


class Starts:
    """Shadows about to start; never more than have a place in `shadow.max_in_flight`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[Exchange] = []

    def add(self, exchange: "Exchange") -> None:
        """Start this one at the end of the turn, unless it is given up before."""
        exchange.started = time.perf_counter()
        if not self._due:
            self._loop.call_soon(self._start)
        self._due.append(exchange)

    def _start(self) -> None:
        due, self._due = self._due, []
        for exchange in due:
            if not exchange.ended:
                exchange.start()
