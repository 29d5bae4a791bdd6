"""What holds for replicas on one Redis, whatever happens, and in whichever order.

The replicas decide with the code that serves and commit to a real Redis; the workers are models of
what the link asks of a worker. Each rule is a thing that can happen next. What holds:

1. Writes under way have one order: no two workers of any two replicas have different authorities
   unpaused.
2. What was made durable is what is there: a latch is lifted by nothing but a resume or an edit.
3. Once all have read what is stored, all are in the same phase.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from proxy.control.reconciler import decide
from proxy.control.steering import Order
from proxy.control.world import (
    Event,
    Judged,
    Ordered,
    SlotJoined,
    SlotQuiet,
    StoreRead,
    World,
    WriteMissed,
)
from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, NEW_ONLY, Phase, RouteState, Side
from proxy.store.records import Stored
from proxy.store.state import ConflictError
from proxy.store.state_redis import RedisStore
from tests.control.estate import at, route, table
from tests.harness.redisserver import RedisServer, redis_server

SLOTS = 1
REPLICAS = 2
PHASES = [Phase(99), DUAL_WRITE, NEW_ONLY, LEGACY_ONLY]
MAX_CONFLICTS = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), redis_server()) as entered:
        yield entered


class ModelReplica:
    """A controller with its one worker: what both know, and what is on its way between them."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.world: World | None = None
        self.snapshot = Stored()
        self.is_away = False  # the Redis is out of its reach
        self.missed_apart: list[Event] = []
        self.phase = LEGACY_ONLY
        self.state: RouteState | None = None  # of the worker
        self.revision = 0
        self.inbox: list[tuple[int, RouteState]] = []
        self.writes: list[Side] = []


class Fleet:
    """One route, and all that can happen to it."""

    def __init__(self, url: str, phase: Phase) -> None:
        self.url = url
        self.clock = 0.0
        self.numbers = 0
        self.replicas: list[ModelReplica] = []
        self.phase = phase

    async def begin(self) -> None:
        client = Redis.from_url(self.url)
        await client.flushall()
        await client.aclose()
        for number in range(REPLICAS):
            replica = ModelReplica(await RedisStore.open(self.url, f"a{number}"))
            self.replicas.append(replica)
            replica.phase = self.phase
            await self.starts(number)

    async def end(self) -> None:
        for replica in self.replicas:
            await replica.store.close()

    # The controllers.

    async def starts(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.world is not None or replica.is_away:
            return
        stored = await replica.store.begin()
        replica.world = World.begin(SLOTS, replica.snapshot if replica.snapshot.records else stored)
        await self.decides(which, [StoreRead(stored)])
        await self.loads(which)
        await self.worker_joins(which)

    async def dies(self, which: int) -> None:
        replica = self.replicas[which]
        replica.world = None
        replica.inbox.clear()
        replica.missed_apart.clear()

    async def loads(self, which: int) -> None:
        """It reads its file, and declares it before it decides on it."""
        replica = self.replicas[which]
        await replica.store.declare(str(replica.phase))
        stored = await replica.store.load()
        await self.decides(which, [StoreRead(stored), self.file(replica)])

    def file(self, replica: ModelReplica) -> Event:
        return table(route("a", replica.phase), digest=str(replica.phase))

    async def is_edited(self, which: int, phase: Phase) -> None:
        replica = self.replicas[which]
        if replica.world is not None and not replica.is_away:
            replica.phase = phase
            await self.loads(which)

    async def decides(self, which: int, events: list[Event]) -> None:
        replica = self.replicas[which]
        if replica.world is None:
            return
        if replica.is_away:
            self.decides_apart(replica, events)
            return
        for _ in range(MAX_CONFLICTS):
            decision = decide(replica.world, events, at(self.clock))
            try:
                if decision.change:
                    await replica.store.commit(decision.change)
            except ConflictError:
                events = [event for event in events if not isinstance(event, StoreRead)]
                events = [StoreRead(await replica.store.load()), *events]
            else:
                replica.world = decision.world
                replica.snapshot = decision.world.stored
                self.publishes(replica, bool(decision.states) or decision.new_table)
                return
        raise AssertionError("one conflict after the other")

    def decides_apart(self, replica: ModelReplica, events: list[Event]) -> None:
        assert replica.world is not None
        pressing = [event for event in events if isinstance(event, WriteMissed | Judged)]
        decision = decide(replica.world, pressing, at(self.clock))
        replica.world = decision.world
        replica.snapshot = decision.world.stored
        replica.missed_apart += [each for each in pressing if isinstance(each, WriteMissed)]
        self.publishes(replica, bool(decision.states))

    def publishes(self, replica: ModelReplica, anything: bool) -> None:
        assert replica.world is not None
        if anything and "a" in replica.world.states:
            replica.inbox.append((replica.world.revision, replica.world.states["a"]))

    async def hears(self, which: int) -> None:
        """What others have committed is read."""
        replica = self.replicas[which]
        if replica.world is not None and not replica.is_away:
            await self.decides(which, [StoreRead(await replica.store.load())])

    async def is_cut_off(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.world is not None:
            replica.is_away = True
            replica.world = replace(replica.world, frozen=True)

    async def is_back(self, which: int) -> None:
        replica = self.replicas[which]
        if not replica.is_away:
            return
        replica.is_away = False
        if replica.world is not None:
            await replica.store.present()
            read = StoreRead(await replica.store.load())
            await self.decides(which, [read, *replica.missed_apart])
            replica.missed_apart.clear()

    async def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        for which, replica in enumerate(self.replicas):
            if not replica.is_away:
                await self.decides(which, [])

    async def fails(self, which: int) -> None:
        """The guard of one replica finds the route failing where it is."""
        world = self.replicas[which].world
        record = world.stored.records.get("a") if world is not None else None
        if record is not None:
            failing = Judged("a", record.effective, record.digest, "failing", "bad", "errors")
            await self.decides(which, [failing])

    async def is_resumed(self, which: int) -> None:
        self.numbers += 1
        if not self.replicas[which].is_away:
            await self.decides(which, [Ordered(self.numbers, "a", Order("resume", "mended"))])

    # The workers.

    async def worker_joins(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.world is None:
            return
        await self.decides(which, [SlotJoined(0)])
        if "a" in replica.world.states:
            replica.inbox = [(replica.world.revision, replica.world.states["a"])]

    async def worker_dies(self, which: int) -> None:
        replica = self.replicas[which]
        replica.state, replica.writes = None, []
        replica.inbox.clear()
        await self.worker_joins(which)

    async def worker_reads(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.inbox:
            replica.revision, replica.state = replica.inbox.pop(0)
        await self.says_quiet(which)

    async def says_quiet(self, which: int) -> None:
        replica = self.replicas[which]
        if replica.world is None or replica.state is None or replica.writes:
            return
        if replica.state.writes_paused and not replica.is_away:
            await self.decides(which, [SlotQuiet(0, "a", replica.revision)])

    async def write_begins(self, which: int) -> None:
        replica = self.replicas[which]
        state = replica.state
        if state is None or state.writes_paused or len(replica.writes) > 1:
            return
        single = not state.phase.both_written and state.authority is state.phase.authority
        if single and state.authority.other not in state.missed:
            await self.decides(which, [WriteMissed("a", state.authority.other)])
            return
        replica.writes.append(state.authority)

    async def write_ends(self, which: int) -> None:
        if self.replicas[which].writes:
            self.replicas[which].writes.pop()
            await self.says_quiet(which)

    # What holds.

    def writes_under_way_have_one_order(self) -> None:
        assert len({side for each in self.replicas for side in each.writes}) <= 1

    def unpaused_workers_agree_on_the_authority(self) -> None:
        states = [each.state for each in self.replicas if each.state]
        assert len({state.authority for state in states if not state.writes_paused}) <= 1

    async def in_the_end_all_agree(self) -> None:
        """Once everything is back, has been read and is quiet."""
        for which in range(REPLICAS):
            await self.is_back(which)
            await self.starts(which)
        for _ in range(6):
            for which, replica in enumerate(self.replicas):
                replica.writes.clear()
                await self.hears(which)
                while replica.inbox:
                    await self.worker_reads(which)
                await self.says_quiet(which)
            await self.time_passes(1.0)
        for _ in range(REPLICAS):
            for which, replica in enumerate(self.replicas):
                await self.hears(which)
                while replica.inbox:
                    await self.worker_reads(which)
        states = [each.state for each in self.replicas]
        assert states[0] is not None
        assert all(state == states[0] for state in states), states
        records = [each.world.stored.records["a"] for each in self.replicas if each.world]
        assert all(record == records[0] for record in records), records


STEPS: list[Callable[[Fleet, int, int], Awaitable[None]]] = [
    *[lambda fleet, which, pick: fleet.worker_reads(which)] * 8,
    *[lambda fleet, which, pick: fleet.hears(which)] * 8,
    *[lambda fleet, which, pick: fleet.write_begins(which)] * 5,
    *[lambda fleet, which, pick: fleet.write_ends(which)] * 5,
    *[lambda fleet, which, pick: fleet.is_edited(which, PHASES[pick % len(PHASES)])] * 4,
    *[lambda fleet, which, pick: fleet.time_passes([1.0, 6.0, 20.0][pick % 3])] * 2,
    *[lambda fleet, which, pick: fleet.fails(which)] * 2,
    *[lambda fleet, which, pick: fleet.is_resumed(which)] * 1,
    *[lambda fleet, which, pick: fleet.worker_dies(which)] * 1,
    *[lambda fleet, which, pick: fleet.is_cut_off(which)] * 1,
    *[lambda fleet, which, pick: fleet.is_back(which)] * 2,
    *[lambda fleet, which, pick: fleet.dies(which)] * 1,
    *[lambda fleet, which, pick: fleet.starts(which)] * 2,
]
steps = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, REPLICAS - 1), st.integers(0, 9)),
    min_size=30,
    max_size=50,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(phase=st.sampled_from(PHASES), steps=steps)
def test_replicas_keep_one_order_and_agree_in_the_end(
    server: RedisServer,
    phase: Phase,
    steps: list[tuple[Callable[[Fleet, int, int], Awaitable[None]], int, int]],
) -> None:
    async def happens() -> None:
        fleet = Fleet(server.url, phase)
        try:
            await fleet.begin()
            for step, which, pick in steps:
                await step(fleet, which, pick)
                fleet.writes_under_way_have_one_order()
                fleet.unpaused_workers_agree_on_the_authority()
            await fleet.in_the_end_all_agree()
        finally:
            await fleet.end()

    asyncio.run(happens())
