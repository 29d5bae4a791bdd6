"""A StateStore in one SQLite file, used from one thread of its own.

Commits are rare and small, but a client's write may wait for one (the missed flag), and none may be
lost to a power cut: synchronous=FULL costs one fsync a commit and is durable.

A file that is damaged, foreign, empty or newer is refused: starting afresh over an unknown latch
would send traffic where somebody took it away from.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from proxy.store import database as files
from proxy.store.database import Layout, as_store_error, transaction
from proxy.store.records import Change, Record, Stored, TableMark, Transition, lines_of
from proxy.store.state import HISTORY_KEPT, ConflictError, StoreError, check_generations

CALL_TIMEOUT_S: Final = 10.0

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE route (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE history (id INTEGER PRIMARY KEY, route TEXT NOT NULL, transition TEXT NOT NULL) STRICT;
CREATE INDEX history_of_route ON history (route, id);
"""
LAYOUT: Final = Layout(
    what="state store",
    application_id=0x42414E59,  # "BANY"
    version=1,
    schema=SCHEMA,
    synchronous="FULL",
    checked=True,
    damage="It may hold reverts and missed writes, so nothing starts afresh over it: put a good "
    "copy in its place, or move it away (with its -wal file), and the last snapshot beside it is "
    "used",
)

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
            database = await files.in_time(
                LAYOUT, thread, path, lambda: open_database(path), CALL_TIMEOUT_S
            )
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, thread, database)

    async def begin(self) -> Stored:
        def count() -> Stored:
            with transaction(self._open_database()) as database:
                stored = _load(database)
                starts = stored.starts + 1
                _put_meta(database, "starts", str(starts))
                return Stored(starts, stored.table, stored.records)

        return await self._call(count)

    async def load(self) -> Stored:
        return await self._call(lambda: _load(self._open_database()))

    async def commit(self, change: Change) -> None:
        def write() -> None:
            with transaction(self._open_database()) as database:
                check_generations(_load_some(database, change), change)
                _write(database, change)

        await self._call(write)

    async def restore(self, stored: Stored) -> None:
        def fill() -> None:
            with transaction(self._open_database()) as database:
                if database.execute("SELECT 1 FROM route LIMIT 1").fetchone():
                    raise ConflictError("only an empty store can be filled from a snapshot")
                _put_meta(database, "starts", str(stored.starts))
                records = tuple(stored.records.values())
                _write(database, Change(records, (), lines_of(stored), stored.table))

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
        return await files.in_time(LAYOUT, self._thread, self._path, work, CALL_TIMEOUT_S)


def check_store(path: Path) -> None:
    """Raise StoreError unless the file can be opened (or made) and used by us alone."""
    with as_store_error(LAYOUT, path):
        open_database(path).close()


def open_database(path: Path) -> sqlite3.Connection:
    """The checked and locked database of this path, made where there is none."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and not path.exists():
        raise StoreError(
            f"{path} is missing but {log.name} beside it is there: put the file back, "
            f"or move {log.name} away to start from the last snapshot"
        )
    database = files.open_database(LAYOUT, path)
    try:
        # Unreadable records show here and not in the middle of a decision.
        with as_store_error(LAYOUT, path):
            _load(database)
    except BaseException:
        database.close()
        raise
    return database


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
