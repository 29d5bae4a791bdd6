"""Whose turn it is, so that all get the same time, however many turns that is.

Start-time fair queueing: who waits has had its share up to some point, and the one with the
earliest has its turn. Time is only charged once it is spent, or estimated: no turn is cut short.
Who had nothing to do saves nothing up, and who took much waits until the others have had as much,
even if it was away meanwhile. No clock: times are in seconds of work.
"""

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

KEPT = 256  # debts of those that do not wait, before the paid ones among them are looked for


class Turns(Generic[Key]):
    """Those that wait, and what each has had."""

    def __init__(self) -> None:
        self._now = 0.0  # up to here, all that wait have had their share
        self._had: dict[Key, float] = {}
        self._waiting: set[Key] = set()
        self._heap: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()  # equals have their turns in the order they came
        self._prune_at = KEPT

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, key: Key) -> None:
        """It waits for its turn, from now on or already."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        had = self._had[key] = max(self._had.get(key, 0.0), self._now)
        heapq.heappush(self._heap, (had, next(self._numbers), key))

    def take(self) -> Key | None:
        """Whose turn it is; it waits no more until it enters again. None where nobody waits."""
        while self._heap:
            had, number, key = heapq.heappop(self._heap)
            if self._had[key] > had:  # charged since it entered
                heapq.heappush(self._heap, (self._had[key], number, key))
                continue
            self._waiting.remove(key)
            self._now = max(self._now, had)
            return key
        return None

    def charge(self, key: Key, seconds: float) -> None:
        """It has had so much more; less, where it had been charged with too much."""
        self._had[key] = self._had.get(key, self._now) + seconds
        if len(self._had) > self._prune_at:
            self._had = {
                each: had
                for each, had in self._had.items()
                if had > self._now or each in self._waiting
            }
            self._prune_at = 2 * len(self._had) + KEPT
