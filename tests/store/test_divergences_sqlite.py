"""The file of the SQLite store of divergences: damage, a full disk, a kill, and its speed."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.store.divergences import StoreBounds
from proxy.store.divergences_sqlite import ASIDE_KEPT, SqliteDivergences
from proxy.store.state import StoreError
from tests.store.divergences import NOW, difference, divergence
from tests.store.large import check_quick, fill_largely

HOLD = """
import asyncio, sys
from pathlib import Path
from proxy.store.divergences import StoreBounds
from proxy.store.divergences_sqlite import SqliteDivergences
from tests.store.divergences import divergence

async def hold():
    store = await SqliteDivergences.open(Path(sys.argv[1]), StoreBounds(), lambda: 0.5, lambda: 0.0)
    await store.add([divergence(1)])
    print("added", flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


async def opened(path: Path, bounds: StoreBounds | None = None) -> SqliteDivergences:
    bounds = bounds or StoreBounds()
    return await SqliteDivergences.open(path, bounds, random.Random(1).random, lambda: NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "divergences.db"


async def fill(path: Path) -> None:
    store = await opened(path)
    await store.add([divergence(number) for number in range(100)])
    await store.close()


def test_it_is_private(path: Path) -> None:
    asyncio.run(fill(path))
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_killed_process_leaves_what_it_added(path: Path) -> None:
    async def look() -> bool:
        store = await opened(path)
        found = await store.get("d1")
        await store.close()
        return found == divergence(1)

    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"added\n"
        with pytest.raises(StoreError, match="in use by another process"):
            asyncio.run(opened(path))
        held.send_signal(signal.SIGKILL)
    assert asyncio.run(look())


def make_garbage(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1000)


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE mine (a)")


def make_newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")


def make_torn(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))


def make_unreadable(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE divergence SET record = x'00', answers = x'00'")


def make_cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "damage",
    [
        make_garbage,
        make_empty,
        make_foreign,
        make_newer,
        make_torn,
        make_unreadable,
        make_cut,
    ],
)
def test_a_damaged_file_is_moved_aside_and_begun_anew(
    path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    async def use() -> None:
        store = await opened(path)
        await store.page()
        await store.signatures()
        await store.add([divergence(1000)])
        assert await store.get("d1000") == divergence(1000)
        assert store.moved_aside == 1
        await store.close()

    asyncio.run(fill(path))
    damage(path)
    before = path.read_bytes()
    asyncio.run(use())
    aside = path.with_name("divergences.db.damaged-1")
    assert aside.read_bytes() == before or damage is make_cut  # opening may restore a log
    said = capsys.readouterr().out
    assert "divergences_moved_aside" in said
    assert aside.name in said


async def test_damage_that_is_met_later_is_met_in_the_same_way(path: Path) -> None:
    await fill(path)
    store = await opened(path)
    assert await store.get("d1") is not None

    def break_it(database: sqlite3.Connection) -> None:
        database.execute("UPDATE divergence SET record = x'c1' WHERE id = 'd1'")

    await store._call(break_it)
    assert await store.get("d1") is None
    assert store.moved_aside == 1
    await store.add([divergence(1)])
    assert await store.get("d1") == divergence(1)
    await store.close()


async def test_files_moved_aside_do_not_fill_the_disk(path: Path) -> None:
    for _ in range(ASIDE_KEPT + 2):
        await fill(path)
        make_garbage(path)
        await (await opened(path)).close()
    assert len(list(path.parent.glob("*.damaged-?"))) == ASIDE_KEPT


async def test_a_full_disk_is_a_store_error_and_leaves_what_was_there(path: Path) -> None:
    await fill(path)
    store = await opened(path)

    def fill_up(database: sqlite3.Connection) -> None:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")

    await store._call(fill_up)
    many = [divergence(number, difference(f"$.key{number}x")) for number in range(1000, 1400)]
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be used: database or disk is full"):
            await store.add(many)
    assert store.moved_aside == 0
    assert store.dropped() == {}
    assert len((await store.page(limit=500)).divergences) == 100
    await store.close()


async def test_a_place_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        await opened(tmp_path / "file" / "divergences.db")


def test_the_file_does_not_grow_beyond_what_is_held(path: Path) -> None:
    async def add_many() -> None:
        store = await opened(path, StoreBounds(count=1000))
        for start in range(0, 10_000, 200):
            await store.add([divergence(number) for number in range(start, start + 200)])
        await store.close()

    asyncio.run(add_many())
    assert path.stat().st_size < 2 << 20


async def test_a_page_of_a_hundred_thousand_takes_milliseconds(path: Path) -> None:
    store = await opened(path)
    await fill_largely(store)
    await check_quick(store, f"{NOW + 100!r}_100")
    await store.close()
