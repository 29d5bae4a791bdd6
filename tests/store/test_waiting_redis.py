"""Who waits for a change in the Redis can be stopped at any moment."""

import asyncio
from collections.abc import Iterator

import pytest

from proxy.store.state_redis import RedisStore
from tests.harness.redisserver import RedisServer, redis_server

TURNS = 30


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), redis_server()) as started:
        yield started


async def test_a_wait_that_is_cancelled_ends(server: RedisServer) -> None:
    """The client swallows a cancellation now and then, whatever it was doing."""
    store = await RedisStore.open(server.url, "a1")
    known = await store.version()
    for turns in range(TURNS):
        waiting = asyncio.create_task(store.wait_for_change(known, 30))
        for _ in range(turns // 2):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait([waiting], timeout=5)
        assert done, f"it waits on, cancelled after {turns // 2} turns of the loop"
    await store.close()
