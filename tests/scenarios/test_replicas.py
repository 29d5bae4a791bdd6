"""Three replicas of Banyan on one Redis: one state, one verdict, whatever happens to the Redis."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from proxy.store.state_scripts import FILES, META, RECORDS, SCHEMA
from proxy.store.state_scripts import REPLICAS as SHARERS
from tests.harness.backend import Backend, Call, Handler, replying
from tests.harness.redisserver import RedisServer, redis_server
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until

REPLICAS = 3
CLIENTS = 6
CONFIG = """\
listen: 127.0.0.1:0
workers: {workers}
state: {redis}
admin: {{listen: 127.0.0.1:0}}
telemetry: {{log_format: json}}
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /shop/*:
    name: shop
    phase: {phase}
    sticky: header:X-Client
    revert: {revert}
"""
RIGHT, WRONG = b'{"total": 12}', b'{"total": 13}'
WITHIN_S = 2.0  # after which all replicas are to be in the same phase


class Estate:
    """A Redis, both services, the replicas in front of them, and what clients saw."""

    def __init__(self, folder: Path, redis: RedisServer, legacy: Backend, new: Backend) -> None:
        self.folder = folder
        self.redis = redis
        self.legacy = legacy
        self.new = new
        self.replicas: list[Serving] = []
        self.numbers = itertools.count()
        self.asked = 0
        self.wrong = 0
        self.failed: list[str] = []
        legacy.handler = new.handler = replying(RIGHT)

    def config(self, phase: str, revert: str = "{}", workers: int = 1) -> str:
        return CONFIG.format(
            workers=workers,
            redis=f"{self.redis.url}?db=0",
            legacy=self.legacy.url,
            new=self.new.url,
            phase=phase,
            revert=revert,
        )

    def replica(self, number: int, text: str) -> Serving:
        folder = self.folder / f"replica{number}"
        folder.mkdir(exist_ok=True)
        return Serving(folder, text)

    async def visit(self, until: Callable[[], bool]) -> None:
        """Ask the replicas in turn, each time as another client for another thing."""
        async with aiohttp.ClientSession() as session:

            async def client() -> None:
                while not until():
                    number = next(self.numbers)
                    self.asked += 1
                    host, port = self.replicas[number % len(self.replicas)].address
                    url = f"http://{host}:{port}/shop/{number}"
                    send = session.post if number % 10 == 0 else session.get
                    async with send(url, headers={"X-Client": str(number)}) as answer:
                        body = await answer.read()
                        self.wrong += body == WRONG
                        if answer.status != 200:
                            self.failed.append(f"{answer.status} {body.decode()}")

            await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def visit_some(self, count: int) -> None:
        end = self.asked + count
        await self.visit(lambda: self.asked >= end)

    async def visit_while(self, doing: Any) -> Any:
        """Visit until that is done; its result."""
        task = asyncio.create_task(doing)
        await self.visit(task.done)
        return await task

    async def all_like(
        self, enough: Callable[[dict[str, Any]], object], within_s: float = 20
    ) -> list[dict[str, Any]]:
        """Wait until the route is like that at every replica; the route at each."""
        waits = [
            asked_until(partial(each.route, "shop"), enough, "what was to come", within_s)
            for each in self.replicas
        ]
        return list(await asyncio.gather(*waits))


@pytest.fixture(scope="module")
def program() -> str:
    return redis_server()


@pytest.fixture
def redis(program: str, tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder, program) as entered:
        yield entered


@pytest_asyncio.fixture
async def estate(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Estate]:
    async with Backend("legacy") as legacy, Backend("new") as new:
        yield Estate(tmp_path, redis, legacy, new)


async def started(estate: Estate, stack: AsyncExitStack, text: str) -> None:
    """All replicas, on the same file."""
    serving = [estate.replica(number, text) for number in range(REPLICAS)]
    estate.replicas = list(await asyncio.gather(*map(stack.enter_async_context, serving)))


def is_at(phase: str) -> Callable[[dict[str, Any]], object]:
    """Whether a route is in this phase, and all of it."""
    return lambda route: route["effective_phase"] == phase and not route["pending"]


def noting(orders: list[str], side: str) -> Handler:
    """Answers rightly, and notes each write that comes."""
    right = replying(RIGHT)

    async def handler(call: Call) -> None:
        if call.method == "POST":
            orders.append(f"{side} {call.target}")
        await right(call)

    return handler


async def history(serving: Serving) -> list[dict[str, Any]]:
    lines = (await serving.admin("/api/v1/history?route=shop"))["history"]
    return [line for line in lines if line["kind"] != "authority"]


async def test_evidence_is_pooled_and_one_revert_reaches_all(estate: Estate) -> None:
    async with AsyncExitStack() as stack:
        await started(estate, stack, estate.config("25%", "{min_samples: 60}", workers=4))
        await estate.visit_some(60)
        estate.new.handler = replying(WRONG)
        before = estate.asked
        began = time.monotonic()
        await estate.visit_while(estate.all_like(lambda route: route["revert"]))
        print(f"{estate.asked - before} requests, {time.monotonic() - began:.1f} s to all reverted")
        lines = await asyncio.gather(*map(history, estate.replicas))
        assert lines[0] == lines[1] == lines[2]
        assert [line["kind"] for line in lines[0]] == ["revert"]
        told = [each.said("route changed", what="revert") for each in estate.replicas]
        assert sum(map(len, told)) == 1
        seen = estate.wrong
        await estate.visit_some(500)
        assert estate.wrong == seen
        assert estate.failed == []


async def test_redis_that_hangs_dies_and_comes_back_empty_costs_no_request_and_no_latch(
    estate: Estate,
) -> None:
    async with AsyncExitStack() as stack:
        await started(estate, stack, estate.config("25%", "{min_samples: 60}"))
        await estate.visit_some(60)

        # It hangs: traffic flows in the phases that were, each replica judges by itself.
        estate.redis.signal(Signals.SIGSTOP)
        estate.new.handler = replying(WRONG)
        routes = await estate.visit_while(
            estate.all_like(lambda route: route["effective_phase"] == "0%")
        )
        assert [route["revert"]["from"] for route in routes] == ["25%"] * REPLICAS
        told = " ".join((await estate.replicas[0].admin("/readyz"))["degraded"])
        assert "until it is back nothing changes but what cannot wait" in told
        estate.redis.signal(Signals.SIGCONT)
        await estate.visit_while(all_ready(estate))
        assert [line["kind"] for line in await history(estate.replicas[0])] == ["revert"]
        seen = estate.wrong

        # It dies, and holds nothing when it is back.
        estate.redis.stop()
        await estate.visit_while(all_away(estate))
        estate.redis.start()
        await estate.visit_while(all_ready(estate))
        routes = await estate.all_like(lambda route: route["effective_phase"] == "0%", WITHIN_S)
        assert [route["revert"]["from"] for route in routes] == ["25%"] * REPLICAS

        # Who starts meanwhile knows of the latch by the snapshot.
        estate.redis.stop()
        first = estate.replicas[0]
        first.signal_child("controller", Signals.SIGKILL)
        await first.says("serving from the last snapshot, frozen")
        estate.redis.start()
        await estate.visit_while(all_ready(estate))
        assert (await first.route("shop"))["revert"]["from"] == "25%"
        assert estate.wrong == seen
        assert estate.failed == []


async def test_keys_that_the_redis_evicts_are_put_back_by_the_replicas(estate: Estate) -> None:
    async with AsyncExitStack() as stack:
        await started(estate, stack, estate.config("25%", "{min_samples: 60}"))
        estate.new.handler = replying(WRONG)
        await estate.visit_while(estate.all_like(lambda route: route["revert"]))
        client = await stack.enter_async_context(Redis.from_url(estate.redis.url))
        seen = estate.wrong
        for key in (SCHEMA, META, RECORDS, SHARERS, FILES):
            await client.delete(key)
            is_back = partial(client.exists, key)
            await estate.visit_while(asked_until(is_back, bool, f"{key} again", 20))
            await estate.visit_while(all_ready(estate))
            routes = await estate.all_like(is_at("0%"), WITHIN_S)
            assert [route["revert"]["from"] for route in routes] == ["25%"] * REPLICAS
        assert [line["kind"] for line in await history(estate.replicas[0])] == ["revert"]
        assert estate.wrong == seen
        assert estate.failed == []


async def all_ready(estate: Estate) -> None:
    for each in estate.replicas:
        await each.until_ready(0, 30)


async def all_away(estate: Estate) -> None:
    for each in estate.replicas:
        ask = partial(each.admin, "/readyz")
        await asked_until(ask, lambda ready: ready["status"] == "degraded", "trouble", 20)


async def test_a_file_that_is_deployed_to_one_after_the_other_leads_at_once(
    estate: Estate,
) -> None:
    async with AsyncExitStack() as stack:
        await started(estate, stack, estate.config("25%"))
        first, *others = estate.replicas
        newer = estate.config("dual-write")
        first.config.write_text(newer)
        routes = await estate.visit_while(estate.all_like(is_at("dual-write")))
        assert [route["stale"] for route in routes] == [False, True, True]
        for each in others:
            found = (await each.admin("/api/v1/config"))["findings"]
            assert [finding["code"] for finding in found] == ["CONFIG_STALE"]
        # One with the older file is started again: it goes on following.
        others[0].signal(Signals.SIGTERM)
        assert await others[0].exit_code() == 0
        again = estate.replica(1, estate.config("25%"))
        estate.replicas[1] = await stack.enter_async_context(again)
        assert (await again.route("shop"))["effective_phase"] == "dual-write"
        # The last ones get it; nobody is behind any more.
        for each in estate.replicas[1:]:
            each.config.write_text(newer)
        await estate.visit_while(estate.all_like(lambda route: not route["stale"]))
        # It is taken back, everywhere, and leads again.
        estate.replicas[2].config.write_text(estate.config("25%"))
        await estate.visit_while(estate.all_like(is_at("25%")))
        kinds = [(line["kind"], line["to"]) for line in await history(estate.replicas[0])]
        assert kinds == [("phase", "25%"), ("phase", "dual-write")]
        assert estate.failed == []


async def test_writes_have_one_order_while_authority_moves_between_replicas(
    estate: Estate,
) -> None:
    """Each side sees every write, and first the side that has authority."""
    async with AsyncExitStack() as stack:
        await started(estate, stack, estate.config("99%"))
        orders: list[str] = []
        estate.legacy.handler = noting(orders, "legacy")
        estate.new.handler = noting(orders, "new")
        for phase, authority in (("dual-write", "new"), ("99%", "legacy"), ("dual-write", "new")):
            for each in estate.replicas:
                each.config.write_text(estate.config(phase))
            began = time.monotonic()
            await estate.visit_while(estate.all_like(is_at(phase)))
            print(f"{phase} at all after {time.monotonic() - began:.2f} s")
            orders.clear()
            await estate.visit_some(200)
            first: dict[str, str] = {}
            for side_and_target in orders:
                side, target = side_and_target.split(" ")
                first.setdefault(target, side)
            assert set(first.values()) == {authority}
        assert estate.failed == []
