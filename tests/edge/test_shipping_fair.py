"""A route whose comparisons take long, beside others: who is sent, who waits, who is shed."""

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from proxy.core.messages import Suspect
from proxy.edge.shipping import BATCH_S, FULL_S, KNOWN_BY, LATE_S, Shipper
from proxy.edge.tally import Tallies, Tally
from tests.harness.comparer import answer, suspect
from tests.harness.comparers import ComparerEnd, routes_of
from tests.harness.waiting import eventually

SLOW_S = 3.0
TALLIES = Tallies()


@pytest_asyncio.fixture(loop_scope="session")
async def end(tmp_path: Path) -> AsyncIterator[ComparerEnd]:
    async with ComparerEnd(tmp_path / "compare0.sock") as end:
        end.seconds = {"slow": SLOW_S, "middling": 0.04, "turning": BATCH_S + 0.002}
        yield end


class Routes:
    """A shipper, and the routes that put something into it."""

    def __init__(self, path: Path, late_s: float = LATE_S) -> None:
        self.shipper = Shipper(asyncio.get_running_loop(), 0, [str(path)], late_s)
        self.tallies: dict[str, Tally] = {}
        self._lane: asyncio.Task[None] | None = None
        self._number = 0

    def put(self, route: str, kind: str = "read") -> Suspect:
        self._number += 1
        made = suspect(self._number, answer(b"1"), answer(b"2"), route)
        if kind != "read":
            made = msgspec.structs.replace(made, kind=kind, legacy_again=answer(b"1"))
        self.shipper.put(self.tally(route), made)
        return made

    def tally(self, route: str) -> Tally:
        return self.tallies.setdefault(route, Tally(route, TALLIES))

    def connect(self) -> None:
        self._lane = asyncio.create_task(self.shipper.lanes[0].run())

    async def close(self) -> None:
        if self._lane is not None:
            self._lane.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lane


@pytest_asyncio.fixture(loop_scope="session")
async def routes(end: ComparerEnd) -> AsyncIterator[Routes]:
    routes = Routes(end.path)
    yield routes
    await routes.close()


async def come(end: ComparerEnd, number: int, kind: str = "read") -> Counter[str]:
    """How many came of each route, once that many of that kind did."""
    await end.suspect(number - 1, kind)
    return Counter(route for batch in end.batches for route in routes_of(batch))


async def until_known(end: ComparerEnd, routes: Routes, *names: str) -> None:
    """Have one of each judged: of what is sent after that, it is known how long it takes."""
    routes.connect()
    for name in names:
        routes.put(name)
    await come(end, len(names))
    # They are told of in the order in which they were judged.
    routes.put("last")
    await come(end, len(names) + 1)
    routes.put("last")
    routes.put("last")
    await come(end, len(names) + 3)


async def test_one_slow_suspect_is_under_way_and_the_quick_ones_pass_it(
    end: ComparerEnd, routes: Routes
) -> None:
    await until_known(end, routes, "slow", "quick")
    end.held = "slow"
    for _ in range(3):
        routes.put("slow")
    for _ in range(100):
        routes.put("quick")
    found = await come(end, 5 + 100 + 1)
    assert found == {"slow": 2, "quick": 101, "last": 3}
    assert all(len(batch.suspects) == 1 for batch in end.batches if "slow" in routes_of(batch))
    end.held = ""
    end.judge_all()
    assert (await come(end, 5 + 100 + 3))["slow"] == 4


async def test_what_would_wait_too_long_is_shed_and_counted_and_of_others_nothing(
    end: ComparerEnd, routes: Routes
) -> None:
    await until_known(end, routes, "slow", "quick")
    end.held = "slow"
    room = math.ceil(FULL_S / (BATCH_S + (SLOW_S - BATCH_S) * KNOWN_BY))
    for _ in range(room):
        assert not routes.shipper.is_full(routes.tally("slow"))
        routes.put("slow")
    assert routes.shipper.is_full(routes.tally("slow"))
    for _ in range(10):
        routes.put("slow")
        routes.put("quick")
    assert routes.tally("slow").skipped == {"comparer_busy": 10}
    assert routes.tally("quick").skipped == {}


async def test_of_an_unknown_route_one_is_tried_before_more_are_sent_together(
    end: ComparerEnd, routes: Routes
) -> None:
    end.judging = False
    for _ in range(8):
        routes.put("slow")
    routes.connect()
    await come(end, 2)
    assert [routes_of(batch) for batch in end.batches] == [["slow"], ["slow"]]


async def test_a_route_that_becomes_quick_or_slow_while_it_waits_is_sent_all_the_same(
    end: ComparerEnd, routes: Routes
) -> None:
    await until_known(end, routes, "turning")
    sent = 4
    for seconds in (0.0, 1.0):
        end.held = "turning"
        for _ in range(5):
            routes.put("turning")
        await come(end, sent + 1)
        end.held, end.seconds["turning"] = "", seconds
        end.judge(*end.batches[-2:])
        sent += 5
        await come(end, sent)


async def test_a_batch_is_no_longer_than_it_may_take(end: ComparerEnd, routes: Routes) -> None:
    await until_known(end, routes, "middling")
    for _ in range(20):
        routes.put("middling")
    await come(end, 4 + 20)
    assert max(len(batch.suspects) for batch in end.batches) <= 1 + BATCH_S // 0.04


async def test_what_is_waited_for_goes_before_what_its_route_has_besides(
    end: ComparerEnd, routes: Routes
) -> None:
    for _ in range(3):
        routes.put("a")
    again = routes.put("a", "again")
    routes.connect()
    await end.changes.until(lambda: len(end.suspects) == 4)
    assert end.suspects[0] == again


@pytest.mark.parametrize("seed", range(10))
async def test_each_is_judged_or_counted_whatever_they_take(
    end: ComparerEnd, routes: Routes, seed: int
) -> None:
    chance = random.Random(seed)
    names = ["a", "b", "c", "d"]
    routes.connect()
    for _ in range(300):
        routes.put(chance.choice(names), chance.choice(["read", "read", "again"]))
        end.seconds[chance.choice(names)] = chance.choice([0.0, 0.001, 0.049, 0.051, 0.4, 3.0])
        if chance.random() < 0.1:
            await asyncio.sleep(0)
    await end.changes.until(lambda: len(end.suspects) + shed(routes) == 300, "all of them")


def shed(routes: Routes) -> int:
    return sum(tally.skipped.get("comparer_busy", 0) for tally in routes.tallies.values())


async def test_what_waited_too_long_to_be_asked_again_is_not_sent(end: ComparerEnd) -> None:
    routes = Routes(end.path, late_s=0.2)
    for _ in range(3):
        routes.put("a")
    routes.put("a", kind="again")
    began = asyncio.get_running_loop().time()
    await eventually(lambda: asyncio.get_running_loop().time() > began + 0.25)
    fresh = routes.put("a")
    routes.connect()
    try:
        assert (await end.suspect()).id == fresh.id
    finally:
        await routes.close()
    # A second answer is none of a pair of its own.
    assert routes.tally("a").skipped == {"comparer_busy": 3}
    assert [(len(each.suspects), each.shed) for each in end.batches] == [(1, 4)]


async def test_a_batch_says_how_many_were_shed_before_it(end: ComparerEnd, routes: Routes) -> None:
    await until_known(end, routes, "slow")
    end.held = "slow"
    while not routes.shipper.is_full(routes.tally("slow")):
        routes.put("slow")
    for _ in range(9):
        assert routes.shipper.is_full(routes.tally("slow"))
    for _ in range(5):
        routes.put("slow")
    before = len(end.batches)
    end.held = ""
    end.judge_all()
    await end.changes.until(lambda: sum(each.shed for each in end.batches[before:]) > 0)
    assert sum(each.shed for each in end.batches) == 15
