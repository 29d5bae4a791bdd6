"""The SQLite store's file: what is refused, what survives, who may hold it."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.core.model import LEGACY_ONLY, Side
from proxy.store.records import Change, Record
from proxy.store.sqlite import SqliteStore, check_store
from proxy.store.state import StoreError

RECORD = Record("users", 1, "d", LEGACY_ONLY, LEGACY_ONLY, Side.LEGACY)

HOLD = """
import asyncio, sys
from pathlib import Path
from proxy.core.model import LEGACY_ONLY, Side
from proxy.store.records import Change, Record
from proxy.store.sqlite import SqliteStore

async def hold():
    store = await SqliteStore.open(Path(sys.argv[1]))
    record = Record("users", 1, "d", LEGACY_ONLY, LEGACY_ONLY, Side.LEGACY)
    await store.commit(Change((record,)))
    print("committed", flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


async def records_in(path: Path) -> dict[str, Record]:
    store = await SqliteStore.open(path)
    stored = await store.load()
    await store.close()
    return stored.records


async def test_it_survives_closing_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"
    store = await SqliteStore.open(path)
    await store.commit(Change((RECORD,)))
    await store.close()
    assert await records_in(path) == {"users": RECORD}
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_second_process_is_refused_and_a_killed_one_leaves_everything(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"committed\n"
        with pytest.raises(StoreError, match="in use by another process"):
            check_store(path)
        held.send_signal(signal.SIGKILL)
    assert asyncio.run(records_in(path)) == {"users": RECORD}


def make_garbage(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1000)


def make_empty(path: Path) -> None:
    path.touch()


def make_foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE mine (a)")


def make_newer(path: Path) -> None:
    check_store(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")


def make_torn(path: Path) -> None:
    check_store(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(4096) + whole[8192:])


def make_unreadable(path: Path) -> None:
    check_store(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("INSERT INTO route VALUES ('a', '{}')")


def make_lost(path: Path) -> None:
    path.with_name("state.db-wal").write_bytes(b"left behind")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (make_garbage, "damaged"),
        (make_empty, "damaged .it is empty."),
        (make_foreign, "something else"),
        (make_newer, "newer Banyan"),
        (make_torn, "damaged"),
        (make_unreadable, "damaged .a record cannot be read"),
        (make_lost, "is missing but state.db-wal"),
    ],
)
def test_a_file_that_is_not_a_good_store_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StoreError, match=says):
        check_store(path)
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        check_store(tmp_path)
