"""Two services full of noise, and three real bugs in it: which of them count, without any rule.

New answers wrongly for all, for one in twenty and for one in a hundred of the things asked for.
Beside that every answer of either service has a random id, a timestamp, a list in any order and
one of four advertisements.
"""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.harness.backend import Backend, Call, Handler
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until

REQUESTS = 5000
THINGS = 1000
CLIENTS = 8
A_SECOND = 500
CONFIG = """
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /things/*: {{phase: shadow-read, name: things, revert: null}}
"""
BUGS = {"$.currency": 1, "$.total": 20, "$.stock": 100}  # place: one in so many things
NOISE = {"$.id", "$.served_at", "$.tags[*]", "$.ad"}


def service(*, is_new: bool) -> Handler:
    chance = random.Random(is_new)

    async def answer(call: Call) -> None:
        number = int(call.target.rpartition("/")[2])
        tags = ["red", "green", "blue", "round"]
        chance.shuffle(tags)
        thing: dict[str, Any] = {
            "id": str(uuid.UUID(int=chance.getrandbits(128))),
            "served_at": time.time(),
            "name": f"thing {number}",
            "currency": "EUR",
            "total": number * 3,
            "stock": number % 7,
            "tags": tags,
            "ad": chance.choice(["shoes", "cars", "tea", "boats"]),
        }
        if is_new:
            thing["currency"] = "Euro"
            thing["total"] += number % BUGS["$.total"] == 0
            thing["stock"] += number % BUGS["$.stock"] == 0
        await call.answer(json.dumps(thing).encode(), "200 OK", "Content-Type: application/json")

    return answer


async def test_the_real_bugs_rank_first_and_noise_does_not_count(tmp_path: Path) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:
        legacy.handler, new.handler = service(is_new=False), service(is_new=True)
        text = CONFIG.format(legacy=legacy.url, new=new.url)
        async with Serving(tmp_path, text) as serving, aiohttp.ClientSession() as session:
            host, port = serving.address
            numbers = iter(range(REQUESTS))
            asked: Counter[int] = Counter()

            began = time.monotonic()

            async def client() -> None:
                for number in numbers:
                    # As fast as it can be it would be a burst, of which few can be asked again.
                    await asyncio.sleep(began + number / A_SECOND - time.monotonic())
                    thing = number % THINGS
                    asked[thing] += 1
                    async with session.get(f"http://{host}:{port}/things/{thing}") as answer:
                        assert answer.status == 200

            await asyncio.gather(*(client() for _ in range(CLIENTS)))
            admin = serving.ready()["admin"]

            async def read(path: str) -> dict[str, Any]:
                async with session.get(f"{admin}/api/v1/{path}") as answer:
                    return dict(await answer.json())

            def is_enough(route: dict[str, Any]) -> bool:
                window = route["window"]
                return bool(window["comparisons"] + sum(window["skipped"].values()) >= REQUESTS)

            route = await asked_until(
                lambda: read("routes/things"), is_enough, "every read judged or skipped", 60
            )
            window = route["window"]
            signatures = (await read("signatures?route=things"))["signatures"]
    ranked = [each["path"] for each in signatures]
    assert ranked[:3] == list(BUGS), signatures
    counted = {each["path"]: each["count"] for each in signatures}
    for place, one_in in BUGS.items():
        true = sum(times for thing, times in asked.items() if thing % one_in == 0)
        # What could not be asked again in time, before its place was known, does not count.
        assert 0.2 * true <= counted[place] <= true, (place, counted)
    assert set(ranked) >= NOISE, signatures
    assert sum(counted[place] for place in NOISE) <= 2, counted
    assert all(each["noise"]["share"] > 0.5 for each in signatures if each["path"] in NOISE)
    assert window["coverage"] > 0.9, window
