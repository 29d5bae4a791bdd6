"""Replicas on one Redis: who is there, whose file leads, moves of authority that wait for all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import combinations
from typing import Any

import pytest
from redis.asyncio import Redis

from proxy.core.model import Side
from proxy.store.records import Change, Stored, TableMark, Transition
from proxy.store.state import ConflictError, LostError
from proxy.store.state_redis import RedisStore
from proxy.store.state_scripts import (
    FILES,
    FORGOTTEN_MS,
    HISTORY,
    KEYS,
    META,
    QUIET,
    RECORDS,
    REPLICAS,
    SILENT_MS,
)
from tests.harness.redisserver import RedisServer, redis_server
from tests.store.test_contract import record


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), redis_server()) as entered:
        yield entered


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Any]:
    opened = Redis.from_url(server.url)
    await opened.flushall()
    yield opened
    await opened.aclose()


@pytest.fixture
async def store(server: RedisServer, client: Any) -> AsyncIterator[RedisStore]:
    opened = await RedisStore.open(server.url, "a1")
    yield opened
    await opened.close()


@pytest.fixture
async def other(server: RedisServer, client: Any) -> AsyncIterator[RedisStore]:
    opened = await RedisStore.open(server.url, "b2")
    yield opened
    await opened.close()


async def test_every_start_of_several_is_counted_once(store: RedisStore, other: RedisStore) -> None:
    found = await asyncio.gather(*(each.begin() for each in [store, other] * 10))
    assert sorted(each.starts for each in found) == list(range(1, 21))


async def test_one_of_two_fills_an_empty_store(store: RedisStore, other: RedisStore) -> None:
    stored = [Stored(n, TableMark(n, "d"), {"users": record(generation=n)}) for n in (3, 4)]
    found = await asyncio.gather(
        store.restore(stored[0]), other.restore(stored[1]), return_exceptions=True
    )
    assert (await store.load()).records == stored[found.index(None)].records
    assert isinstance(found[1 - found.index(None)], ConflictError)


async def test_a_table_has_a_generation_for_each_replica(
    store: RedisStore, other: RedisStore
) -> None:
    await store.commit(Change(table=TableMark(3, "mine")))
    assert (await store.load()).table == TableMark(3, "mine")
    assert (await other.load()).table == TableMark()


def leads(stored: Stored) -> bool:
    """Whether the file of who read it is the newest one of those there are."""
    orders = {each.id: each.order for each in stored.replicas}
    return orders[stored.replica] == max(orders.values())


async def test_the_newest_file_leads_until_nobody_has_it(
    store: RedisStore, other: RedisStore
) -> None:
    await store.declare("old")
    await other.declare("old")
    assert leads(await store.load())
    assert leads(await other.load())
    await other.declare("new")
    assert not leads(await store.load())
    assert leads(await other.load())
    # A file that is started with keeps its order; one that is gone back to does not.
    await store.leave()
    await store.declare("old")
    assert not leads(await store.load())
    await store.declare("new")
    assert leads(await store.load())
    await store.declare("old")
    assert leads(await store.load())
    assert not leads(await other.load())
    await other.declare("old")
    assert leads(await other.load())
    assert leads(await store.load())
    await other.declare("new")
    await other.leave()
    assert [each.id for each in (await store.load()).replicas] == ["a1"]
    assert leads(await store.load())


async def test_a_word_that_is_late_is_not_an_edit(store: RedisStore, other: RedisStore) -> None:
    await other.declare("old")
    await asyncio.gather(store.declare("old"), store.present(), store.declare("new"))
    await asyncio.gather(*(store.present() for _ in range(5)))
    assert leads(await store.load())
    assert not leads(await other.load())


async def test_a_replica_that_is_not_heard_of_is_taken_for_gone(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("old")
    await other.declare("new")
    await store.commit(Change((record(),)))
    await other.commit(Change(quiet={"users": 1}))
    seen = int(await client.hget(REPLICAS, "b2:seen"))
    await client.hset(REPLICAS, "b2:seen", seen - FORGOTTEN_MS + 5000)
    [one, two] = await store.present()
    assert (one.id, two.id, two.quiet) == ("a1", "b2", {"users": 1})
    assert two.age_s == pytest.approx(FORGOTTEN_MS / 1000 - 5, abs=2)
    version = await store.version()
    await client.hset(REPLICAS, "b2:seen", seen - FORGOTTEN_MS)
    [one] = await store.present()
    assert (one.id, await client.hlen(QUIET)) == ("a1", 0)
    assert await store.version() > version
    assert leads(await store.load())


async def test_authority_moves_only_once_all_hold_writes_back(
    store: RedisStore, other: RedisStore
) -> None:
    await store.declare("file")
    await other.declare("file")
    await store.commit(Change((record(authority=Side.LEGACY),)))
    moved = Change((record(generation=2),), swapped={"users": 1})
    with pytest.raises(ConflictError, match="not every replica"):
        await store.commit(moved)
    with pytest.raises(ConflictError, match="not every replica"):
        await other.commit(Change(quiet={"users": 2}))
    await other.commit(Change(quiet={"users": 1}))
    await other.commit(Change(withdrawn={"users": 1}))
    with pytest.raises(ConflictError, match="not every replica"):
        await store.commit(moved)
    await other.commit(Change(quiet={"users": 1}))
    assert [each.quiet for each in (await store.load()).replicas] == [{}, {"users": 1}]
    await store.commit(moved)
    assert (await store.load()).records["users"].authority is Side.NEW
    # It came first: what was said cannot be taken back any more.
    with pytest.raises(ConflictError, match="not every replica"):
        await other.commit(Change(withdrawn={"users": 1}))
    assert [each.quiet for each in (await store.load()).replicas] == [{}, {}]


async def test_what_a_controller_said_is_forgotten_with_it(
    store: RedisStore, other: RedisStore
) -> None:
    await other.declare("file")
    await store.commit(Change((record(),)))
    await other.commit(Change(quiet={"users": 1}))
    await other.begin()
    assert [each.quiet for each in (await store.load()).replicas] == [{}, {}]


async def test_a_server_that_lost_everything_is_filled_by_one_of_several(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("file")
    await store.commit(Change((record(),)))
    known = await store.load()
    await client.flushall()
    with pytest.raises(LostError):
        await other.load()
    found = await asyncio.gather(store.refill(known), other.refill(known), return_exceptions=True)
    assert found.count(None) == 1
    assert (await other.load()).records == known.records


@pytest.mark.parametrize("missing", [*KEYS, *combinations(KEYS, 2)])
async def test_what_a_server_lost_of_its_keys_is_put_back_by_a_replica(
    store: RedisStore, other: RedisStore, client: Any, missing: str | tuple[str, str]
) -> None:
    await store.begin()
    await store.declare("older")
    await other.declare("newer")
    line = Transition(1.0, "users", "phase", "0%", "25%", "file", "edited")
    await store.commit(Change((record(),), transitions=(line,), table=TableMark(3, "t")))
    before, theirs = await store.load(), await other.load()
    lost = (missing,) if isinstance(missing, str) else missing
    await client.delete(*lost)
    for each, known in ((store, before), (other, theirs)):
        with contextlib.suppress(LostError):
            await each.present()
            continue
        await each.refill(known)
        await each.present()
    found = await store.load()
    # Without a sign that there was something the replicas see that their records are not there.
    is_seen = not {META, RECORDS} <= set(lost)
    assert (found.records, found.starts) == ((before.records, 1) if is_seen else ({}, 0))
    assert [each.id for each in found.replicas] == ["a1", "b2"]
    assert not leads(found)
    assert leads(await other.load())
    if REPLICAS not in lost:
        assert found.table == before.table
    if HISTORY not in lost:
        assert await store.history() == [line]
    await store.commit(Change((record(generation=len(found.records) + 1),)))


async def test_what_the_server_still_has_is_not_replaced_by_what_a_replica_knew(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("file")
    await store.commit(Change((record(),)))
    behind = await store.load()
    await store.commit(Change((record(generation=2),)))
    await client.delete(META)
    await other.refill(behind)
    assert (await store.load()).records["users"].generation == 2
    with pytest.raises(ConflictError, match="nothing is missing"):
        await store.refill(behind)


async def test_that_the_last_replica_has_left_is_no_loss(
    server: RedisServer, store: RedisStore, client: Any
) -> None:
    await store.declare("file")
    await store.commit(Change((record(),)))
    await store.leave()
    later = await RedisStore.open(server.url, "c3")
    assert (await later.begin()).records == {"users": record()}
    await later.close()


async def test_a_file_is_the_newest_although_the_server_lost_the_order_of_all(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("old")
    await client.delete(FILES)
    await other.declare("new")
    await store.present()
    assert not leads(await store.load())
    assert leads(await other.load())


async def test_of_files_of_the_same_moment_one_is_the_newest(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("old")
    ((_, order),) = await client.zrange(FILES, 0, -1, withscores=True)
    await client.delete(FILES)
    await other.declare("new")
    await client.zadd(FILES, {"new": order})
    await store.present()
    assert [leads(await each.load()) for each in (store, other)] == [False, True]


async def test_who_is_known_is_waited_for_after_a_refill(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("file")
    await other.declare("file")
    await store.commit(Change((record(authority=Side.LEGACY),)))
    known = await store.load()
    await client.flushall()
    await store.refill(known)
    await store.present()
    assert [each.id for each in (await store.load()).replicas] == ["a1", "b2"]
    with pytest.raises(ConflictError, match="not every replica"):
        await store.commit(Change((record(generation=2),), swapped={"users": 1}))


async def test_after_a_server_was_away_everybody_has_time_to_be_heard_of(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("old")
    await other.declare("new")
    for field in ("a1:seen", "b2:seen"):
        seen = int(await client.hget(REPLICAS, field))
        await client.hset(REPLICAS, field, seen - 2 * FORGOTTEN_MS)
    await client.hset(META, "heard", int(await client.hget(META, "heard")) - SILENT_MS - 1)
    assert len(await store.present()) == 2
    assert not leads(await store.load())


async def test_an_order_that_the_server_lost_is_told_it_again(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    await store.declare("old")
    await other.declare("new")
    await store.commit(Change((record(),)))
    known = await store.load()
    await client.flushall()
    await store.refill(known)
    # Whose file is older may be the first that is back.
    await store.present()
    assert leads(await store.load())
    await other.present()
    assert not leads(await store.load())
    assert leads(await other.load())
