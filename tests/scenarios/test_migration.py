"""A whole migration: two stateful services, three replicas, reads and writes, one bad release.

No client sees a wrong status at any time, and a wrong answer only of the bad release. Each reads
what it wrote. At each step both services hold the same of every key.
"""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.redisserver import RedisServer, redis_server
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until
from tests.scenarios.counters import counters
from tests.scenarios.test_guard import banyan

REPLICAS = 3
CLIENTS = 8
CONFIG = """\
listen: 127.0.0.1:0
state: {redis}
admin: {{listen: 127.0.0.1:0}}
telemetry: {{log_format: json}}
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /count/*:
    name: counts
    phase: 0%
    sticky: header:X-Client
    compare: {compare}
    revert: {{min_samples: 100, cooldown: 0s}}
    advance:
      steps: [10%, 50%, dual-write, new-only]
      dwell: 1s
      min_samples: 200
      approve: [new-only]
"""


class Migration:
    """Both services, the replicas in front, and what clients saw."""

    def __init__(self, redis: RedisServer, legacy: str, new: str, folder: Path) -> None:
        self.urls = {"redis": f"{redis.url}?db=0", "legacy": legacy, "new": new}
        self.folder = folder
        self.replicas: list[Serving] = []
        self.numbers = itertools.count()
        self.written: dict[str, int] = {}
        self.wrong = 0
        self.statuses: dict[int, int] = {}

    def config(self, compare: str = "{}") -> str:
        return CONFIG.format(**self.urls, compare=compare)

    def replica(self, number: int) -> Serving:
        folder = self.folder / f"replica{number}"
        folder.mkdir()
        return Serving(folder, self.config())

    async def visit(self, until: Callable[[], bool]) -> None:
        """Clients write a counter of their own and read it again, each time at another replica."""
        async with aiohttp.ClientSession() as session:

            async def client() -> None:
                while not until():
                    number = next(self.numbers)
                    key = f"k{number % 997}-{number // 9970}"
                    await self.one(session, "PUT", key, number)
                    for _ in range(3):
                        await self.one(session, "GET", key, number)

            await asyncio.gather(*(client() for _ in range(CLIENTS)))

    async def one(self, session: aiohttp.ClientSession, method: str, key: str, number: int) -> None:
        host, port = self.replicas[next(self.numbers) % REPLICAS].address
        sent = {"value": number} if method == "PUT" else None
        headers = {"X-Client": key}
        url = f"http://{host}:{port}/count/{key}"
        async with session.request(method, url, json=sent, headers=headers) as answer:
            said = await answer.json()
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if method == "PUT":
                self.written[key] = number
            elif said.get("value") != number:
                self.wrong += 1

    async def visit_until(
        self, enough: Callable[[dict[str, Any]], object], within_s: float = 60
    ) -> list[dict[str, Any]]:
        """Visit until the route is like that at every replica; the route at each."""
        waits = [
            asked_until(partial(each.route, "counts"), enough, "what was to come", within_s)
            for each in self.replicas
        ]
        task = asyncio.gather(*waits)
        await self.visit(task.done)
        return list(await task)

    async def reaches(self, phase: str) -> None:
        """The ladder brings it there, everywhere; then both services hold the same."""
        await self.visit_until(
            lambda route: route["effective_phase"] == phase and not route["pending"]
        )
        await self.hold_the_same()

    async def hold_the_same(self) -> None:
        """Both have each key as it was written last."""
        async with aiohttp.ClientSession() as session:

            async def all_of(side: str) -> Any:
                async with session.get(f"{self.urls[side]}/all") as answer:
                    return await answer.json()

            for side in ("legacy", "new"):
                # The second write of a pair may still be on its way.
                await asked_until(
                    partial(all_of, side), lambda held: held == self.written, f"all at {side}"
                )

    async def release(self, bad: bool) -> None:
        async with aiohttp.ClientSession() as session:
            await session.put(f"{self.urls['new']}/release", json={"bad": bad})

    async def order(self, which: int, *arguments: str) -> None:
        done = await asyncio.to_thread(banyan, self.replicas[which], *arguments)
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
async def test_a_migration_from_legacy_to_new(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        (tmp_path / "redis").mkdir()
        redis = stack.enter_context(RedisServer(tmp_path / "redis", redis_server()))
        legacy = await stack.enter_async_context(counters(tmp_path / "legacy.db"))
        new = await stack.enter_async_context(counters(tmp_path / "new.db"))
        migration = Migration(redis, legacy, new, tmp_path)
        serving = [migration.replica(number) for number in range(REPLICAS)]
        migration.replicas = list(await asyncio.gather(*map(stack.enter_async_context, serving)))

        await migration.reaches("10%")

        # A deployment in the middle: the replicas get another file one after the other.
        newer = migration.config("{ignore: ['$.at']}")
        for at, each in enumerate(migration.replicas):
            each.config.write_text(newer)
            left = migration.replicas[at + 1 :]
            await migration.visit_until(lambda route: route["effective_phase"] != "0%")
            for behind in left:
                await asked_until(
                    partial(behind.route, "counts"), lambda route: route["stale"], "CONFIG_STALE"
                )
        await migration.visit_until(lambda route: not route["stale"])
        await migration.reaches("50%")
        assert migration.wrong == 0

        # A bad release of new: back at once, and it stays back.
        await migration.release(bad=True)
        routes = await migration.visit_until(lambda route: route["revert"])
        assert {route["effective_phase"] for route in routes} == {"0%"}
        seen = migration.wrong
        print(f"the bad release: {seen} wrong answers of {sum(migration.statuses.values())}")
        numbers = next(migration.numbers) + 500
        await migration.visit(lambda: next(migration.numbers) > numbers)
        assert migration.wrong == seen
        await migration.hold_the_same()

        # It is mended and resumed, at another replica, and climbs to the end.
        await migration.release(bad=False)
        await migration.order(1, "resume", "counts", "--reason", "mended", "--force")
        await migration.reaches("50%")
        await migration.reaches("dual-write")
        await migration.visit_until(
            lambda route: route["advance"] and route["advance"]["needs"].startswith("approval")
        )
        await migration.hold_the_same()
        await migration.order(2, "advance", "counts", "--reason", "all is well")
        await migration.visit_until(
            lambda route: route["effective_phase"] == "new-only" and route["missed"] == ["legacy"]
        )
        assert migration.wrong == seen
        assert set(migration.statuses) == {200}
        lines = (await migration.replicas[0].admin("/api/v1/history?route=counts"))["history"]
        moves = [
            (line["kind"], line["to"])
            for line in reversed(lines)
            if line["kind"] in ("advance", "revert", "resume")
        ]
        assert moves == [
            ("advance", "10%"),
            ("advance", "50%"),
            ("revert", "0%"),
            ("resume", "0%"),
            ("advance", "10%"),
            ("advance", "50%"),
            ("advance", "dual-write"),
            ("advance", "new-only"),
        ]
