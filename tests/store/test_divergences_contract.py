"""What every DivergenceStore must do, run against each of them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import msgspec
import pytest
from redis.asyncio import Redis

from proxy.core.divergences import Divergence, Page, SignatureNoise, signature
from proxy.store.divergences import OTHER, SHOWN_SAMPLES, DivergenceStore, StoreBounds
from proxy.store.divergences_redis import RedisDivergences
from proxy.store.divergences_sqlite import SqliteDivergences
from proxy.store.state import StoreError
from tests.harness.redisserver import RedisServer, redis_server
from tests.store.divergences import NOW, difference, divergence

PRICE = signature("orders", "$.price", "value")

Open = Callable[..., Awaitable[DivergenceStore]]


@pytest.fixture(params=["sqlite", "redis"])
async def open_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Open]:
    opened: list[DivergenceStore] = []
    folder = tmp_path_factory.mktemp("store")

    async def open_one(now: Callable[[], float] = lambda: NOW, **bounds: float) -> DivergenceStore:
        wanted = msgspec.convert(bounds, StoreBounds)
        chance = random.Random(7).random
        store: DivergenceStore
        if request.param == "sqlite":
            store = await SqliteDivergences.open(folder / "divergences.db", wanted, chance, now)
        else:
            url = request.getfixturevalue("redis").url
            store = await RedisDivergences.open(url, wanted, chance, now)
        opened.append(store)
        return store

    if request.param == "redis":
        await emptied(request.getfixturevalue("redis").url)
    yield open_one
    for store in opened:
        await store.close()


async def emptied(url: str) -> None:
    client = Redis.from_url(url)
    await client.flushall()
    await client.aclose()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), redis_server()) as server:
        yield server


@pytest.fixture
async def store(open_store: Open) -> DivergenceStore:
    return await open_store()


def numbers(divergences: "tuple[Divergence, ...] | list[Divergence]") -> list[int]:
    return [int(each.id[1:]) for each in divergences]


async def everything(store: DivergenceStore, **only: str) -> list[Divergence]:
    """All pages, one after another."""
    found: list[Divergence] = []
    page = await store.page(limit=7, **only)  # type: ignore[arg-type]
    found += page.divergences
    while page.next is not None:
        page = await store.page(limit=7, cursor=page.next, **only)  # type: ignore[arg-type]
        found += page.divergences
    return found


async def test_a_new_store_is_empty(store: DivergenceStore) -> None:
    assert await store.page() == msgspec.structs.replace(await store.page(), divergences=())
    assert (await store.page()).next is None
    assert await store.signatures() == []
    assert [each async for each in store.export()] == []
    assert await store.get("d1") is None
    assert await store.load_noise() == {}
    assert store.dropped() == {}


async def test_what_is_added_is_there(store: DivergenceStore) -> None:
    one = divergence(1, difference(), difference("$.items[3].id", "missing"))
    await store.add([one])
    assert await store.get("d1") == one
    [listed] = (await store.page()).divergences
    assert listed == msgspec.structs.replace(one, legacy_answer=None, new_answer=None)


async def test_it_is_there_after_a_restart(open_store: Open) -> None:
    store = await open_store()
    await store.add([divergence(1)])
    await store.save_noise({"orders": b"learned"})
    await store.close()
    again = await open_store()
    assert await again.get("d1") == divergence(1)
    assert await again.load_noise() == {"orders": b"learned"}
    assert (await again.signatures())[0].count == 1


async def test_adding_again_what_is_there_changes_nothing(store: DivergenceStore) -> None:
    await store.add([divergence(1), divergence(1)])
    await store.add([divergence(1), divergence(2)])
    assert numbers((await store.page()).divergences) == [2, 1]
    assert (await store.signatures())[0].count == 2


async def test_pages_are_the_newest_first_and_miss_none(store: DivergenceStore) -> None:
    await store.add([divergence(number) for number in range(50)])
    assert numbers(await everything(store)) == list(range(49, -1, -1))


async def test_a_page_that_is_just_full_has_none_behind_it(store: DivergenceStore) -> None:
    await store.add([divergence(number) for number in range(7)])
    assert (await store.page(limit=7)).next is None
    assert (await store.page(limit=6)).next is not None


async def test_those_of_one_moment_are_not_lost_between_pages(store: DivergenceStore) -> None:
    await store.add([divergence(number, at=NOW) for number in range(30)])
    assert sorted(numbers(await everything(store))) == list(range(30))


async def test_paging_is_stable_while_others_come(store: DivergenceStore) -> None:
    await store.add([divergence(number) for number in range(20)])
    first = await store.page(limit=10)
    await store.add([divergence(number) for number in range(20, 40)])
    second = await store.page(limit=10, cursor=first.next)
    assert numbers(first.divergences + second.divergences) == list(range(19, -1, -1))


async def test_pages_of_a_route_a_signature_and_a_time(store: DivergenceStore) -> None:
    await store.add([divergence(number) for number in range(20)])
    await store.add([divergence(100 + number, route="users") for number in range(20)])
    await store.add([divergence(200, difference("$.name", "type"))])
    assert numbers(await everything(store, route="users")) == list(range(119, 99, -1))
    assert numbers(await everything(store, signature=PRICE)) == list(range(19, -1, -1))
    assert await everything(store, signature=PRICE, route="users") == []
    assert await everything(store, signature="orders $.nothing value") == []
    assert await everything(store, route="nothing") == []
    since = await store.page(since=NOW + 118)
    assert numbers(since.divergences) == [200, 119, 118]


@pytest.mark.parametrize("cursor", ["", "x", "1", "_", "nan_1", "1.5_x", "1_²", "1.5_-1", "a" * 99])
async def test_a_bad_cursor_is_refused(store: DivergenceStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await store.page(cursor=cursor)


async def test_signatures_count_what_counts_and_what_noise_explains(store: DivergenceStore) -> None:
    await store.add(
        [
            divergence(1, difference(), difference("$.items[3].id")),
            divergence(2, difference("$.items[9].id", noise=True), difference()),
            divergence(3, difference("$.items[0].id"), difference("$.items[1].id", noise=True)),
            divergence(4, result="noise"),
        ]
    )
    items, price = await store.signatures()
    assert (price.signature, price.route, price.path, price.kind) == (
        *(PRICE, "orders", "$.price", "value"),
    )
    assert (price.count, price.noise) == (2, SignatureNoise(0.0, 0, 1))
    assert (price.first_at, price.last_at) == (NOW + 1, NOW + 4)
    assert price.sample_ids == ("d4", "d2", "d1")
    assert (items.path, items.count, items.noise) == (
        *("$.items[*].id", 2, SignatureNoise(0.0, 0, 1)),
    )


async def test_signatures_come_most_counted_first_and_by_route(store: DivergenceStore) -> None:
    await store.add([divergence(n, difference(f"$.f{n % 10 % 4}")) for n in range(100)])
    await store.add([divergence(1000, route="users")])
    counts = [each.count for each in await store.signatures()]
    assert counts == [30, 30, 20, 20, 1]
    assert [each.route for each in await store.signatures("users")] == ["users"]
    assert len(await store.signatures(limit=2)) == 2
    assert len((await store.signatures())[0].sample_ids) == SHOWN_SAMPLES


async def test_counts_go_on_where_samples_are_dropped(open_store: Open) -> None:
    store = await open_store(samples_a_signature=20)
    for start in range(0, 1000, 50):
        await store.add([divergence(number) for number in range(start, start + 50)])
    [only] = await store.signatures()
    assert (only.count, only.first_at, only.last_at) == (1000, NOW, NOW + 999)
    assert len(await everything(store)) == 20
    assert store.dropped() == {"reservoir": 980}


async def test_samples_are_of_all_of_a_signatures_time(open_store: Open) -> None:
    store = await open_store(samples_a_signature=100)
    for start in range(0, 5000, 25):
        await store.add([divergence(number, answers=False) for number in range(start, start + 25)])
    kept = numbers(await everything(store))
    assert kept[:10] == list(range(4999, 4989, -1))  # the newest are all there
    # 90 others over five fifths: 18 each, and 8 or 30 in one of them is four deviations away.
    fifths = [sum(1 for number in kept[10:] if number // 1000 == fifth) for fifth in range(5)]
    assert sum(fifths) == 90
    assert all(8 <= count <= 30 for count in fifths), fifths


async def test_a_rare_signature_is_not_pushed_out_by_a_frequent_one(open_store: Open) -> None:
    store = await open_store(samples_a_signature=10)
    await store.add([divergence(1, difference("$.rare"), difference())])
    await store.add([divergence(number) for number in range(10, 500)])
    rare = signature("orders", "$.rare", "value")
    assert numbers(await everything(store, signature=rare)) == [1]
    assert await store.get("d1") is not None


async def test_the_same_chance_keeps_the_same(open_store: Open) -> None:
    store = await open_store(samples_a_signature=20)
    await store.add([divergence(number) for number in range(300)])
    first = numbers(await everything(store))
    await store.clear("orders")
    await store.close()
    again = await open_store(samples_a_signature=20)
    await again.add([divergence(number) for number in range(300)])
    assert numbers(await everything(again)) == first


async def test_the_oldest_go_beyond_the_count(open_store: Open) -> None:
    store = await open_store(count=100)
    for start in range(0, 150, 10):
        await store.add([divergence(number) for number in range(start, start + 10)])
    assert numbers(await everything(store)) == list(range(149, 49, -1))
    assert store.dropped() == {"count": 50}
    assert (await store.signatures())[0].count == 150


async def test_the_oldest_go_beyond_the_bytes(open_store: Open) -> None:
    store = await open_store(size_bytes=20_000)
    for start in range(0, 150, 10):
        await store.add([divergence(number) for number in range(start, start + 10)])
    kept = numbers(await everything(store))
    assert kept == list(range(149, 149 - len(kept), -1))
    assert 20 < len(kept) < 120
    assert store.dropped() == {"bytes": 150 - len(kept)}


async def test_one_that_is_too_large_is_kept_without_its_answers(open_store: Open) -> None:
    store = await open_store(size_bytes=160_000)
    noise = random.Random(1)
    body = "".join(chr(noise.randrange(33, 127)) for _ in range(50_000))
    large = divergence(1)
    assert large.new_answer is not None
    answer = msgspec.structs.replace(large.new_answer, body=body)
    await store.add([msgspec.structs.replace(large, new_answer=answer)])
    kept = await store.get("d1")
    assert kept is not None
    assert kept.new_answer is None


async def test_the_old_go_with_age(open_store: Open) -> None:
    moment = [NOW]
    store = await open_store(now=lambda: moment[0], age_s=100.0)
    await store.add([divergence(number) for number in range(5)])
    await store.add([divergence(50, difference("$.later"))])
    moment[0] = NOW + 103
    assert numbers(await everything(store)) == [50, 4, 3]  # not shown, though not yet deleted
    await store.add([divergence(60, difference("$.later"))])
    assert numbers(await everything(store)) == [60, 50, 4, 3]
    assert store.dropped() == {"age": 3}
    moment[0] = NOW + 120
    assert [each.path for each in await store.signatures()] == ["$.later"]


async def test_new_samples_come_in_where_old_ones_went(open_store: Open) -> None:
    moment = [NOW]
    store = await open_store(now=lambda: moment[0], age_s=1000.0, samples_a_signature=20)
    for start in range(0, 5000, 100):
        moment[0] = NOW + start + 100
        await store.add([divergence(number) for number in range(start, start + 100)])
    kept = numbers(await everything(store))
    # What aged last has just made room, and by and by the whole time that is left has its share.
    assert 15 <= len(kept) <= 20
    assert len([number for number in kept if number < 4900]) > 9


async def test_signatures_of_a_route_are_bounded(open_store: Open) -> None:
    store = await open_store(signatures_a_route=10)
    paths = [difference(f"$.key{number}x") for number in range(30)]
    await store.add([divergence(number, paths[number]) for number in range(30)])
    await store.add([divergence(30, *paths[20:]), divergence(31, route="users")])
    found = {each.path: each for each in await store.signatures("orders")}
    assert len(found) == 11
    assert (found[OTHER].count, found[OTHER].kind) == (21, "other")
    assert len(await everything(store, signature=signature("orders", OTHER, "other"))) == 21
    assert len(await store.signatures("users")) == 1


async def test_signatures_of_all_routes_are_bounded(open_store: Open) -> None:
    store = await open_store(signatures=10)
    await store.add([divergence(n, difference(f"$.k{n}x"), route=f"r{n}") for n in range(20)])
    paths = [each.path for each in await store.signatures()]
    assert len(paths) == 20
    assert paths.count(OTHER) == 10


async def test_one_without_a_difference_is_kept(store: DivergenceStore) -> None:
    await store.add([msgspec.structs.replace(divergence(1), differences=())])
    assert numbers((await store.page()).divergences) == [1]
    assert [each.path for each in await store.signatures()] == [OTHER]


async def test_an_export_is_the_oldest_first_with_the_answers(store: DivergenceStore) -> None:
    await store.add([divergence(number) for number in range(60)])
    await store.add([divergence(100 + number, route="users") for number in range(5)])
    found = [each async for each in store.export()]
    assert numbers(found) == [*range(60), *range(100, 105)]
    assert found[0] == divergence(0)
    assert numbers([each async for each in store.export("users")]) == list(range(100, 105))


async def test_a_route_can_be_forgotten(store: DivergenceStore) -> None:
    await store.add([divergence(number) for number in range(10)])
    await store.add([divergence(100, route="users")])
    await store.save_noise({"orders": b"1", "users": b"2"})
    assert await store.clear("orders") == 10
    assert numbers(await everything(store)) == [100]
    assert [each.route for each in await store.signatures()] == ["users"]
    assert await store.load_noise() == {"users": b"2"}
    assert await store.clear("orders") == 0


async def test_noise_is_replaced_a_route_at_a_time(store: DivergenceStore) -> None:
    await store.save_noise({"orders": b"1", "users": bytes(range(256))})
    await store.save_noise({"orders": b"3"})
    assert await store.load_noise() == {"orders": b"3", "users": bytes(range(256))}


async def test_a_closed_store_refuses(store: DivergenceStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError):
        await store.page()


async def test_calls_that_wait_while_it_closes_are_refused(store: DivergenceStore) -> None:
    await store.add([divergence(1)])
    results = await asyncio.gather(
        store.page(),
        store.close(),
        store.page(),
        store.add([divergence(2)]),
        return_exceptions=True,
    )
    assert all(isinstance(each, StoreError | None | Page) for each in results), results
