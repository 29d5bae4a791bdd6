"""Server-sent events: what changes, as it changes, to whoever listens.

A listener that does not read as fast as things happen is let go, counted, and may come back with
the id of the last event it has: the newest ones are kept for that. Everything is bounded.
"""

import asyncio
import itertools
from collections import deque
from typing import Final

import msgspec
from aiohttp import web

from proxy.admin.problems import problem
from proxy.admin.view import AdminView

KEPT: Final = 256  # events, for those who come back
MAX_WAITING: Final = 256  # events, of one listener
MAX_LISTENERS: Final = 64
HEARTBEAT_S: Final = 15.0
WRITE_TIMEOUT_S: Final = 30.0

_encode = msgspec.json.Encoder().encode


class Events:
    """Hands each event to every listener. Quick, never waits."""

    def __init__(self) -> None:
        self.let_go = 0  # listeners that were too slow
        self._numbers = itertools.count(1)
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[bytes | None]] = set()

    def tell(self, kind: str, value: object) -> None:
        """Something happened: its kind, and the value that is shown of it as JSON."""
        number = next(self._numbers)
        event = b"id: %d\nevent: %b\ndata: %b\n\n" % (number, kind.encode(), _encode(value))
        self._kept.append((number, event))
        for listener in list(self._listeners):
            if listener.qsize() >= MAX_WAITING:
                self._listeners.discard(listener)
                self.let_go += 1
                listener.get_nowait()
                listener.put_nowait(None)
            else:
                listener.put_nowait(event)

    def listen(self, last: int | None) -> asyncio.Queue[bytes | None] | None:
        """A queue of events, None at its end; with those after `last`. None if there are enough."""
        if len(self._listeners) >= MAX_LISTENERS:
            return None
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING + 1)
        for number, event in self._kept:
            if last is not None and number > last and queue.qsize() < MAX_WAITING:
                queue.put_nowait(event)
        self._listeners.add(queue)
        return queue

    def leave(self, queue: "asyncio.Queue[bytes | None]") -> None:
        """No more of it is wanted."""
        self._listeners.discard(queue)

    def close(self) -> None:
        """Let every listener go."""
        for listener in self._listeners:
            if listener.full():
                listener.get_nowait()
            listener.put_nowait(None)
        self._listeners.clear()


async def events(view: AdminView, request: web.Request) -> web.StreamResponse:
    """What changes, as server-sent events."""
    given = request.headers.get("Last-Event-ID", "")
    last = int(given) if given.isascii() and given.isdecimal() and len(given) < 18 else None
    queue = view.events.listen(last)
    if queue is None:
        return problem(503, f"{MAX_LISTENERS} listen already.", {"Retry-After": "60"})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    try:
        await response.prepare(request)
        await _write(response, b"retry: 2000\n\n")
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
            except TimeoutError:
                event = b": still here\n\n"
            if event is None:
                return response
            await _write(response, event)
    except (TimeoutError, ConnectionError):
        return response
    finally:
        view.events.leave(queue)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)
