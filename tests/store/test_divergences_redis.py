"""The Redis store of divergences: keys, several writers, a server that is away, speed."""

import asyncio
import random
import signal
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from proxy.store.divergence_scripts import PREFIX
from proxy.store.divergences import StoreBounds
from proxy.store.divergences_redis import TIMEOUT_S, RedisDivergences
from proxy.store.state import StoreError
from tests.harness.redisserver import RedisServer, redis_server
from tests.store.divergences import NOW, difference, divergence
from tests.store.large import check_quick, fill_largely


@pytest.fixture(scope="module")
def program() -> str:
    return redis_server()


@pytest.fixture
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), program) as started:
        yield started


async def opened(server: RedisServer, bounds: StoreBounds | None = None) -> RedisDivergences:
    chance = random.Random(1).random
    return await RedisDivergences.open(server.url, bounds or StoreBounds(), chance, lambda: NOW)


async def test_every_key_has_the_prefix_and_none_is_left(server: RedisServer) -> None:
    store = await opened(server, StoreBounds(samples_a_signature=10))
    await store.add([divergence(n, difference(f"$.f{n % 3}x"), difference()) for n in range(500)])
    await store.save_noise({"orders": b"1"})
    client = Redis.from_url(server.url, decode_responses=True)
    names = [str(key) for key in await client.keys()]
    assert [name for name in names if not name.startswith(PREFIX)] == []
    assert await client.hlen(f"{PREFIX}divergences:ids") == await client.xlen(
        f"{PREFIX}divergences"
    )
    await store.clear("orders")
    left = {f"{PREFIX}divergences", f"{PREFIX}divergences:held"}
    assert set(await client.keys()) == left
    assert await client.xlen(f"{PREFIX}divergences") == 0
    assert await client.hget(f"{PREFIX}divergences:held", "bytes") == "0"
    await client.aclose()
    await store.close()


async def test_several_controllers_keep_the_bounds_together(server: RedisServer) -> None:
    bounds = StoreBounds(count=300, samples_a_signature=50)
    stores = [await opened(server, bounds) for _ in range(4)]

    async def write(which: int) -> None:
        for start in range(0, 500, 50):
            await stores[which].add(
                [
                    divergence(10_000 * which + n, difference(f"$.f{n % 20}x"), difference())
                    for n in range(start, start + 50)
                ]
            )

    await asyncio.gather(*(write(which) for which in range(4)))
    found = await stores[0].signatures()
    assert found[0].count == 2000
    assert sum(each.count for each in found) == 4000
    kept = [each async for each in stores[1].export()]
    assert len({each.id for each in kept}) == len(kept) <= 300
    assert sum(sum(store.dropped().values()) for store in stores) == 2000 - len(kept)
    for store in stores:
        await store.close()


async def test_a_server_that_is_away_is_a_store_error_and_comes_back(server: RedisServer) -> None:
    store = await opened(server)
    await store.add([divergence(1)])
    server.stop()
    with pytest.raises(StoreError, match="cannot be used"):
        await store.page()
    with pytest.raises(StoreError, match="cannot be used"):
        await opened(server)
    server.start()
    await store.add([divergence(2)])  # scripts that the new server does not know yet
    assert [each.id for each in (await store.page()).divergences] == ["d2"]
    await store.close()


async def test_a_server_that_hangs_is_not_waited_for(server: RedisServer) -> None:
    store = await opened(server)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreError, match="cannot be used"):
        await store.add([divergence(1)])
    assert time.monotonic() - began < 2 * TIMEOUT_S
    server.process.send_signal(signal.SIGCONT)
    await store.add([divergence(1)])
    assert (await store.signatures())[0].count == 1
    await store.close()


async def test_a_full_server_is_a_store_error(server: RedisServer) -> None:
    store = await opened(server)
    client = Redis.from_url(server.url)
    await client.config_set("maxmemory", "1")
    with pytest.raises(StoreError, match="cannot be used"):
        await store.add([divergence(1)])
    await client.aclose()
    await store.close()


async def test_a_record_that_cannot_be_read_is_a_store_error(server: RedisServer) -> None:
    store = await opened(server)
    client = Redis.from_url(server.url)
    await client.xadd(f"{PREFIX}divergences", {"record": b"\xc1", "answers": b"", "id": "x"})
    with pytest.raises(StoreError, match="cannot be read"):
        await store.page()
    await client.aclose()
    await store.close()


async def test_a_password_is_not_said(server: RedisServer) -> None:
    with pytest.raises(StoreError) as raised:
        await RedisDivergences.open("redis://me:hidden@127.0.0.1:1/0", StoreBounds(), random.random)
    assert "hidden" not in str(raised.value)
    assert "redis://127.0.0.1:1/0" in str(raised.value)


async def test_a_page_of_a_hundred_thousand_takes_milliseconds(server: RedisServer) -> None:
    store = await opened(server)
    await fill_largely(store)
    await check_quick(store, f"{int(NOW + 100) * 1000:015d}-{0:010d}")
    await store.close()
