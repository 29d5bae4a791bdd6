"""Pairs that are not alike on their way to a comparer: what is sent, shed, lost and counted."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.core.message import header_pairs
from proxy.core.model import Compare, Shadow
from proxy.edge.context import ERRORS_KEPT_A_SECOND
from proxy.edge.shipping import FULL_BYTES, MAX_QUEUED_BYTES
from tests.edge.conftest import Proxy
from tests.harness.backend import Backend, replying
from tests.harness.comparers import ComparerEnd
from tests.harness.snapshots import route
from tests.harness.waiting import eventually
from tests.harness.worker import Worker

QUIET = Compare(noise=0.0, recheck=False)


@pytest_asyncio.fixture(loop_scope="session")
async def end(tmp_path: Path) -> AsyncIterator[ComparerEnd]:
    async with ComparerEnd(tmp_path / "compare0.sock") as end:
        yield end


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(end: ComparerEnd, legacy: Backend, new: Backend) -> AsyncIterator[Proxy]:
    worker = await Worker(extra=("--comparers", str(end.path))).start()
    yield Proxy(worker, legacy, new)
    output = worker.output()
    await worker.stop()
    assert "Traceback" not in output, output


async def ask(proxy: Proxy, times: int = 1, path: str = "/") -> None:
    async with await proxy.connect() as client:
        for _ in range(times):
            await client.get(path)


async def test_a_pair_that_differs_goes_to_the_comparer_whole(
    proxy: Proxy, end: ComparerEnd
) -> None:
    proxy.legacy.handler = replying(b'{"a": 1}', "200 OK", "Content-Type: application/json")
    proxy.new.handler = replying(b'{"a": 2}', "201 Created", "Content-Type: application/json")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy, path="/a?token=secret")
    suspect = await end.suspect()
    assert suspect.kind == "read"
    assert suspect.observation.target == "/a"
    assert suspect.observation.method == "GET"
    assert suspect.legacy.body == b'{"a": 1}'
    assert suspect.new is not None
    assert (suspect.new.status, suspect.new.body) == (201, b'{"a": 2}')
    assert ("Content-Type", "application/json") in header_pairs(suspect.new.head)
    assert not suspect.askable
    await proxy.reported(lambda totals: totals.comparisons["/*|differing"] == 1)
    assert proxy.worker.totals.observations == []


async def test_a_pair_of_the_same_bytes_stays(proxy: Proxy, end: ComparerEnd) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    proxy.legacy.handler = proxy.new.handler = replying(b"x")
    await ask(proxy)
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 1)
    assert end.batches == []


async def test_a_side_that_failed_without_a_word_needs_no_comparer(
    proxy: Proxy, end: ComparerEnd
) -> None:
    proxy.legacy.handler = replying(b"x")
    proxy.new.handler = replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy)
    await proxy.reported(lambda totals: totals.comparisons["/*|new_failed"] == 1)
    await proxy.reported(lambda totals: len(totals.observations) == 1)
    assert proxy.worker.totals.observations[0].equal is False
    assert end.batches == []


async def test_an_error_that_says_something_goes_to_a_comparer_to_be_kept(
    proxy: Proxy, end: ComparerEnd
) -> None:
    proxy.legacy.handler = replying(b"x")
    proxy.new.handler = replying(b"it broke", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read", compare=Compare()))
    await ask(proxy)
    suspect = await end.suspect(kind="error")
    assert suspect.new is not None
    assert (suspect.new.status, suspect.new.body) == (500, b"it broke")
    assert suspect.legacy.body == b"x"
    assert not suspect.askable
    await proxy.reported(lambda totals: totals.comparisons == {"/*|new_failed": 1})
    assert proxy.worker.totals.observations == []


async def test_a_side_that_is_down_does_not_fill_the_comparers(
    proxy: Proxy, end: ComparerEnd
) -> None:
    proxy.legacy.handler = replying(b"x")
    proxy.new.handler = replying(b"it broke", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy, 100)
    await proxy.reported(lambda totals: totals.comparisons == {"/*|new_failed": 100})
    seen = proxy.worker.totals.observations
    await eventually(lambda: len(end.suspects) + len(seen) == 100, "all of them, once")
    assert len(end.suspects) >= ERRORS_KEPT_A_SECOND
    assert len(seen) > 0


async def test_a_legacy_that_failed_is_not_held_against_new(proxy: Proxy) -> None:
    proxy.legacy.handler = replying(b"", "500 Internal Server Error")
    proxy.new.handler = replying(b"x")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy)
    await proxy.reported(lambda totals: totals.skipped["/*|legacy_failed"] == 1)
    assert proxy.worker.totals.comparisons == {}


async def test_while_a_comparer_is_busy_the_rest_waits_and_then_comes(
    proxy: Proxy, end: ComparerEnd
) -> None:
    end.judging = False
    proxy.legacy.handler, proxy.new.handler = replying(b"x"), replying(b"y")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    for _ in range(4):
        await ask(proxy)
        await proxy.reported(lambda totals: totals.comparisons)
    await end.changes.until(lambda: len(end.batches) == 2, "two batches under way")
    await ask(proxy, 20)
    await proxy.reported(lambda totals: totals.comparisons["/*|differing"] == 24)
    assert len(end.batches) == 2
    end.judge_all()
    await end.changes.until(lambda: len(end.suspects) == 24, "all suspects")
    assert not any("comparer" in reason for reason in proxy.worker.totals.skipped)


async def test_a_route_that_floods_sheds_its_own_and_not_the_others(
    proxy: Proxy, end: ComparerEnd
) -> None:
    end.judging = False
    large = b"x" * 900_000
    proxy.legacy.handler = replying(large)
    proxy.new.handler = replying(large[:-1] + b"y")
    shadow = Shadow(max_body_bytes=1 << 20)
    await proxy.serve(
        route("/flood/*", "shadow-read", compare=QUIET, shadow=shadow),
        route("/small/*", "shadow-read", compare=QUIET),
    )
    floods = FULL_BYTES // len(large) + 20
    await ask(proxy, floods, "/flood/1")
    totals = proxy.worker.totals
    await proxy.reported(
        lambda totals: (
            totals.comparisons["/flood/*|differing"] + totals.skipped["/flood/*|comparer_busy"]
            == floods
        )
    )
    assert 0 < totals.comparisons["/flood/*|differing"] < floods
    proxy.legacy.handler, proxy.new.handler = replying(b"x"), replying(b"y")
    await ask(proxy, 5, "/small/1")
    await proxy.reported(lambda totals: totals.comparisons["/small/*|differing"] == 5)
    end.judge_all()
    await end.changes.until(
        lambda: sum(each.observation.route.startswith("/small") for each in end.suspects) == 5,
        "the small ones",
    )
    assert totals.skipped["/small/*|comparer_busy"] == 0


async def test_beyond_what_may_wait_the_route_with_the_most_gives_up_its_newest(
    proxy: Proxy, end: ComparerEnd
) -> None:
    await end.die()
    large = b"x" * 1_900_000
    proxy.legacy.handler = replying(large)
    proxy.new.handler = replying(large[:-1] + b"y")
    shadow = Shadow(max_body_bytes=2 << 20)
    paths = [f"/r{number}" for number in range(MAX_QUEUED_BYTES // FULL_BYTES + 4)]
    await proxy.serve(
        *(route(f"{path}/*", "shadow-read", compare=QUIET, shadow=shadow) for path in paths)
    )
    for path in paths:
        await ask(proxy, 2, f"{path}/1")
    await proxy.reported(lambda totals: sum(totals.comparisons.values()) == 2 * len(paths))
    shed = sum(proxy.worker.totals.skipped.values())
    assert shed >= 2 * len(paths) - MAX_QUEUED_BYTES // (2 * len(large))
    assert max(proxy.worker.totals.skipped.values()) <= 2


async def test_a_comparer_that_dies_loses_its_batch_and_that_is_counted(
    proxy: Proxy, end: ComparerEnd
) -> None:
    end.judging = False
    proxy.legacy.handler, proxy.new.handler = replying(b"x"), replying(b"y")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy)
    await end.suspect()
    await end.die()
    await proxy.reported(lambda totals: totals.skipped["/*|comparer_lost"] == 1)
    await end.listen()
    end.judging = True
    await ask(proxy)
    await end.suspect(1)


async def test_without_any_comparer_clients_are_answered_and_pairs_wait(
    proxy: Proxy, end: ComparerEnd
) -> None:
    await end.die()
    proxy.legacy.handler, proxy.new.handler = replying(b"x"), replying(b"y")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy, 10)
    await proxy.reported(lambda totals: totals.comparisons["/*|differing"] == 10)
    await end.listen()
    await end.changes.until(lambda: len(end.suspects) == 10, "what waited")


async def test_what_waits_at_the_end_is_counted(proxy: Proxy, end: ComparerEnd) -> None:
    await end.die()
    proxy.legacy.handler, proxy.new.handler = replying(b"x"), replying(b"y")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    await ask(proxy, 3)
    await proxy.reported(lambda totals: totals.comparisons["/*|differing"] == 3)
    proxy.worker.signal(signal.SIGTERM)
    assert await proxy.worker.exit_code() == 0
    await proxy.reported(lambda totals: totals.skipped["/*|draining"] == 3)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x00\x00\x00\x02{}"])
async def test_a_comparer_that_talks_nonsense_is_left_and_asked_again(
    proxy: Proxy, end: ComparerEnd, garbage: bytes
) -> None:
    proxy.legacy.handler, proxy.new.handler = replying(b"x"), replying(b"y")
    await proxy.serve(route("/*", "shadow-read", compare=QUIET))
    end.judging = False
    await ask(proxy)
    await end.suspect()
    end.say(garbage)
    await proxy.reported(lambda totals: totals.skipped["/*|comparer_lost"] == 1)
    await ask(proxy)
    await asyncio.wait_for(end.suspect(1), 10)
