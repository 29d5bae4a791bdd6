"""One SQLite file that one thread of one process uses: made whole, checked, locked, never shared.

What the stores have in common. WAL, because a rollback journal costs three or four syncs a commit.
locking_mode=EXCLUSIVE keeps a second Banyan off the same file (and needs no shared memory, so
network file systems work); the system lifts the lock when the process dies.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from proxy.store.state import DamagedError, ForeignError, StoreError

BUSY_TIMEOUT_S: Final = 2.0  # the process before us may still be dying

T = TypeVar("T")


class Layout(NamedTuple):
    """What a file of this kind holds, and how it is written and spoken of."""

    what: str  # "state store"
    application_id: int
    version: int
    schema: str  # without application_id and user_version
    synchronous: str  # FULL: no commit is lost to a power cut. NORMAL: the last ones may be
    checked: bool  # whether all of it is read when it is opened
    damage: str  # what damage means and what to do, after "is damaged (why)"


async def in_time(
    layout: Layout,
    thread: ThreadPoolExecutor,
    path: Path,
    work: Callable[[], T],
    timeout_s: float,
) -> T:
    """Run it in the thread. A time-out leaves the outcome unknown, as StoreError says."""
    with as_store_error(layout, path):
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(thread, work)
        except TimeoutError:
            text = f"the {layout.what} {path} does not answer: is its disk?"
            raise StoreError(text) from None


def open_database(layout: Layout, path: Path) -> sqlite3.Connection:
    """The checked and locked database of this path, made where there is none."""
    with as_store_error(layout, path):
        if not path.exists():
            _make(layout, path)
        elif path.stat().st_size == 0:
            # SQLite would take an empty file for a new database.
            raise _damaged(layout, path, "it is empty")
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            _prepare(layout, path, database)
        except BaseException:
            database.close()
            raise
        return database


def _make(layout: Layout, path: Path) -> None:
    """Under another name first: a crash half-way leaves nothing that looks like a store."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as database:
        database.executescript(layout.schema)
        database.execute(f"PRAGMA application_id = {layout.application_id}")
        database.execute(f"PRAGMA user_version = {layout.version}")
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _prepare(layout: Layout, path: Path, database: sqlite3.Connection) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    if application != layout.application_id:
        raise ForeignError(f"{path} is a SQLite file of something else; set another state:")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > layout.version:
        raise ForeignError(f"{path} was written by a newer Banyan (schema {version}); use that one")
    mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path} cannot be put into WAL mode (it stays in {mode})")
    database.execute(f"PRAGMA synchronous = {layout.synchronous}")
    if layout.checked:
        result = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if result != "ok":
            raise _damaged(layout, path, result)
    # Takes the exclusive lock now rather than at the first write.
    database.execute("BEGIN EXCLUSIVE")
    database.execute("COMMIT")


def _damaged(layout: Layout, path: Path, why: str) -> DamagedError:
    return DamagedError(f"the {layout.what} {path} is damaged ({why}). {layout.damage}")


@contextlib.contextmanager
def as_store_error(layout: Layout, path: Path) -> Iterator[None]:
    """What SQLite, the disk or a record that cannot be read say becomes a StoreError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            text = f"the {layout.what} {path} is in use by another process: is Banyan running?"
        else:
            text = f"the {layout.what} {path} cannot be used: {error}"
        raise StoreError(text) from error
    except sqlite3.ProgrammingError:
        raise  # a bug of ours and not the file's
    except sqlite3.DatabaseError as error:
        raise _damaged(layout, path, str(error)) from error
    except msgspec.MsgspecError as error:
        raise _damaged(layout, path, f"a record cannot be read: {error}") from error
    except OSError as error:
        raise StoreError(f"the {layout.what} {path} cannot be used: {error.strerror}") from error


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
