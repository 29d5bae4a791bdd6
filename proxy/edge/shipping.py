"""The way of suspects to the comparers: bounded, fair between routes, each loss counted.

Each comparer has a lane, a connection over which a few batches are under way. What no lane has
room for waits in a queue of its route; whose turn it is goes by the time that comparers say its
suspects took, so that a route whose comparisons take seconds takes none of that of the others. Of
such routes one suspect at a time is under way in a lane, beside the batches of the quick ones, and
what would wait too long behind it is shed.

When all queues together are full, the route that holds the most gives up its newest: a route that
diverges in each answer cannot push out the others. A lane that breaks loses the batches under
way, nothing else; they are counted, and it connects again with back-off.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from proxy.core.framing import LinkError, frame, judged_unframer
from proxy.core.messages import Batch, Suspect, size_of
from proxy.core.turns import Turns
from proxy.edge.tally import Tally

MAX_QUEUED_BYTES: Final = 32 << 20
MAX_QUEUED: Final = 4096
# A route that has this much waiting need not keep its next bodies: they would only be shed.
FULL_BYTES: Final = 4 << 20
FULL_S: Final = 5.0  # or so much work for each comparer: a read can be asked again for TICKET_S
LATE_S: Final = 8.0  # what waited that long all the same is not sent: nothing would come of it
BATCH_BYTES: Final = 128 << 10  # or one larger suspect: the loop stands still while it is written
BATCH_SUSPECTS: Final = 8  # what one has to say is as long a burst of work elsewhere
BATCH_S: Final = 0.05  # what takes longer is slow, and sent by itself; what is unknown is as long
KNOWN_BY: Final = 0.125  # so much of what is known of a route's suspects is the last one's
MAX_KNOWN: Final = 16_384
WINDOW: Final = 2  # batches of quick ones under way in a lane
GATHER_S: Final = 0.005  # a lone suspect waits so long for company
CONNECT_TIMEOUT_S: Final = 2.0
BACK_OFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
# What is put on the wire without waiting for its receiver.
WRITE_BUFFER_BYTES: Final = 2 << 20

SHED: Final = "comparer_busy"
LOST: Final = "comparer_lost"


class Parcel(NamedTuple):
    """A suspect that waits or is under way, and where its loss is counted."""

    tally: Tally
    suspect: Suspect
    size: int
    since: float  # in the loop's time


class Shipment(NamedTuple):
    """A batch under way, and the seconds that each of it was thought to take."""

    parcels: list[Parcel]
    costs: list[float]
    is_slow: bool


class Shipper:
    """The queues and the lanes of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slot: int,
        paths: Sequence[str],
        late_s: float = LATE_S,
    ) -> None:
        self._loop = loop
        self._late_s = late_s
        self._queues: dict[Tally, deque[Parcel]] = {}
        self._bytes: dict[Tally, int] = {}
        self._known: dict[Tally, float] = {}  # seconds that a suspect of a route takes
        self._quick: Turns[Tally] = Turns()
        self._slow: Turns[Tally] = Turns()
        self._queued = 0
        self._queued_bytes = 0
        self._shed_lately = 0  # since the last batch
        self._timer: asyncio.TimerHandle | None = None
        self.lanes = [Lane(self, slot, path) for path in paths]

    def put(self, tally: Tally, suspect: Suspect) -> None:
        """Send this to a comparer; what there is no room for is shed and counted."""
        size = size_of(suspect)
        parcel = Parcel(tally, suspect, size, self._loop.time())
        if suspect.kind != "again" and self._waits_long(tally):
            self._give_up(parcel)
            return
        queue = self._queues.get(tally)
        if queue is None:
            queue = self._queues[tally] = deque()
            self._bytes[tally] = 0
        if suspect.kind == "again":
            queue.appendleft(parcel)  # somebody waits for it
        else:
            queue.append(parcel)
        self._enter(tally)
        self._bytes[tally] += size
        self._queued += 1
        self._queued_bytes += size
        while self._queued > MAX_QUEUED or self._queued_bytes > MAX_QUEUED_BYTES:
            self._shed()
        if self._timer is None and self._queued:
            self._timer = self._loop.call_later(GATHER_S, self.pump)

    def is_full(self, tally: Tally) -> bool:
        """Whether this route has as much waiting as is of use; the next pair is shed then."""
        is_full = self._bytes.get(tally, 0) >= FULL_BYTES or self._waits_long(tally)
        self._shed_lately += is_full
        return is_full

    def pump(self) -> None:
        """Give what waits to the lanes that have room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for lane in sorted(self.lanes, key=Lane.load):
            while self._queued and lane.has_room(False) and (shipment := self._next(False)):
                lane.send(shipment)
            while self._queued and lane.has_room(True) and (shipment := self._next(True)):
                lane.send(shipment)

    def judged(self, shipment: Shipment, seconds: list[float]) -> None:
        """A comparer says how long each of a batch took."""
        for parcel, cost, took in zip(shipment.parcels, shipment.costs, seconds, strict=False):
            tally = parcel.tally
            (self._slow if shipment.is_slow else self._quick).charge(tally, took - cost)
            self._learn(tally, took)

    def abandon(self) -> None:
        """The worker ends: what still waits is counted, what is under way arrives."""
        for queue in self._queues.values():
            _count(list(queue), "draining")
        self._queues.clear()
        self._bytes.clear()
        self._queued = self._queued_bytes = 0

    def _waits_long(self, tally: Tally) -> bool:
        waiting = self._queues.get(tally)
        if waiting is None:
            return False
        return len(waiting) * self._known.get(tally, 0.0) >= FULL_S * len(self.lanes)

    def _learn(self, tally: Tally, took: float) -> None:
        if tally not in self._known and len(self._known) >= MAX_KNOWN:
            self._known.clear()
            for waiting in self._queues:
                self._enter(waiting)
        known = self._known.get(tally, BATCH_S)
        # Little by little: the first one of a comparer may have waited for what it imports.
        self._known[tally] = known + (took - known) * KNOWN_BY
        if tally in self._queues:
            self._enter(tally)  # it may have become slow, or quick

    def _enter(self, tally: Tally) -> None:
        """It waits for its turn among those like it; a turn among the others is passed over."""
        is_slow = self._known.get(tally, 0.0) > BATCH_S
        (self._slow if is_slow else self._quick).enter(tally)

    def _next(self, is_slow: bool) -> Shipment | None:
        """The next batch of quick suspects, or the next slow one."""
        turns = self._slow if is_slow else self._quick
        parcels: list[Parcel] = []
        costs: list[float] = []
        room, room_s = BATCH_BYTES, BATCH_S
        while len(parcels) < BATCH_SUSPECTS and room_s > 0.0:
            tally = turns.take()
            if tally is None:
                break
            self._drop_late(tally)
            queue = self._queues.get(tally)
            if queue is None:
                continue  # what it had was shed
            cost = self._known.get(tally, BATCH_S)
            size = queue[0].size
            if (cost > BATCH_S) is not is_slow:
                continue  # it has become so since, and waits there
            if parcels and size > room:
                self._enter(tally)
                break
            parcels.append(queue.popleft())
            costs.append(cost)
            turns.charge(tally, cost)
            room -= size
            room_s -= cost
            self._forget(tally, size)
            if queue:
                self._enter(tally)
        return Shipment(parcels, costs, is_slow) if parcels else None

    def _shed(self) -> None:
        """The route that holds the most gives up its newest."""
        tally = max(self._bytes, key=self._bytes.__getitem__)
        parcel = self._queues[tally].pop()
        self._forget(tally, parcel.size)
        self._give_up(parcel)

    def _drop_late(self, tally: Tally) -> None:
        """Give up those that nobody could ask again any more."""
        since = self._loop.time() - self._late_s
        while (queue := self._queues.get(tally)) and queue[0].since < since:
            parcel = queue.popleft()
            self._forget(tally, parcel.size)
            self._give_up(parcel)

    def _give_up(self, parcel: Parcel) -> None:
        self._shed_lately += 1
        _count([parcel], SHED)

    def shed_lately(self) -> int:
        """How many were given up since this was last asked."""
        shed, self._shed_lately = self._shed_lately, 0
        return shed

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
        self._under_way: dict[int, Shipment] = {}
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

    def load(self) -> float:
        """Seconds of work that are thought to be under way."""
        return sum(sum(each.costs) for each in self._under_way.values())

    def has_room(self, is_slow: bool) -> bool:
        """Whether another batch of quick suspects, or a slow one, may be sent."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() >= WRITE_BUFFER_BYTES:
            return False
        alike = sum(each.is_slow is is_slow for each in self._under_way.values())
        return alike < (1 if is_slow else WINDOW)

    def send(self, shipment: Shipment) -> None:
        """Send these as one batch; they are under way until it is judged."""
        assert self._transport is not None
        suspects = [each.suspect for each in shipment.parcels]
        try:
            framed = frame(Batch(self._slot, self._number, suspects, self._shipper.shed_lately()))
        except LinkError:
            # Longer than the link carries: only a `max_body` of tens of MiB gets there.
            _count(shipment.parcels, "body_too_large")
            return
        self._under_way[self._number] = shipment
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
                shipment = self._under_way.pop(judged.number, None)
                if shipment is not None:
                    self._shipper.judged(shipment, judged.seconds)
        except LinkError:
            if self._transport is not None:
                self._transport.abort()
            return
        self._shipper.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        lost, self._under_way = self._under_way, {}
        for shipment in lost.values():
            _count(shipment.parcels, LOST)
        self._closed.set()


def _count(parcels: list[Parcel], reason: str) -> None:
    for parcel in parcels:
        if parcel.suspect.kind == "read":
            parcel.tally.skip(reason)
        else:
            # The read itself was counted; who waits for its second answers gives up in time.
            parcel.tally.event("control_shed")
