"""The ledger's order: durable first, then published; and what it does when the store fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from proxy.control.ledger import Ledger
from proxy.control.steering import Order
from proxy.control.world import Decision, WriteMissed
from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, ZERO, Phase, RouteState, Side
from proxy.store.memory import MemoryStore
from proxy.store.opening import Opened, open_state
from proxy.store.records import Change, Stored
from proxy.store.snapshot import read_snapshot, snapshot_path, write_snapshot
from proxy.store.sqlite import SqliteStore
from proxy.store.state import StoreError
from tests.control.estate import route, table
from tests.harness.waiting import Changes, eventually


class FailingStore(MemoryStore):
    """A store whose next commits fail, before or after they were written."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []

    async def commit(self, change: Change) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure != "before":
            await super().commit(change)
        if failure:
            raise StoreError(f"the disk is gone ({failure})")


class AwayStore(MemoryStore):
    """A store that can be out of reach."""

    is_away = False

    async def load(self) -> Stored:
        if self.is_away:
            raise StoreError("the disk is away")
        return await super().load()

    async def commit(self, change: Change) -> None:
        if self.is_away:
            raise StoreError("the disk is away")
        await super().commit(change)


class Bench:
    """A ledger at work, and what it published."""

    def __init__(self, folder: Path, store: MemoryStore | None) -> None:
        self.published: list[Decision] = []
        self.changes = Changes()
        self.path = folder / "state.db"
        self.store = store

        async def opened() -> Opened:
            if store is None:
                return await open_state(self.path)
            return Opened(store, await store.begin(), False)

        self.ledger = Ledger(1, opened, snapshot_path(self.path), self._publish)

    def _publish(self, decision: Decision) -> None:
        self.published.append(decision)
        self.changes.notify()

    async def until_published(self, count: int) -> Decision:
        await self.changes.until(lambda: len(self.published) >= count, f"{count} decisions")
        return self.published[count - 1]


@asynccontextmanager
async def bench(folder: Path, store: MemoryStore | None = None) -> AsyncIterator[Bench]:
    made = Bench(folder, store)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.ledger.run())
        yield made
        task.cancel()


async def test_what_is_published_is_in_the_store_and_in_the_snapshot(tmp_path: Path) -> None:
    store = MemoryStore()
    async with bench(tmp_path, store) as made:
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        await made.until_published(1)
        made.ledger.submit(WriteMissed("a", Side.NEW))
        decision = await made.until_published(2)
        assert decision.states["a"].missed == {Side.NEW}
        stored = await store.load()
        assert stored.records["a"].missed == {Side.NEW}
        assert read_snapshot(snapshot_path(made.path)) == stored == decision.world.stored


async def test_a_commit_that_failed_is_read_again_and_decided_again(tmp_path: Path) -> None:
    for failure in ("before", "after"):
        store = FailingStore()
        async with bench(tmp_path / failure, store) as made:
            made.ledger.submit(table(route("a", LEGACY_ONLY)))
            await made.until_published(1)
            store.failures = [failure, failure]
            made.ledger.submit(WriteMissed("a", Side.NEW))
            decision = await made.until_published(2)
            # What is missed cannot wait: the snapshot has it before it is published.
            assert decision.states["a"].missed == {Side.NEW}
            assert decision.world.frozen
            await made.changes.until(lambda: not made.published[-1].world.frozen, "a thaw", 20)
            world = made.published[-1].world
            assert (await store.load()).records["a"] == world.stored.records["a"]
            assert world.states["a"].missed == {Side.NEW}
            assert [each.kind for each in await store.history("a")] == ["missed"]
            assert made.ledger.problem is None


async def test_a_store_that_is_read_and_not_written_is_tried_again_less_and_less_often(
    tmp_path: Path,
) -> None:
    """A full disk made ten critical lines a second."""
    store = FailingStore()
    async with bench(tmp_path, store) as made:
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        await made.until_published(1)
        store.failures = ["before", "before", "before"]
        with structlog.testing.capture_logs() as lines:
            made.ledger.submit(WriteMissed("a", Side.NEW))
            await made.until_published(2)  # apart
            await made.changes.until(lambda: not made.published[-1].world.frozen, "a thaw", 20)
        assert [each["attempt"] for each in lines if "attempt" in each] == [1, 2, 3]


async def test_a_revert_by_hand_does_not_wait_for_the_store(tmp_path: Path) -> None:
    store = AwayStore()
    async with bench(tmp_path, store) as made:
        made.ledger.submit(table(route("a", Phase(50))))
        await made.until_published(1)
        store.is_away = True
        assert await made.ledger.order("a", Order("revert", "wrong totals")) == ""
        frozen = made.published[-1].world
        assert frozen.frozen
        assert frozen.states["a"] == RouteState.of_phase(ZERO)
        known = read_snapshot(snapshot_path(made.path))
        assert known is not None
        latch = known.records["a"].latch
        assert latch is not None
        assert (latch.by, latch.reason) == ("operator", "wrong totals")
        assert (await store.history("a")) == []
        store.is_away = False
        await made.changes.until(lambda: not made.published[-1].world.frozen, "a thaw", 20)
        assert (await store.load()).records["a"].latch == latch
        assert [each.kind for each in await store.history("a")] == ["revert"]
        assert made.published[-1].world.states["a"] == frozen.states["a"]


async def test_a_store_out_of_reach_is_replaced_by_the_snapshot_until_it_is_back(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    holder = await SqliteStore.open(path)
    await holder.begin()
    async with bench(tmp_path / "other", MemoryStore()) as made:
        made.ledger.submit(table(route("a", DUAL_WRITE)))
        before = (await made.until_published(1)).world.stored
    await holder.commit(Change(tuple(before.records.values()), table=before.table))
    write_snapshot(snapshot_path(path), before)

    async with bench(tmp_path) as made:
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        decision = await made.until_published(1)
        assert decision.world.frozen
        assert decision.world.states["a"].phase == DUAL_WRITE
        assert made.ledger.problem is not None
        made.ledger.submit(WriteMissed("a", Side.LEGACY))
        await holder.close()
        await made.changes.until(lambda: not made.published[-1].world.frozen, "a thaw", 20)
        world = made.published[-1].world
        assert world.states["a"].phase == LEGACY_ONLY
        assert world.states["a"].writes_paused
        assert world.states["a"].missed == {Side.LEGACY}
        assert made.ledger.problem is None


async def test_without_store_and_snapshot_nothing_is_published(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("nonsense")
    async with bench(tmp_path) as made:
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        await eventually(lambda: made.ledger.problem, "a problem")
        assert made.published == []
        assert made.ledger.world is None
        path.unlink()
        await made.until_published(1)


async def test_a_store_that_fails_in_the_beginning_is_given_back_before_the_next_try(
    tmp_path: Path,
) -> None:
    """A file that this process still held was "in use by another process" for ever."""
    async with bench(tmp_path / "other", MemoryStore()) as made:
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        known = (await made.until_published(1)).world.stored
    # The snapshot knows more than the stores, which are told first of all.
    snapshot = tmp_path / "state.snapshot.json"
    write_snapshot(snapshot, known)
    stores: list[FailingStore] = []

    async def opened() -> Opened:
        store = FailingStore()
        store.failures = [] if stores else ["before"]
        stores.append(store)
        return Opened(store, await store.begin(), False)

    ledger = Ledger(1, opened, snapshot, lambda decision: None)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ledger.run())
        await eventually(lambda: ledger.world is not None and not ledger.world.frozen, "a store")
        with pytest.raises(StoreError, match="closed"):
            await stores[0].load()
        assert (await stores[1].load()).records == known.records
        task.cancel()
