"""Starts shadows after the answers of the moment.

The requests that one turn of the event loop brings are all sent to the side that answers before
any of their shadows is, and answers that come in meanwhile go before the rest of the shadows. A
client so waits for the work of other clients' shadows only as far as a few at a time.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.edge.exchange import Exchange

AT_A_TIME: Final = 4  # in one turn of the loop


class Starts:
    """Shadows about to start; never more than have a place in `shadow.max_in_flight`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: deque[Exchange] = deque()

    def add(self, exchange: "Exchange") -> None:
        """Start this one in its turn, unless it is given up before."""
        exchange.started = time.perf_counter()
        if not self._due:
            self._loop.call_soon(self._start_some)
        self._due.append(exchange)

    def _start_some(self) -> None:
        due = self._due
        for _ in range(min(AT_A_TIME, len(due))):
            exchange = due.popleft()
            if not exchange.ended:
                exchange.start()
        if due:
            self._loop.call_soon(self._start_some)
