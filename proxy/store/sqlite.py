"""A StateStore in one SQLite file, used from one thread of its own.

Why these settings: commits are rare and small, but a client's write may wait for one (the missed
flag), and none may be lost to a power cut. WAL with synchronous=FULL costs one fsync a commit and
is durable; a rollback journal costs three or four, and with FULL its last commit can still come
back undone. locking_mode=EXCLUSIVE keeps a second Banyan off the same file (and needs no shared
memory, so network file systems work); the system lifts the lock when the process dies.

A file that is damaged, foreign, empty or newer is refused: starting afresh over an unknown latch
would send traffic where somebody took it away from.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from proxy.store.records import Change, Record, Stored, TableMark, Transition
from proxy.store.state import HISTORY_KEPT, ConflictError, StoreError, check_generations

APPLICATION_ID: Final = 0x42414E59  # "BANY"
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 2.0  # the process before us may still be dying
CALL_TIMEOUT_S: Final = 10.0

SCHEMA: Final = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE route (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE history (id INTEGER PRIMARY KEY, route TEXT NOT NULL, transition TEXT NOT NULL) STRICT;
CREATE INDEX history_of_route ON history (route, id);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

T = TypeVar("T")

_record_of = msgspec.json.Decoder(Record).decode
_transition_of = msgspec.json.Decoder(Transition).decode


class SqliteStore:
    """The store in `path`. Made by `open`; every call runs in its one thread."""

    def __init__(self, path: Path, thread: ThreadPoolExecutor, database: sqlite3.Connection):
        self._path = path
        self._thread = thread
        self._database: sqlite3.Connection | None = database

    @classmethod
    async def open(cls, path: Path) -> "SqliteStore":
        """Open the file, or make it where there is none. Raises StoreError."""
        thread = ThreadPoolExecutor(1, "state-store")
        try:
            database = await _in_time(thread, path, lambda: open_database(path))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, thread, database)

    async def begin(self) -> Stored:
        def count() -> Stored:
            with _transaction(self._open_database()) as database:
                stored = _load(database)
                starts = stored.starts + 1
                _put_meta(database, "starts", str(starts))
                return Stored(starts, stored.table, stored.records)

        return await self._call(count)

    async def load(self) -> Stored:
        return await self._call(lambda: _load(self._open_database()))

    async def commit(self, change: Change) -> None:
        def write() -> None:
            with _transaction(self._open_database()) as database:
                check_generations(_load_some(database, change), change)
                _write(database, change)

        await self._call(write)

    async def restore(self, stored: Stored) -> None:
        def fill() -> None:
            with _transaction(self._open_database()) as database:
                if database.execute("SELECT 1 FROM route LIMIT 1").fetchone():
                    raise ConflictError("only an empty store can be filled from a snapshot")
                _put_meta(database, "starts", str(stored.starts))
                _write(database, Change(tuple(stored.records.values()), table=stored.table))

        await self._call(fill)

    async def history(self, route: str | None = None, limit: int = 100) -> list[Transition]:
        def read() -> list[Transition]:
            where = "" if route is None else "WHERE route = :route"
            rows = self._open_database().execute(
                f"SELECT transition FROM history {where} ORDER BY id DESC LIMIT :limit",
                {"route": route, "limit": limit},
            )
            return [_transition_of(text) for (text,) in rows]

        return await self._call(read)

    async def close(self) -> None:
        if self._database is not None:
            with contextlib.suppress(StoreError):
                await self._call(self._database.close)
            self._database = None
            self._thread.shutdown(wait=False)

    def _open_database(self) -> sqlite3.Connection:
        assert self._database is not None
        return self._database

    async def _call(self, work: Callable[[], T]) -> T:
        if self._database is None:
            raise StoreError("the store is closed")
        return await _in_time(self._thread, self._path, work)


async def _in_time(thread: ThreadPoolExecutor, path: Path, work: Callable[[], T]) -> T:
    """Run it in the thread. A time-out leaves the outcome unknown, as StoreError says."""
    with _as_store_error(path):
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(thread, work)
        except TimeoutError:
            raise StoreError(f"the state store {path} does not answer: is its disk?") from None


def check_store(path: Path) -> None:
    """Raise StoreError unless the file can be opened (or made) and used by us alone."""
    with _as_store_error(path):
        open_database(path).close()


def open_database(path: Path) -> sqlite3.Connection:
    """The checked and locked database of this path, made where there is none."""
    with _as_store_error(path):
        if not path.exists():
            _make(path)
        elif path.stat().st_size == 0:
            # SQLite would take an empty file for a new database.
            raise StoreError(_damaged(path, "it is empty"))
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            _prepare(path, database)
        except BaseException:
            database.close()
            raise
        return database


def _make(path: Path) -> None:
    """Under another name first: a crash half-way leaves nothing that looks like a store."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise StoreError(
            f"{path} is missing but {log.name} beside it is there: put the file back, "
            f"or move {log.name} away to start from the last snapshot"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as database:
        database.executescript(SCHEMA)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _prepare(path: Path, database: sqlite3.Connection) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a SQLite file of something else; set another state:")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path} was written by a newer Banyan (schema {version}); use that one")
    mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path} cannot be put into WAL mode (it stays in {mode})")
    database.execute("PRAGMA synchronous = FULL")
    result = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        raise StoreError(_damaged(path, result))
    # Takes the exclusive lock now rather than at the first write.
    database.execute("BEGIN EXCLUSIVE")
    database.execute("COMMIT")
    # Unreadable records show here and not in the middle of a decision.
    _load(database)


def _damaged(path: Path, why: str) -> str:
    return (
        f"the state store {path} is damaged ({why}). It may hold reverts and missed writes, so "
        f"nothing starts afresh over it: put a good copy in its place, or move it away (with its "
        f"-wal file), and the last snapshot beside it is used"
    )


@contextlib.contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            text = f"the state store {path} is in use by another process: is Banyan running?"
        else:
            text = f"the state store {path} cannot be used: {error}"
        raise StoreError(text) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(_damaged(path, str(error))) from error
    except msgspec.MsgspecError as error:
        raise StoreError(_damaged(path, f"a record cannot be read: {error}")) from error
    except OSError as error:
        raise StoreError(f"the state store {path} cannot be used: {error.strerror}") from error


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _load(database: sqlite3.Connection) -> Stored:
    meta = dict(database.execute("SELECT key, value FROM meta"))
    records = [_record_of(text) for (text,) in database.execute("SELECT record FROM route")]
    return Stored(
        starts=int(meta.get("starts", 0)),
        table=TableMark(int(meta.get("generation", 0)), meta.get("digest", "")),
        records={record.name: record for record in records},
    )


def _load_some(database: sqlite3.Connection, change: Change) -> Stored:
    """The records that the change replaces."""
    found: dict[str, Record] = {}
    for record in change.records:
        row = database.execute("SELECT record FROM route WHERE name = ?", (record.name,)).fetchone()
        if row:
            found[record.name] = _record_of(row[0])
    return Stored(records=found)


def _write(database: sqlite3.Connection, change: Change) -> None:
    database.executemany("DELETE FROM route WHERE name = ?", [(name,) for name in change.forgotten])
    database.executemany(
        "INSERT OR REPLACE INTO route VALUES (?, ?)",
        [(record.name, msgspec.json.encode(record).decode()) for record in change.records],
    )
    if change.table is not None:
        _put_meta(database, "generation", str(change.table.generation))
        _put_meta(database, "digest", change.table.digest)
    if change.transitions:
        database.executemany(
            "INSERT INTO history (route, transition) VALUES (?, ?)",
            [(each.route, msgspec.json.encode(each).decode()) for each in change.transitions],
        )
        database.execute(
            "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (HISTORY_KEPT,)
        )


def _put_meta(database: sqlite3.Connection, key: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
