"""A revert on a disk that takes no writes: it outlives the controller that decided on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import Signals

import pytest
import pytest_asyncio

from tests.harness.backend import Backend, replying
from tests.harness.disks import Disk, small_disk
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until
from tests.scenarios.test_guard import WRONG, Shop, reverted


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with Backend("legacy") as legacy, Backend("new") as new:
        yield Shop(legacy, new, tmp_path)


def serving_on(disk: Disk, shop: Shop) -> Serving:
    text = shop.config("25%").replace("sqlite:state.db", f"sqlite:{disk.path}/state.db")
    return Serving(shop.directory, text)


async def is_still_reverted_by_the_next_controller(shop: Shop, serving: Serving) -> None:
    """And nobody is answered by new meanwhile."""
    seen = shop.wrong
    serving.signal_child("controller", Signals.SIGKILL)
    await serving.says("serving from the last snapshot, frozen", within_s=20)
    await serving.says("table in force", 2, within_s=20)
    await shop.visit(serving, lambda: False, most=400)
    route = await serving.route("shop")
    assert (route["effective_phase"], route["revert"]["from"]) == ("0%", "25%")
    assert (shop.wrong, shop.failed) == (seen, 0)


async def is_stored_once_it_can_be(shop: Shop, serving: Serving) -> None:
    await asked_until(
        lambda: serving.admin("/readyz"), lambda ready: not ready["degraded"], within_s=20
    )
    history = (await serving.admin("/api/v1/history?route=shop"))["history"]
    assert [line["kind"] for line in history].count("revert") == 1


@pytest.mark.parametrize("in_place", [True, False])
async def test_a_revert_on_a_full_disk_outlives_the_controller(
    in_place: bool, shop: Shop, disk: Disk
) -> None:
    """It was in memory alone, and the snapshot of before was removed."""
    async with serving_on(disk, shop) as serving:
        await shop.visit(serving, lambda: False, most=100)
        if not in_place:  # as on file systems that copy on write
            (disk.path / "state.snapshot.json").unlink()
        disk.fill()
        shop.new.handler = replying(WRONG)
        await reverted(shop, serving)
        await serving.says("state store cannot be used")
        await is_still_reverted_by_the_next_controller(shop, serving)
        disk.free()
        await is_stored_once_it_can_be(shop, serving)
    async with serving_on(disk, shop) as serving:
        route = await serving.route("shop")
        assert (route["effective_phase"], route["revert"]["from"]) == ("0%", "25%")


async def test_a_revert_on_a_full_disk_outlives_all_processes(shop: Shop, disk: Disk) -> None:
    async with serving_on(disk, shop) as serving:
        await shop.visit(serving, lambda: False, most=100)
        disk.fill()
        shop.new.handler = replying(WRONG)
        await reverted(shop, serving)
        await serving.says("state store cannot be used")
        serving.signal(Signals.SIGKILL)
    disk.free()
    async with serving_on(disk, shop) as serving:
        route = await serving.route("shop")
        assert (route["effective_phase"], route["revert"]["from"]) == ("0%", "25%")
