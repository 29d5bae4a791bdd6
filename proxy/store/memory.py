"""A StateStore that forgets everything with the process: the reference the others are held to."""

from proxy.store.records import Change, Stored, Transition, after, lines_of
from proxy.store.state import HISTORY_KEPT, ConflictError, StoreError, check_generations


class MemoryStore:
    """Keeps everything in plain values."""

    def __init__(self) -> None:
        self._stored = Stored()
        self._history: list[Transition] = []
        self._closed = False

    async def begin(self) -> Stored:
        self._check_open()
        before = self._stored
        self._stored = Stored(before.starts + 1, before.table, before.records)
        return self._stored

    async def load(self) -> Stored:
        self._check_open()
        return self._stored

    async def commit(self, change: Change) -> None:
        self._check_open()
        check_generations(self._stored, change)
        self._stored = after(self._stored, change)
        self._history = [*self._history, *change.transitions][-HISTORY_KEPT:]

    async def restore(self, stored: Stored) -> None:
        self._check_open()
        if self._stored.records:
            raise ConflictError("only an empty store can be filled from a snapshot")
        self._stored = stored
        self._history += lines_of(stored)

    async def history(self, route: str | None = None, limit: int = 100) -> list[Transition]:
        self._check_open()
        newest = [each for each in reversed(self._history) if route in (None, each.route)]
        return newest[:limit]

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
