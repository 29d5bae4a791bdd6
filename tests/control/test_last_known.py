"""What a replica heard of others is known on its machine too, before its workers are told."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from proxy.control import ledger
from proxy.control.ledger import Ledger
from proxy.control.world import Decision, WriteMissed
from proxy.core.model import ZERO, Side
from proxy.store.opening import open_shared_state
from proxy.store.records import Stored
from proxy.store.snapshot import LastKnown, read_snapshot
from tests.control.estate import route, table
from tests.harness.redisserver import RedisServer, redis_server
from tests.harness.waiting import Changes


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, redis_server()) as server:
        yield server


class Machine:
    """A replica, its snapshot, the memory of its launcher, and what was known when it published."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        self.path = folder / f"{name}.snapshot.json"
        self.memory = os.memfd_create(name)
        self.changes = Changes()
        self.published: list[tuple[Decision, Stored | None, Stored | None]] = []
        opener = partial(open_shared_state, url, name, name, self.path)
        self.ledger = Ledger(1, opener, self.path, self._publish, memory=self.memory)

    def _publish(self, decision: Decision) -> None:
        known = read_snapshot(self.path), LastKnown(self.path, self.memory).read()
        self.published.append((decision, *known))
        self.changes.notify()

    async def until_missed(
        self, sides: frozenset[Side]
    ) -> tuple[Decision, Stored | None, Stored | None]:
        def found() -> list[tuple[Decision, Stored | None, Stored | None]]:
            states = [(each[0].world.states.get("a"), each) for each in self.published]
            return [each for state, each in states if state is not None and state.missed == sides]

        await self.changes.until(found, "the flag")
        return found()[0]


@asynccontextmanager
async def machines(folder: Path, url: str) -> AsyncIterator[list[Machine]]:
    made = [Machine(folder, name, url) for name in ("a1", "b2")]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.ledger.run()) for each in made]
            yield made
            for task in tasks:
                task.cancel()
    finally:
        for each in made:
            os.close(each.memory)


async def test_what_another_replica_stored_is_in_the_snapshot_before_it_is_published(
    tmp_path: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that began while the Redis was away undid it in its workers."""
    monkeypatch.setattr(ledger, "WATCH_S", 1.0)  # the end may wait for it
    async with machines(tmp_path, redis.url) as (first, second):
        for each in (first, second):
            each.ledger.submit(table(route("a", ZERO)))
            await each.until_missed(frozenset())
        missed: frozenset[Side] = frozenset()
        for side in Side:
            first.ledger.submit(WriteMissed("a", side))
            missed |= {side}
            for each in (first, second):
                decision, file, memory = await each.until_missed(missed)
                for known in (file, memory):
                    assert known is not None
                    assert known.records == decision.world.stored.records
                    assert known.records["a"].missed == missed
