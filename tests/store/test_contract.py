"""What every StateStore must do, run against each of them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, ZERO, Side
from proxy.store.memory import MemoryStore
from proxy.store.records import Change, Latch, Record, Stored, TableMark, Transition
from proxy.store.sqlite import SqliteStore
from proxy.store.state import HISTORY_KEPT, ConflictError, StateStore, StoreError
from proxy.store.state_redis import RedisStore
from tests.harness.redisserver import RedisServer, redis_server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), redis_server()) as server:
        yield server


async def emptied(url: str) -> str:
    client = Redis.from_url(url)
    await client.flushall()
    await client.aclose()
    return url


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    opened: StateStore
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "redis":
        url = await emptied(request.getfixturevalue("redis").url)
        opened = await RedisStore.open(url, "a1")
    else:
        opened = await SqliteStore.open(tmp_path / "state.db")
    yield opened
    await opened.close()


def record(name: str = "users", generation: int = 1, **changed: object) -> Record:
    values: dict[str, object] = {
        "digest": "d",
        "declared": DUAL_WRITE,
        "effective": DUAL_WRITE,
        "authority": Side.NEW,
        "missed": frozenset({Side.LEGACY}),
        **changed,
    }
    return Record(name, generation, **values)  # type: ignore[arg-type]


def kept(stored: Stored) -> Stored:
    """Without who shares the store."""
    return Stored(stored.starts, stored.table, stored.records)


def transition(number: int, route: str = "users") -> Transition:
    return Transition(float(number), route, "phase", "0%", "1%", "file", "edited")


async def test_a_new_store_is_empty(store: StateStore) -> None:
    assert kept(await store.load()) == Stored()
    assert await store.history() == []


async def test_each_start_is_counted(store: StateStore) -> None:
    assert (await store.begin()).starts == 1
    assert (await store.begin()).starts == 2
    assert (await store.load()).starts == 2


async def test_what_is_committed_is_loaded(store: StateStore) -> None:
    await store.commit(Change((record(), record("(unmatched)")), table=TableMark(3, "digest")))
    stored = await store.load()
    assert stored.records == {"users": record(), "(unmatched)": record("(unmatched)")}
    assert stored.table == TableMark(3, "digest")


async def test_a_record_that_follows_replaces(store: StateStore) -> None:
    await store.commit(Change((record(),)))
    following = record(generation=2, effective=LEGACY_ONLY)
    await store.commit(Change((following,)))
    assert (await store.load()).records == {"users": following}


@pytest.mark.parametrize("generation", [0, 1, 3])
async def test_a_record_that_does_not_follow_changes_nothing(
    store: StateStore, generation: int
) -> None:
    await store.commit(Change((record(),)))
    stale = Change(
        (record("orders"), record(generation=generation)),
        forgotten=("users",),
        transitions=(transition(1),),
        table=TableMark(9, "other"),
    )
    with pytest.raises(ConflictError):
        await store.commit(stale)
    assert kept(await store.load()) == Stored(records={"users": record()})
    assert await store.history() == []


async def test_a_first_record_must_be_generation_one(store: StateStore) -> None:
    with pytest.raises(ConflictError):
        await store.commit(Change((record(generation=2),)))


async def test_a_forgotten_record_is_gone(store: StateStore) -> None:
    await store.commit(Change((record(), record("orders"))))
    await store.commit(Change(forgotten=("users", "never-there")))
    assert set((await store.load()).records) == {"orders"}


async def test_history_comes_newest_first_and_by_route(store: StateStore) -> None:
    await store.commit(Change(transitions=(transition(1), transition(2, "orders"))))
    await store.commit(Change(transitions=(transition(3),)))
    assert [each.at for each in await store.history()] == [3.0, 2.0, 1.0]
    assert await store.history("users") == [transition(3), transition(1)]
    assert await store.history(limit=1) == [transition(3)]


async def test_history_is_bounded(store: StateStore) -> None:
    many = tuple(transition(number) for number in range(HISTORY_KEPT + 5))
    await store.commit(Change(transitions=many))
    kept = await store.history(limit=HISTORY_KEPT + 5)
    assert len(kept) == HISTORY_KEPT
    assert kept[0].at == HISTORY_KEPT + 4


async def test_an_empty_store_is_filled_from_a_snapshot(store: StateStore) -> None:
    latch = Latch(5.0, DUAL_WRITE, ZERO, "guard", "errors", "9 of 9")
    records = {"users": record(generation=5, latch=latch), "orders": record("orders")}
    snapshot = Stored(7, TableMark(3, "digest"), records)
    await store.restore(snapshot)
    assert kept(await store.load()) == snapshot
    # Of its history a snapshot knows the latches.
    assert await store.history() == [
        Transition(5.0, "users", "revert", "dual-write", "0%", "guard", "errors", "9 of 9")
    ]
    with pytest.raises(ConflictError):
        await store.restore(snapshot)


async def test_a_closed_store_refuses(store: StateStore) -> None:
    await store.close()
    with pytest.raises(StoreError):
        await store.load()
