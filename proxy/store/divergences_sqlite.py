"""A DivergenceStore in one SQLite file of its own, used from one thread of its own.

Beside the state store and not in it: divergences are many and may be lost, state is small and may
not. So synchronous=NORMAL (a power cut takes the last second), and a file that turns out damaged,
at the start or later, is moved aside, named in the log and begun anew: it never stops the proxy.
Rows that are deleted leave pages that are used again; the file is as large as it ever had to be.
"""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from proxy.core.divergences import Divergence, Page, SignatureSummary
from proxy.store import database as files
from proxy.store import divergence_rows as rows
from proxy.store.database import as_store_error, transaction
from proxy.store.divergence_addition import Addition
from proxy.store.divergences import StoreBounds
from proxy.store.state import DamagedError, StoreError

CALL_TIMEOUT_S: Final = 5.0
ASIDE_KEPT: Final = 3

T = TypeVar("T")

log = structlog.get_logger("proxy.store")


class SqliteDivergences:
    """The store in `path`. Made by `open`; every call runs in its one thread."""

    def __init__(
        self, path: Path, bounds: StoreBounds, chance: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self.moved_aside = 0  # damaged files since the start
        self._path = path
        self._bounds = bounds
        self._chance = chance
        self._now = now
        self._thread = ThreadPoolExecutor(1, "divergence-store")
        self._database: sqlite3.Connection | None = None
        self._held = rows.Held()
        self._dropped: Counter[str] = Counter()
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        bounds: StoreBounds,
        chance: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> "SqliteDivergences":
        """Open the file, or make it where there is none or a damaged one. Raises StoreError.

        `chance` gives numbers from 0 (included) to 1 (excluded); `now` seconds since the epoch.
        """
        store = cls(path, bounds, chance, now)
        try:
            await store._call(rows.count)
        except BaseException:
            store._thread.shutdown(wait=False)
            raise
        return store

    async def add(self, divergences: Sequence[Divergence]) -> None:
        def write(database: sqlite3.Connection) -> None:
            addition = Addition(database, self._bounds, self._held, self._chance)
            with transaction(database):
                addition.add(divergences)
                addition.keep_bounds(self._now())
            # In the thread and after the commit: also where the caller has stopped waiting.
            self._held = addition.held
            self._dropped.update(addition.dropped)

        await self._call(write)

    async def page(
        self,
        route: str | None = None,
        signature: str | None = None,
        since: float | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        before = rows.place_of(cursor) if cursor is not None else None
        oldest = max(since or 0.0, self._now() - self._bounds.age_s)
        return await self._call(
            lambda database: rows.page(database, route, signature, oldest, limit, before)
        )

    async def get(self, id: str) -> Divergence | None:
        return await self._call(lambda database: rows.get(database, id))

    async def signatures(
        self, route: str | None = None, limit: int | None = None
    ) -> list[SignatureSummary]:
        oldest = self._now() - self._bounds.age_s
        return await self._call(lambda database: rows.signatures(database, route, oldest, limit))

    async def export(self, route: str | None = None) -> AsyncIterator[Divergence]:
        after = rows.NOT_YET
        while True:
            found = await self._call(partial(rows.following, route=route, after=after, limit=20))
            if not found:
                return
            for after, divergence in found:  # noqa: B007  (the last one's place is gone on from)
                yield divergence

    async def save_noise(self, routes: dict[str, bytes]) -> None:
        def save(database: sqlite3.Connection) -> None:
            with transaction(database):
                rows.save_noise(database, routes.items())

        await self._call(save)

    async def load_noise(self) -> dict[str, bytes]:
        return await self._call(rows.load_noise)

    async def clear(self, route: str) -> int:
        def forget(database: sqlite3.Connection) -> int:
            with transaction(database):
                forgotten = rows.forget(database, route)
            self._held = rows.count(database)
            return forgotten

        return await self._call(forget)

    def dropped(self) -> dict[str, int]:
        return dict(self._dropped)

    async def close(self) -> None:
        if self._closed:
            return

        def end(database: sqlite3.Connection) -> None:
            self._closed = True  # in the thread: calls that wait behind this one find it so
            database.close()

        with contextlib.suppress(StoreError):
            await self._call(end)
        self._closed = True
        self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run it in the thread; on a file that turns out damaged, once more on a new one."""

        def run() -> T:
            try:
                return self._run(work)
            except DamagedError as error:
                self._begin_anew(str(error))
                return self._run(work)

        if self._closed:
            raise StoreError("the store of divergences is closed")
        return await files.in_time(rows.LAYOUT, self._thread, self._path, run, CALL_TIMEOUT_S)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreError("the store of divergences is closed")
        with as_store_error(rows.LAYOUT, self._path):
            if self._database is None:
                self._database = files.open_database(rows.LAYOUT, self._path)
                self._database.execute(f"PRAGMA journal_size_limit = {rows.LOG_BYTES}")
                self._held = rows.count(self._database)
            return work(self._database)

    def _begin_anew(self, why: str) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._database is not None:
                self._database.close()
        self._database = None
        with as_store_error(rows.LAYOUT, self._path):
            aside = _free_name(self._path)
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                beside = self._path.with_name(self._path.name + suffix)
                if beside.exists():
                    beside.replace(aside.with_name(aside.name + suffix))
        self.moved_aside += 1
        log.warning("divergences_moved_aside", file=str(aside), why=why)


def _free_name(path: Path) -> Path:
    """`divergences.db.damaged-1` and so on; of too many, the oldest is overwritten."""
    names = [path.with_name(f"{path.name}.damaged-{number + 1}") for number in range(ASIDE_KEPT)]
    free = [name for name in names if not name.exists()]
    return free[0] if free else min(names, key=lambda name: name.stat().st_mtime)
