"""Deadlines of everything in a worker, by one coarse timer instead of one timer each.

A `Timed` object stands in one slot of the wheel. Moving its deadline later is an attribute
write: when the slot comes up the object is put where it belongs now. Only an earlier deadline
moves it at once. Resolution is one tick (50 ms); a deadline is never met early.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

TICK_S: Final = 0.05


class Timed:
    """Something with a deadline. `deadline` is in the wheel's time, 0 for none."""

    __slots__ = ("deadline", "slot")

    def __init__(self) -> None:
        self.deadline = 0.0
        self.slot = 0  # tick at which the wheel looks at it, 0 when it stands in none

    def on_deadline(self) -> None:
        """Called once when the deadline has passed; it is 0 by then."""


class Wheel:
    """Owns one repeating loop timer. `now` is the time of the last tick, cheap to read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Timed]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._origin = time.monotonic()
        self._tick = 1
        self.now = TICK_S

    def start(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._run)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def set(self, timed: Timed, after_s: float) -> None:
        """Let `timed` be called after so many seconds, instead of any deadline it had."""
        # `now` may be a tick old: one tick more keeps the promise never to be early.
        deadline = self.now + after_s + TICK_S
        timed.deadline = deadline
        slot = timed.slot
        if slot == 0:
            self._place(timed)
        elif deadline < slot * TICK_S - TICK_S:
            self._unplace(timed)
            self._place(timed)

    def forget(self, timed: Timed) -> None:
        """Drop the object: nothing of it stays behind in the wheel."""
        timed.deadline = 0.0
        if timed.slot:
            self._unplace(timed)

    def all_of(self) -> Iterator[Timed]:
        """Everything that has a deadline."""
        for entries in self._slots.values():
            yield from entries

    def _place(self, timed: Timed) -> None:
        slot = max(int(timed.deadline / TICK_S) + 1, self._tick + 1)
        timed.slot = slot
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = {timed}
        else:
            entries.add(timed)

    def _unplace(self, timed: Timed) -> None:
        entries = self._slots[timed.slot]
        entries.discard(timed)
        if not entries:
            del self._slots[timed.slot]
        timed.slot = 0

    def _run(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._run)
        elapsed = time.monotonic() - self._origin
        target = int(elapsed / TICK_S) + 1
        # A loop that was held up catches up slot by slot; nothing is skipped.
        while self._tick < target:
            self._tick += 1
            self.now = self._tick * TICK_S
            due = self._slots.pop(self._tick, None)
            if due:
                for timed in due:
                    timed.slot = 0
                for timed in due:
                    self._look_at(timed)

    def _look_at(self, timed: Timed) -> None:
        if timed.slot or not timed.deadline:
            return
        if timed.deadline > self.now:
            self._place(timed)
            return
        timed.deadline = 0.0
        timed.on_deadline()
