"""The guard, end to end: new becomes bad under load; the route goes back by itself and stays."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from signal import Signals
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.harness.backend import Backend, Call, Handler, replying
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until, eventually

CLIENTS = 16
ROUTE = "/shop/*: {{phase: {phase}, name: shop, sticky: 'header:X-Client', revert: {revert}}}"
CONFIG = """
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
workers: {workers}
state: sqlite:state.db
backends: {{legacy: {legacy}, new: {new}}}
routes:
  {route}
"""
RIGHT, WRONG = b'{"total": 12}', b'{"total": 13}'


class Shop:
    """Both services, what new does wrong, and what clients saw of it."""

    def __init__(self, legacy: Backend, new: Backend, directory: Path) -> None:
        self.legacy = legacy
        self.new = new
        self.directory = directory
        self.numbers = itertools.count()
        self.asked = 0
        self.wrong = 0  # answers that clients saw
        self.wrong_at = 0.0  # the last of them
        self.failed = 0
        legacy.handler = new.handler = replying(RIGHT)

    def config(self, phase: str, revert: str = "{}", route: str = ROUTE, workers: int = 1) -> str:
        return CONFIG.format(
            legacy=self.legacy.url,
            new=self.new.url,
            workers=workers,
            route=route.format(phase=phase, revert=revert),
        )

    def serving(self, phase: str, revert: str = "{}") -> Serving:
        return Serving(self.directory, self.config(phase, revert))

    async def visit(self, serving: Serving, until: Callable[[], bool], most: int = 100_000) -> None:
        """Ask, each time as another client for another thing."""
        host, port = serving.address
        end = self.asked + most
        async with aiohttp.ClientSession() as session:

            async def client() -> None:
                while not until() and self.asked < end:
                    number = next(self.numbers)
                    self.asked += 1
                    url = f"http://{host}:{port}/shop/{number}"
                    async with session.get(url, headers={"X-Client": str(number)}) as answer:
                        body = await answer.read()
                        if body == WRONG:
                            self.wrong += 1
                            self.wrong_at = time.time()
                        self.failed += answer.status != 200

            await asyncio.gather(*(client() for _ in range(CLIENTS)))


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with Backend("legacy") as legacy, Backend("new") as new:
        yield Shop(legacy, new, tmp_path)


def bad_in(one_in: int, answer: Handler) -> Handler:
    """Answers badly for one in so many things: each time, or it would be taken for a race."""
    right = replying(RIGHT)

    async def handler(call: Call) -> None:
        number = int(call.target.rpartition("/")[2])
        await (answer if number % one_in == 0 else right)(call)

    return handler


async def effective(serving: Serving) -> str:
    return str((await serving.route("shop"))["effective_phase"])


async def reverted(shop: Shop, serving: Serving) -> dict[str, Any]:
    """Visit until the route has gone back; the route."""
    return await visited_until(shop, serving, lambda route: route["revert"])


async def visited_until(
    shop: Shop, serving: Serving, enough: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Visit until the route is like that; the route."""
    watching = asyncio.create_task(
        asked_until(lambda: serving.route("shop"), enough, "what was to come of it", 20)
    )
    await shop.visit(serving, watching.done)
    return await watching


@pytest.mark.parametrize(("one_in", "most"), [(1, 20_000), (10, 20_000), (50, 80_000)])
async def test_wrong_answers_are_taken_back(shop: Shop, one_in: int, most: int) -> None:
    async with shop.serving("25%") as serving:
        await shop.visit(serving, lambda: False, most=100)
        assert await effective(serving) == "25%"
        shop.new.handler = bad_in(one_in, replying(WRONG))
        before, began = shop.asked, time.monotonic()
        route = await reverted(shop, serving)
        took = time.monotonic() - began
        asked = shop.asked - before
        evidence = route["revert"]["evidence"]
        print(f"one in {one_in}: {asked} requests, {took:.1f} s, {shop.wrong} seen; {evidence}")
        assert route["effective_phase"] == "0%"
        assert route["declared_phase"] == "25%"
        assert route["revert"]["from"] == "25%"
        assert "comparisons diverged" in route["revert"]["evidence"]
        assert shop.asked - before < most
        seen = shop.wrong
        await shop.visit(serving, lambda: False, most=200)
        assert shop.wrong == seen
        assert shop.failed == 0


async def test_the_evidence_of_four_workers_is_one_and_its_revert_reaches_all(shop: Shop) -> None:
    async with Serving(shop.directory, shop.config("50%", workers=4)) as serving:
        await shop.visit(serving, lambda: False, most=200)
        shop.new.handler = bad_in(10, replying(WRONG))
        route = await reverted(shop, serving)
        await shop.visit(serving, lambda: False, most=400)
        reverted_at = datetime.fromisoformat(route["revert"]["at"]).timestamp()
        late_s = shop.wrong_at - reverted_at
        print(f"{shop.wrong} seen, the last {late_s:+.3f} s after the revert")
        assert shop.wrong > 0
        assert late_s < 1.0
        workers = (await serving.admin("/readyz"))["workers"]
        assert len({worker["revision"] for worker in workers}) == 1
        assert len(workers) == 4
        lines = (await serving.admin("/api/v1/history?route=shop"))["history"]
        assert [line["kind"] for line in lines] == ["revert"]
        assert lines[0]["patch"] == f"phase: {lines[0]['to']}"
        assert shop.failed == 0


async def test_errors_of_new_are_taken_back_and_clients_see_none(shop: Shop) -> None:
    async with shop.serving("50%") as serving:
        await shop.visit(serving, lambda: False, most=100)
        shop.new.handler = bad_in(5, replying(b"no", "503 Service Unavailable"))
        route = await reverted(shop, serving)
        assert route["effective_phase"] == "0%"
        assert shop.failed == 0  # legacy answered in its place


async def test_what_both_do_wrong_is_not_of_new(shop: Shop) -> None:
    shop.legacy.handler = shop.new.handler = replying(b"no", "500 Internal Server Error")
    async with shop.serving("25%") as serving:
        await shop.visit(serving, lambda: False, most=1000)
        assert (await serving.route("shop"))["revert"] is None


async def test_a_client_that_repeats_is_one_trial(shop: Shop) -> None:
    shop.new.handler = replying(WRONG)
    async with shop.serving("25%") as serving:
        host, port = serving.address
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                headers = {"X-Client": "one"}
                async with session.get(f"http://{host}:{port}/shop/1", headers=headers) as answer:
                    await answer.read()
        route = await compared(serving, 200)
        assert route["revert"] is None
        assert route["verdict"]["state"] == "inconclusive"
        assert "1 of the 20 trials" in route["verdict"]["evidence"]


async def compared(serving: Serving, count: int) -> dict[str, Any]:
    """The route once so many pairs were compared or skipped, and some are evidence."""
    return await asked_until(
        lambda: serving.route("shop"),
        lambda route: (
            route["window"]["comparisons"] + sum(route["window"]["skipped"].values()) >= count
            and ": 0 of the" not in route["verdict"]["evidence"]
        ),
        f"{count} pairs",
    )


async def test_a_latch_outlives_restarts_and_edits_that_go_further(shop: Shop) -> None:
    shop.new.handler = replying(WRONG)
    async with shop.serving("25%") as serving:
        await reverted(shop, serving)
    async with shop.serving("25%") as serving:
        route = await serving.route("shop")
        assert (route["effective_phase"], route["revert"]["from"]) == ("0%", "25%")
        path = shop.directory / "routes.yaml"
        generation = (await serving.admin("/api/v1/config"))["generation"]
        path.write_text(shop.config("50%"))
        await serving.until_ready(generation=generation + 1)
        assert await effective(serving) == "0%"
        path.write_text(shop.config("10%"))
        await serving.until_ready(generation=generation + 2)
        route = await serving.route("shop")
        assert (route["effective_phase"], route["revert"]) == ("10%", None)


async def test_at_0_percent_it_stays_and_is_told(shop: Shop) -> None:
    shop.new.handler = replying(WRONG)
    async with shop.serving("0%") as serving:
        told = asyncio.create_task(serving.says("route is failing and cannot be taken back"))
        await shop.visit(serving, told.done)
        assert (await told)["phase"] == "0%"
        route = await serving.route("shop")
        assert (route["effective_phase"], route["verdict"]["state"]) == ("0%", "failing")
        history = (await serving.admin("/api/v1/history?route=shop"))["history"]
        assert [line["kind"] for line in history] == ["refused"]


LADDER = """/shop/*:
    phase: {phase}
    name: shop
    sticky: 'header:X-Client'
    revert: {revert}
    advance:
      steps: [shadow-read, 0%, 50%, dual-write]
      dwell: 1s
      min_samples: 300
      approve: [dual-write]
"""


def banyan(serving: Serving, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "proxy.cli.main", *arguments]
    return subprocess.run(
        [*command, "--admin", serving.ready()["admin"]],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def until_phase(shop: Shop, serving: Serving, phase: str) -> dict[str, Any]:
    """Visit until the route is in this phase."""
    return await visited_until(shop, serving, lambda route: route["effective_phase"] == phase)


async def test_a_ladder_is_climbed_and_fallen_from_and_climbed_again(shop: Shop) -> None:
    text = shop.config("shadow-read", "{cooldown: 0s}", LADDER)
    async with Serving(shop.directory, text) as serving:
        await until_phase(shop, serving, "0%")
        route = await until_phase(shop, serving, "50%")
        assert route["advance"]["to"] == "dual-write"
        shop.new.handler = replying(WRONG)
        route = await reverted(shop, serving)
        assert route["effective_phase"] == "0%"
        assert "a resume" in route["advance"]["needs"]
        refused = await asyncio.to_thread(banyan, serving, "advance", "shop", "--reason", "try")
        assert refused.returncode == 1
        assert "latched: resume it first" in refused.stderr
        shop.new.handler = replying(RIGHT)
        done = await asyncio.to_thread(
            banyan, serving, "resume", "shop", "--reason", "fixed", "--force"
        )
        assert done.returncode == 0, done.stderr
        route = await until_phase(shop, serving, "50%")
        assert route["revert"] is None
        # It waits for approval, whatever the evidence; the order is the approval.
        approved = await asyncio.to_thread(banyan, serving, "advance", "shop", "--reason", "yes")
        assert approved.returncode == 0, approved.stderr
        assert (await until_phase(shop, serving, "dual-write"))["advance"] is None
        kinds = [
            (line["kind"], line["from"], line["to"])
            for line in (await serving.admin("/api/v1/history?route=shop"))["history"]
            if line["kind"] not in ("authority", "missed", "refused")
        ]
        assert kinds[::-1] == [
            ("advance", "shadow-read", "0%"),
            ("advance", "0%", "50%"),
            ("revert", "50%", "0%"),
            ("resume", "0%", "0%"),
            ("advance", "0%", "50%"),
            ("advance", "50%", "dual-write"),
        ]
        assert shop.failed == 0


async def test_a_killed_controller_forgets_no_latch_and_costs_no_request(shop: Shop) -> None:
    shop.new.handler = replying(WRONG)
    async with shop.serving("25%") as serving:
        await reverted(shop, serving)
        seen = shop.wrong
        serving.signal_child("controller", Signals.SIGKILL)
        await serving.says("child started", 2, child="controller")
        await shop.visit(serving, lambda: False, most=400)
        await serving.until_ready()
        route = await serving.route("shop")
        assert (route["effective_phase"], route["revert"]["from"]) == ("0%", "25%")
        assert shop.wrong == seen
        assert shop.failed == 0


async def test_a_revert_reaches_a_webhook(shop: Shop) -> None:
    shop.new.handler = replying(WRONG)
    async with Backend("hook") as hook:
        hook.handler = replying(b"ok")
        text = shop.config("25%") + f"alerts: [{{url: '{hook.url}/alerts', events: [revert]}}]\n"
        async with Serving(shop.directory, text) as serving:
            await reverted(shop, serving)
            await eventually(lambda: hook.calls, "the alert")
            call = hook.calls[0]
            assert call.target == "/alerts"
            assert b"shop was reverted: 25% to 0%" in call.body


async def test_a_route_at_its_end_is_told_to_be_ready_to_be_removed(shop: Shop) -> None:
    ladder = ROUTE.replace("revert:", "advance: {{steps: [0%, new-only], retire: 1s}}, revert:")
    async with Serving(shop.directory, shop.config("0%", route=ladder)) as serving:
        done = await asyncio.to_thread(
            banyan, serving, "advance", "shop", "--to", "new-only", "--reason", "done with legacy"
        )
        assert done.returncode == 0, done.stderr

        await asked_until(lambda: serving.route("shop"), lambda route: route["ready_at"])
        newest, *_ = (await serving.admin("/api/v1/history?route=shop"))["history"]
        assert (newest["kind"], newest["from"], newest["to"]) == ("ready", "new-only", "new-only")
        status = await asyncio.to_thread(banyan, serving, "status")
        assert "shop: ready to be removed since" in status.stdout
