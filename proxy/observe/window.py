"""What a route did in the last five minutes: counts and quantiles over a ring of short slots.

Bounded for 10,000 routes: a route has a RollingWindow only while it has traffic, the closed slots
are packed bytes, and a running total spares adding them up at each look. `now` is passed in, in
seconds of any clock that does not go back.
"""

import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from proxy.core.messages import LATENCY_BOUNDS_S, Counts

SLOT_S = 10.0
SLOTS = 30
MAX_REASONS = 64


class Errors(msgspec.Struct, frozen=True):
    """Exchanges of each side that ended in a transport failure, a time-out or a 5xx."""

    legacy: int = 0
    new: int = 0


class Quantiles(msgspec.Struct, frozen=True):
    """Latency of one side in milliseconds; None without data."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Latency(msgspec.Struct, frozen=True):
    """The quantiles of both sides, in milliseconds."""

    legacy: Quantiles = Quantiles()
    new: Quantiles = Quantiles()


class Window(msgspec.Struct, frozen=True):
    """`window` of the admin API.

    `requests` are client requests, each counted once however many sides it went to; `comparisons`
    and `divergences` count pairs that were judged; `coverage` is the share (0 to 1) of the eligible
    reads that were, None without any. `skipped` counts by reason those that were not, be it that
    there was nothing to judge (`both_failed`) or that judging failed (`comparator_failed`).
    `seconds` is how much time the window covers (less than five minutes after a start),
    `requests_per_s` the rate of the last 10 to 20 seconds.
    """

    seconds: float = 0.0
    requests: int = 0
    requests_per_s: float = 0.0
    comparisons: int = 0
    divergences: int = 0
    coverage: float | None = None
    errors: Errors = Errors()
    skipped: Mapping[str, int] = {}
    latency_ms: Latency = Latency()


# The cells of a slot: one small number per thing counted, so that a slot is one flat mapping.
REQUESTS, EQUAL, DIVERGENT, NOISE, ELIGIBLE, LEGACY_ERRORS, NEW_ERRORS = range(7)
BUCKETS = len(LATENCY_BOUNDS_S) + 1  # the last one has no bound
LEGACY_LATENCY = 7
NEW_LATENCY = LEGACY_LATENCY + BUCKETS
SKIPPED = NEW_LATENCY + BUCKETS

COMPARISON_CELLS = {
    "equal": EQUAL,
    "divergent": DIVERGENT,
    "new_failed": DIVERGENT,  # as the workers count it
    "noise": NOISE,
}
UNJUDGED = frozenset({"both_failed", "comparator_failed"})  # no evidence in either direction
ERROR_CELLS = {"legacy": LEGACY_ERRORS, "new": NEW_ERRORS}
LATENCY_CELLS = {"legacy": LEGACY_LATENCY, "new": NEW_LATENCY}


class Reasons:
    """The reasons for a skipped shadow, numbered as they appear; past the bound all are "other"."""

    def __init__(self) -> None:
        self._names = ["other"]
        self._numbers = {"other": 0}

    def number(self, name: str) -> int:
        """The number of a reason, given out at its first appearance."""
        number = self._numbers.get(name)
        if number is None:
            if len(self._names) >= MAX_REASONS:
                return 0
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def name(self, number: int) -> str:
        """The reason that was given this number."""
        return self._names[number]


def cells_of(counts: Counts, reasons: Reasons) -> Iterator[tuple[int, int]]:
    """The cells that one report of a route adds to."""
    yield REQUESTS, counts.client_requests
    yield ELIGIBLE, counts.eligible
    for result, count in counts.comparisons.items():
        if (cell := COMPARISON_CELLS.get(result)) is not None:
            yield cell, count
        elif result in UNJUDGED:
            yield SKIPPED + reasons.number(result), count
    for side, count in counts.errors.items():
        yield ERROR_CELLS[side], count
    for side, buckets in counts.latency.items():
        base = LATENCY_CELLS[side]
        for index, count in buckets.items():
            yield base + min(index, BUCKETS - 1), count
    for reason, count in counts.skipped.items():
        yield SKIPPED + reasons.number(reason), count


class _ClosedSlot(NamedTuple):
    slot: int
    requests: int
    packed: bytes


class RollingWindow:
    """The last SLOTS slots of one route, the open one included."""

    __slots__ = ("_closed", "_open", "_open_slot", "_total")

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._open_slot = 0
        self._closed: deque[_ClosedSlot] = deque()
        self._total: dict[int, int] = {}

    def add(self, cells: Iterable[tuple[int, int]], now: float) -> None:
        """Count the cells in the slot of `now`."""
        self._turn(now)
        opened, total = self._open, self._total
        for cell, count in cells:
            if count:
                opened[cell] = opened.get(cell, 0) + count
                total[cell] = total.get(cell, 0) + count

    def empty(self, now: float) -> bool:
        """Whether nothing happened in the last SLOTS slots."""
        self._turn(now)
        return not self._total

    def look(self, reasons: Reasons, now: float, since: float) -> Window:
        """The window at `now`, of a route that is watched since `since`."""
        self._turn(now)
        total = self._total
        divergences = total.get(DIVERGENT, 0)
        comparisons = total.get(EQUAL, 0) + total.get(NOISE, 0) + divergences
        eligible = total.get(ELIGIBLE, 0)
        legacy: dict[int, int] = {}
        new: dict[int, int] = {}
        skipped: dict[str, int] = {}
        for cell, count in total.items():
            if cell >= SKIPPED:
                skipped[reasons.name(cell - SKIPPED)] = count
            elif cell >= NEW_LATENCY:
                new[cell - NEW_LATENCY] = count
            elif cell >= LEGACY_LATENCY:
                legacy[cell - LEGACY_LATENCY] = count
        return Window(
            seconds=round(seconds_covered(now, since), 3),
            requests=total.get(REQUESTS, 0),
            requests_per_s=round(self._recent_requests() / self._recent_s(now, since), 3),
            comparisons=comparisons,
            divergences=divergences,
            # A comparison may be reported a moment before its read is counted as eligible.
            coverage=min(round(comparisons / eligible, 4), 1.0) if eligible else None,
            errors=Errors(total.get(LEGACY_ERRORS, 0), total.get(NEW_ERRORS, 0)),
            skipped=skipped,
            latency_ms=Latency(quantiles(legacy), quantiles(new)),
        )

    def _recent_requests(self) -> int:
        recent = self._open.get(REQUESTS, 0)
        if self._closed and self._closed[-1].slot == self._open_slot - 1:
            recent += self._closed[-1].requests
        return recent

    def _recent_s(self, now: float, since: float) -> float:
        # At least a second, so that the first request after a start is no burst.
        return max(min(SLOT_S + now - self._open_slot * SLOT_S, now - since), 1.0)

    def _turn(self, now: float) -> None:
        """Close the open slot if `now` is past it, and drop what has left the window."""
        slot = int(now // SLOT_S)
        if slot <= self._open_slot:
            return
        if self._open:
            requests = self._open.get(REQUESTS, 0)
            self._closed.append(_ClosedSlot(self._open_slot, requests, _pack(self._open)))
            self._open = {}
        self._open_slot = slot
        total = self._total
        while self._closed and self._closed[0].slot <= slot - SLOTS:
            for cell, count in _unpack(self._closed.popleft().packed).items():
                if total[cell] == count:
                    del total[cell]
                else:
                    total[cell] -= count


def seconds_covered(now: float, since: float) -> float:
    """How much time the window of `now` covers: whole slots and the open one."""
    full = (SLOTS - 1) * SLOT_S + now % SLOT_S
    return max(min(full, now - since), 0.0)


def quantiles(buckets: Mapping[int, int]) -> Quantiles:
    """The quantiles of a sparse histogram over LATENCY_BOUNDS_S, in milliseconds."""
    if not buckets:
        return Quantiles()
    return Quantiles(*(round(at * 1000, 3) for at in quantiles_s(buckets, (0.5, 0.95, 0.99))))


def quantiles_s(buckets: Mapping[int, int], shares: Sequence[float]) -> list[float]:
    """The quantiles at rising shares, in seconds, linear inside a bucket.

    In the bucket without a bound it is the last bound: at least that much. The histogram must not
    be empty.
    """
    count_all = sum(buckets.values())
    found: list[float] = []
    below = 0
    for index, count in sorted(buckets.items()):
        while len(found) < len(shares) and below + count >= shares[len(found)] * count_all:
            rank = shares[len(found)] * count_all
            found.append(_inside(index, (rank - below) / count))
        below += count
    return found


def _inside(index: int, share: float) -> float:
    if index >= len(LATENCY_BOUNDS_S):
        return LATENCY_BOUNDS_S[-1]
    lower = LATENCY_BOUNDS_S[index - 1] if index else 0.0
    return lower + (LATENCY_BOUNDS_S[index] - lower) * share


def _pack(cells: Mapping[int, int]) -> bytes:
    # 32 bits: no route is asked four thousand million times within one slot.
    return array.array("I", (number for pair in cells.items() for number in pair)).tobytes()


def _unpack(packed: bytes) -> dict[int, int]:
    numbers = array.array("I", packed)
    return dict(zip(numbers[::2], numbers[1::2], strict=True))
