"""The way of suspects to the comparers: bounded, fair between routes, each loss counted.

Each comparer has a lane: a connection over which at most WINDOW batches are under way. What no
lane has room for waits in a queue of its route; the lanes take from the routes in turn. When all
queues together are full, the route that holds the most gives up its newest: a route that
diverges in each answer cannot push out the others. A lane that breaks loses the batches under
way, nothing else; they are counted, and it connects again with back-off.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from proxy.core.framing import LinkError, frame, judged_unframer
from proxy.core.messages import Batch, Suspect
from proxy.edge.tally import Tally

MAX_QUEUED_BYTES: Final = 32 << 20
MAX_QUEUED: Final = 4096
# A route that has this much waiting need not keep its next bodies: they would only be shed.
FULL_BYTES: Final = 4 << 20
BATCH_BYTES: Final = 128 << 10  # or one larger suspect: the loop stands still while it is written
BATCH_SUSPECTS: Final = 8  # what one has to say is as long a burst of work elsewhere
WINDOW: Final = 2
GATHER_S: Final = 0.005  # a lone suspect waits so long for company
CONNECT_TIMEOUT_S: Final = 2.0
BACK_OFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
# What is put on the wire without waiting for its receiver: a comparer holds no more than this.
WRITE_BUFFER_BYTES: Final = 2 << 20

SHED: Final = "comparer_busy"
LOST: Final = "comparer_lost"


class Parcel(NamedTuple):
    """A suspect that waits or is under way, and where its loss is counted."""

    tally: Tally
    suspect: Suspect
    size: int


class Shipper:
    """The queues and the lanes of one worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: int, paths: Sequence[str]) -> None:
        self._loop = loop
        self._queues: dict[Tally, deque[Parcel]] = {}  # in the order of their turns
        self._bytes: dict[Tally, int] = {}
        self._queued = 0
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lanes = [Lane(self, slot, path) for path in paths]

    def put(self, tally: Tally, suspect: Suspect) -> None:
        """Send this to a comparer; what there is no room for is shed and counted."""
        size = size_of(suspect)
        parcel = Parcel(tally, suspect, size)
        queue = self._queues.get(tally)
        if queue is None:
            queue = self._queues[tally] = deque()
            self._bytes[tally] = 0
        queue.append(parcel)
        self._bytes[tally] += size
        self._queued += 1
        self._queued_bytes += size
        while self._queued > MAX_QUEUED or self._queued_bytes > MAX_QUEUED_BYTES:
            self._shed()
        if self._timer is None and self._queued:
            self._timer = self._loop.call_later(GATHER_S, self.pump)

    def is_full(self, tally: Tally) -> bool:
        """Whether this route has as much waiting as is of use."""
        return self._bytes.get(tally, 0) >= FULL_BYTES

    def pump(self) -> None:
        """Give what waits to the lanes that have room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for lane in sorted(self.lanes, key=Lane.load):
            while self._queued and lane.has_room():
                lane.send(self._next_batch())

    def abandon(self) -> None:
        """The worker ends: what still waits is counted, what is under way arrives."""
        for queue in self._queues.values():
            _count(list(queue), "draining")
        self._queues.clear()
        self._bytes.clear()
        self._queued = self._queued_bytes = 0

    def _next_batch(self) -> list[Parcel]:
        batch: list[Parcel] = []
        room = BATCH_BYTES
        while self._queues and len(batch) < BATCH_SUSPECTS:
            tally, queue = next(iter(self._queues.items()))
            size = queue[0].size
            if batch and size > room:
                break
            batch.append(queue.popleft())
            room -= size
            self._forget(tally, size)
            if queue:
                # Behind the others: the routes take turns.
                self._queues[tally] = self._queues.pop(tally)
        return batch

    def _shed(self) -> None:
        """The route that holds the most gives up its newest."""
        tally = max(self._bytes, key=self._bytes.__getitem__)
        parcel = self._queues[tally].pop()
        self._forget(tally, parcel.size)
        _count([parcel], SHED)

    def _forget(self, tally: Tally, size: int) -> None:
        self._queued -= 1
        self._queued_bytes -= size
        if self._queues[tally]:
            self._bytes[tally] -= size
        else:
            del self._queues[tally], self._bytes[tally]


class Lane(asyncio.Protocol):
    """The connection to one comparer."""

    def __init__(self, shipper: Shipper, slot: int, path: str) -> None:
        self._shipper = shipper
        self._slot = slot
        self._path = path
        self._number = 0
        self._transport: asyncio.Transport | None = None
        self._unframer = judged_unframer()
        self._under_way: dict[int, list[Parcel]] = {}
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Keep connected for as long as the worker lives."""
        attempt = 0
        while True:
            self._closed.clear()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    loop = asyncio.get_running_loop()
                    await loop.create_unix_connection(lambda: self, self._path)
                attempt = 0
                await self._closed.wait()
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)])
            attempt += 1

    def load(self) -> int:
        """How many batches are under way."""
        return len(self._under_way)

    def has_room(self) -> bool:
        """Whether another batch may be sent."""
        transport = self._transport
        return (
            transport is not None
            and len(self._under_way) < WINDOW
            and transport.get_write_buffer_size() < WRITE_BUFFER_BYTES
        )

    def send(self, parcels: list[Parcel]) -> None:
        """Send these as one batch; they are under way until it is judged."""
        assert self._transport is not None
        try:
            framed = frame(Batch(self._slot, self._number, [each.suspect for each in parcels]))
        except LinkError:
            # Longer than the link carries: only a `max_body` of tens of MiB gets there.
            _count(parcels, "body_too_large")
            return
        self._under_way[self._number] = parcels
        self._number += 1
        self._transport.write(framed)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._unframer = judged_unframer()
        self._shipper.pump()

    def data_received(self, data: bytes) -> None:
        try:
            for judged in self._unframer.feed(data):
                self._under_way.pop(judged.number, None)
        except LinkError:
            if self._transport is not None:
                self._transport.abort()
            return
        self._shipper.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        lost, self._under_way = self._under_way, {}
        for parcels in lost.values():
            _count(parcels, LOST)
        self._closed.set()


def size_of(suspect: Suspect) -> int:
    """Bytes of a suspect, near enough."""
    answers = (suspect.legacy, suspect.new, suspect.legacy_again, suspect.new_again)
    return 500 + sum(len(each.head) + len(each.body) for each in answers if each is not None)


def _count(parcels: list[Parcel], reason: str) -> None:
    for parcel in parcels:
        if parcel.suspect.kind == "read":
            parcel.tally.skip(reason)
        else:
            # The read itself was counted; who waits for its second answers gives up in time.
            parcel.tally.event("control_shed")
