"""Finds the children whose loop stands still: alive, and of no use to anybody.

A child says twice a second that its loop turns (`pulse`). One that has not for as long as its
patience is hung, for whatever reason: stopped, blocked in a call, in a loop without end. Nobody is
to be killed for what is not its own fault:

1. Silence is added up look by look, each worth LONGEST_LOOK_S at most: time in which the launcher
   itself stood still (a suspended machine, a paused container) is nobody's silence.
2. Of that time only what the child had counts: all of it where it sleeps or was stopped, the
   processor time of its main thread where it runs (one that waits for a processor has none), none
   where it waits for a disk (nothing kills it then) or is held by a debugger.
3. A child that has not begun yet has START_S.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from proxy.control.children import Child
from proxy.control.pulse import clear_beat, read_beat

LOOK_EVERY_S: Final = 1.0
LONGEST_LOOK_S: Final = 2.0
START_S: Final = 60.0

# States of a thread in /proc, `man 5 proc`.
_RUNS: Final = "R"
_COUNTS_NOT: Final = "DtZXI"
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Hung(NamedTuple):
    """A child to be killed, and for how long it was silent."""

    child: Child
    silent_s: float


@dataclass(slots=True)
class Watched:
    """A child with the place of its beat, and how long (in seconds) its silence is borne."""

    child: Child
    at: int
    patience_s: float
    pid: int | None = None
    beat: int = 0
    silent_s: float = 0.0
    used_s: float = 0.0  # processor time at the last look


class Watchdog:
    """Watches the children. `page` is their pulse, `now` in seconds of a clock that goes on."""

    def __init__(self, page: int, watched: Sequence[Watched], now: float) -> None:
        self._page = page
        self._watched = watched
        self._looked_at = now

    def forget_beats(self, child: Child) -> None:
        """It is about to be started: what the one before said is not what this one says."""
        for each in self._watched:
            if each.child is child:
                clear_beat(self._page, each.at)

    @property
    def next_look(self) -> float:
        """When to look again, on the clock of `now`."""
        return self._looked_at + LOOK_EVERY_S

    def look(self, now: float) -> list[Hung]:
        """Those that are hung; nobody's silence grows before the next look is due."""
        if now < self.next_look:
            return []
        passed_s = min(now - self._looked_at, LONGEST_LOOK_S)
        self._looked_at = now
        return [hung for each in self._watched if (hung := self._look_at(each, passed_s))]

    def _look_at(self, watched: Watched, passed_s: float) -> Hung | None:
        pid, beat = watched.child.pid, read_beat(self._page, watched.at)
        if pid is None or pid != watched.pid or beat != watched.beat:
            watched.pid, watched.beat = pid, beat
            watched.silent_s = 0.0
            if pid is not None:
                watched.used_s = _state_of(pid)[1]
            return None
        state, used_s = _state_of(pid)
        had_s = passed_s
        if state == _RUNS:
            had_s = min(max(used_s - watched.used_s, 0.0), passed_s)
        elif state in _COUNTS_NOT:
            had_s = 0.0
        watched.used_s = used_s
        watched.silent_s += had_s
        if watched.silent_s < (watched.patience_s if beat else START_S):
            return None
        silent_s, watched.silent_s = watched.silent_s, 0.0
        return Hung(watched.child, silent_s)


def _state_of(pid: int) -> tuple[str, float]:
    """The state of a process's main thread, and the processor time that it had, in seconds."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/stat").read_text()
    except OSError:
        return "X", 0.0  # nobody is killed for what cannot be seen
    fields = text.rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
