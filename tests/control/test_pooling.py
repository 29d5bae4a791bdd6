"""Evidence that replicas share: what is taken, what is said over a real Redis, what gets lost."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from proxy.control.guarding import Guard
from proxy.control.pooling import MAX_ROUTES, MAX_SLOTS, Pool, Pooling, Share, Word
from proxy.control.steering import Policy
from proxy.control.world import World
from proxy.core.detection import SLOT_S
from proxy.core.messages import Counts, Report
from proxy.core.model import Phase, RouteState
from proxy.core.policy import Revert
from proxy.store.evidence_redis import KEPT, STREAM, RedisEvidence
from proxy.store.records import Record, Replica, Stored
from tests.control.estate import route
from tests.harness.redisserver import RedisServer, redis_server
from tests.harness.waiting import Changes, eventually

NOW = 1_700_000_000.0
SLOT = int(NOW / SLOT_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), redis_server()) as entered:
        yield entered


def share(name: str = "a", **changed: object) -> Share:
    values: dict[str, object] = {"phase": Phase(25), "digest": "d", "resumed_at": None, **changed}
    return Share(name, **values)  # type: ignore[arg-type]


def opened() -> Pool:
    pool = Pool()
    pool.is_open = True
    return pool


def test_nothing_is_collected_while_nobody_is_there() -> None:
    pool = Pool()
    pool.trial(share(), SLOT, (1, 0, 1, 0))
    assert pool.take() == []


def test_trials_and_times_add_up_and_are_put_back() -> None:
    pool = opened()
    pool.trial(share(), SLOT, (1, 0, 1, 0))
    pool.trial(share(), SLOT, (2, 3, 4, 5))
    pool.took(share(), {7: 1}, {})
    pool.took(share(), {7: 1}, {8: 2})
    pool.read(share(), 5, 4)
    taken = pool.take()
    counted: dict[str, Any] = {"legacy": {7: 2}, "new": {8: 2}, "eligible": 5, "compared": 4}
    assert taken == [share(trials={SLOT: [3, 3, 5, 5]}, **counted)]
    assert pool.take() == []
    pool.trial(share(), SLOT, (1, 1, 1, 1))
    pool.put_back(taken)
    assert pool.take() == [share(trials={SLOT: [4, 4, 6, 6]}, **counted)]


def test_what_is_of_another_phase_begins_anew() -> None:
    pool = opened()
    pool.trial(share(), SLOT, (1, 0, 0, 0))
    pool.trial(share(phase=Phase(50)), SLOT, (0, 1, 0, 0))
    assert pool.take() == [share(phase=Phase(50), trials={SLOT: [0, 1, 0, 0]})]


def test_it_is_bounded_and_no_trial_of_a_known_route_is_lost() -> None:
    pool = opened()
    for slot in range(3 * MAX_SLOTS):
        pool.trial(share(), SLOT + slot, (1, 0, 0, 0))
    for number in range(MAX_ROUTES + 5):
        pool.trial(share(f"r{number}"), SLOT, (1, 0, 0, 0))
    taken = pool.take()
    assert len(taken) == MAX_ROUTES
    assert pool.dropped == 6
    assert len(taken[0].trials) == MAX_SLOTS
    assert sum(counts[0] for counts in taken[0].trials.values()) == 3 * MAX_SLOTS
    # The newest ones are what tells of a change.
    oldest = SLOT + 2 * MAX_SLOTS
    assert sorted(taken[0].trials) == list(range(oldest, oldest + MAX_SLOTS))
    assert taken[0].trials[oldest] == [2 * MAX_SLOTS + 1, 0, 0, 0]


class Bench:
    """Replicas that share over one Redis, and what each has heard."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.pools: dict[str, Pool] = {}
        self.poolings: dict[str, Pooling] = {}
        self.heard: dict[str, list[Share]] = {}
        self.changes = Changes()

    def add(self, id: str) -> Pooling:
        self.pools[id] = opened()
        self.heard[id] = []

        async def stream() -> RedisEvidence:
            return await RedisEvidence.open(self.server.url)

        def hear(share: Share) -> None:
            self.heard[id].append(share)
            self.changes.notify()

        self.poolings[id] = Pooling(self.pools[id], hear, stream, id)
        return self.poolings[id]


@asynccontextmanager
async def sharing(server: RedisServer, *ids: str) -> AsyncIterator[Bench]:
    bench = Bench(server)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.add(id).run()) for id in ids]
        # What is said before somebody listens is not heard.
        await eventually(lambda: all(each.is_open for each in bench.poolings.values()), "streams")
        try:
            yield bench
        finally:
            for task in tasks:
                task.cancel()


async def test_others_hear_what_one_says_and_it_does_not(server: RedisServer) -> None:
    async with sharing(server, "a1", "b2", "c3") as bench:
        bench.pools["a1"].trial(share(), SLOT, (1, 2, 3, 4))
        await bench.changes.until(lambda: bench.heard["b2"] and bench.heard["c3"], "a share")
        assert bench.heard["b2"] == bench.heard["c3"] == [share(trials={SLOT: [1, 2, 3, 4]})]
        assert bench.heard["a1"] == []


async def test_words_that_nobody_heard_or_can_read_are_counted(server: RedisServer) -> None:
    async with sharing(server, "b2") as bench:
        stream = await RedisEvidence.open(server.url)
        encode = msgspec.msgpack.encode
        for number in (7, 8, 12):
            await stream.say(encode(Word("a1", number, [share(trials={number: [1, 0, 1, 0]})])))
            await stream.say(b"no word")
        await stream.close()
        await bench.changes.until(lambda: len(bench.heard["b2"]) == 3, "all words")
        counts = bench.poolings["b2"].counts
        assert (counts["heard"], counts["lost"], counts["unreadable"]) == (3, 3, 3)


@pytest.mark.parametrize("ahead_s", [-600.0, -0.5, 0.5, 600.0])
async def test_slots_of_a_clock_that_is_set_otherwise_are_heard_by_ones_own(
    server: RedisServer, ahead_s: float
) -> None:
    async with sharing(server, "b2") as bench:
        stream = await RedisEvidence.open(server.url)
        theirs = time.time() + ahead_s
        said = share(trials={int(theirs / SLOT_S): [1, 0, 1, 0]})
        await stream.say(msgspec.msgpack.encode(Word("a1", 1, [said], theirs)))
        await stream.close()
        await bench.changes.until(lambda: bench.heard["b2"], "a share")
        [slot] = bench.heard["b2"][0].trials
        assert slot * SLOT_S == pytest.approx(time.time(), abs=2.0)


async def test_the_stream_is_bounded(server: RedisServer) -> None:
    stream = await RedisEvidence.open(server.url)
    for _ in range(3 * KEPT):
        await stream.say(b"word")
    async with contextlib.AsyncExitStack() as stack:
        client: Any = Redis.from_url(server.url)
        stack.push_async_callback(client.aclose)
        assert await client.xlen(STREAM) < 1.2 * KEPT
    assert len(await stream.hear()) < 1.2 * KEPT
    assert await stream.hear() == []
    await stream.close()


async def test_a_redis_that_is_away_loses_no_trial(server: RedisServer) -> None:
    async with sharing(server, "a1", "b2") as bench:
        server.stop()
        bench.pools["a1"].trial(share(), SLOT, (1, 0, 1, 0))
        await eventually(lambda: not bench.poolings["a1"].is_open, "trouble")
        bench.pools["a1"].trial(share(), SLOT, (1, 0, 1, 0))
        server.start()
        await bench.changes.until(lambda: bench.heard["b2"], "a share")
        await eventually(lambda: sum(s.trials[SLOT][0] for s in bench.heard["b2"]) == 2, "both")


def guard_of(state: RouteState, resumed_at: float | None = None) -> Guard:
    """A guard of one of two replicas, over one route."""
    guard = Guard(lambda judged: None, lambda *low: None)
    record = Record("a", 1, "d", state.phase, state.phase, state.authority, resumed_at=resumed_at)
    replicas = (Replica("a1", "", 1, 0.0), Replica("b2", "", 1, 0.0))
    stored = Stored(records={"a": record}, replica="a1", replicas=replicas)
    guard.use(
        World(
            slots=1,
            stored=stored,
            revision=1,
            routes={"a": route("a", state.phase, digest="d")},
            states={"a": state},
            policies={"a": Policy(Revert(min_samples=10))},
        )
    )
    return guard


def test_what_others_count_is_judged_like_ones_own() -> None:
    state = RouteState.of_phase(Phase(25))
    one, other = guard_of(state), guard_of(state)
    for number in range(20):
        counts = Counts("a", trials={SLOT + number: [0, 30, 0, 30, 0]})
        one.reported(Report(0, [counts]), 0.0)
    assert one.verdict("a").state == "failing"
    assert other.verdict("a").state == "inconclusive"
    for said in one.pool.take():
        other.heard(said)
    assert other.verdict("a") == one.verdict("a")
    assert other.pool.take() == []  # what was heard is not said again


@pytest.mark.parametrize(
    "changed", [{"phase": Phase(50)}, {"digest": "older"}, {"resumed_at": 5.0}, {"route": "b"}]
)
def test_what_is_about_something_else_is_no_evidence(changed: dict[str, object]) -> None:
    guard = guard_of(RouteState.of_phase(Phase(25)))
    said = share(trials={SLOT: [0, 1000, 0, 1000]})
    for name, value in changed.items():
        setattr(said, name, value)
    guard.heard(said)
    assert guard.verdict("a").state == "inconclusive"
    known = guard.progress("a")
    assert known is None or known.trials == 0
