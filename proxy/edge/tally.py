"""What a worker counts: per route, in plain dictionaries, handed over several times a second.

Outcomes are never shed: while the controller is away they go on adding up here, bounded by the
number of routes, statuses, reasons and slots of time. Observations are a bounded queue; what does
not fit is dropped and counted.
"""

from bisect import bisect_left
from collections import deque
from typing import Final

from proxy.core.detection import SLOT_S
from proxy.core.messages import LATENCY_BOUNDS_S, Counts, Observation
from proxy.core.model import FailureKind, Phase, Side

MAX_OBSERVATIONS: Final = 8192  # waiting, of those that are traced
# Of those that are told only because something is wrong: a side that is down makes one of each
# request. A worker reports ten times a second, and the controller looks at a hundred a second.
MAX_TROUBLES: Final = 32
MAX_SLOTS: Final = 512  # of trials of a route; the oldest are taken together
FAILURE_CODES: Final = {kind: 1000 + at for at, kind in enumerate(FailureKind)}
# Those from here on are no error of a side.
_NOT_THEIRS: Final = FAILURE_CODES[FailureKind.NO_DESCRIPTORS]
_CODE_NAMES: Final = {code: kind.value for kind, code in FAILURE_CODES.items()}
_SIDES: Final = (Side.LEGACY, Side.NEW)
LEGACY: Final = 0
NEW: Final = 1
EQUAL, NEW_FAILED, FINE, FAILED, DIFFERING = range(5)  # of TRIALS
_PHASE_STEP: Final = 4096
_SIDE_STEP: Final = 2048


class Tally:
    """The counts of one route since they were last taken."""

    __slots__ = (
        "client_requests",
        "comparisons",
        "dirty",
        "eligible",
        "errors",
        "events",
        "latency",
        "latency_sum",
        "owner",
        "requests",
        "route",
        "skipped",
        "trials",
    )

    def __init__(self, route: str, owner: "Tallies") -> None:
        self.route = route
        self.owner = owner
        self.dirty = False
        self._clear()

    def _clear(self) -> None:
        self.requests: dict[int, int] = {}
        self.latency: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.latency_sum = [0.0, 0.0]
        self.skipped: dict[str, int] = {}
        self.comparisons: dict[str, int] = {}
        self.errors = [0, 0]
        self.events: dict[str, int] = {}
        self.eligible = 0
        self.client_requests = 0
        self.trials: dict[int, list[int]] = {}

    def client_request(self) -> None:
        """A client request began; also marks the route as having news."""
        self.client_requests += 1
        if not self.dirty:
            self.dirty = True
            self.owner.dirty.append(self)

    def exchange(self, progress: int, side: int, code: int, seconds: float) -> None:
        """One exchange ended: `code` is a status or a FAILURE_CODES value, time to its head."""
        key = (progress + 2) * _PHASE_STEP + side * _SIDE_STEP + code
        requests = self.requests
        requests[key] = requests.get(key, 0) + 1
        bucket = bisect_left(LATENCY_BOUNDS_S, seconds)
        latency = self.latency[side]
        latency[bucket] = latency.get(bucket, 0) + 1
        self.latency_sum[side] += seconds
        if 500 <= code < _NOT_THEIRS:
            self.errors[side] += 1
        if not self.dirty:
            self.dirty = True
            self.owner.dirty.append(self)

    def skip(self, reason: str) -> None:
        """A read that could have been shadowed and compared was not, or not wholly."""
        self._add(self.skipped, reason)

    def comparison(self, result: str) -> None:
        self._add(self.comparisons, result)

    def trial(self, began_at: float, what: int) -> None:
        """A trial was concluded: when it began, on the wall, and an index of TRIALS."""
        slot = int(began_at / SLOT_S)
        counts = self.trials.get(slot)
        if counts is None:
            if len(self.trials) >= MAX_SLOTS:
                self._take_the_oldest_together()
            counts = self.trials[slot] = [0, 0, 0, 0, 0]
        counts[what] += 1
        if not self.dirty:
            self.dirty = True
            self.owner.dirty.append(self)

    def _take_the_oldest_together(self) -> None:
        oldest, next_one = sorted(self.trials)[:2]
        into, counts = self.trials[next_one], self.trials.pop(oldest)
        for at, count in enumerate(counts):
            into[at] += count

    def event(self, name: str) -> None:
        self._add(self.events, name)

    def _add(self, counts: dict[str, int], key: str) -> None:
        counts[key] = counts.get(key, 0) + 1
        if not self.dirty:
            self.dirty = True
            self.owner.dirty.append(self)

    def take(self) -> Counts:
        """The counts as a message; they begin at zero again."""
        counts = Counts(
            route=self.route,
            requests={_label(key): count for key, count in self.requests.items()},
            latency={
                side.value: self.latency[at] for at, side in enumerate(_SIDES) if self.latency[at]
            },
            latency_sum_s={
                side.value: self.latency_sum[at]
                for at, side in enumerate(_SIDES)
                if self.latency[at]
            },
            skipped=self.skipped,
            comparisons=self.comparisons,
            errors={side.value: self.errors[at] for at, side in enumerate(_SIDES)},
            events=self.events,
            eligible=self.eligible,
            client_requests=self.client_requests,
            trials=self.trials,
        )
        self.dirty = False
        self._clear()
        return counts


class Tallies:
    """All that a worker has to report."""

    def __init__(self) -> None:
        self.dirty: list[Tally] = []
        self.observations: deque[Observation] = deque()
        self.observations_dropped = 0
        self.refused: dict[str, int] = {}

    def has_room(self, sampled: bool, share: int = 1) -> bool:
        """Whether one more Observation is told; one that is not is counted as dropped.

        `share`: only one in so many places is for it.
        """
        if len(self.observations) < (MAX_OBSERVATIONS if sampled else MAX_TROUBLES) // share:
            return True
        self.observations_dropped += 1
        return False

    def observe(self, observation: Observation) -> None:
        """Tell of it; there is room."""
        self.observations.append(observation)

    def refuse(self, reason: str) -> None:
        """A client request was refused before it had a route."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def has_news(self) -> bool:
        return bool(self.dirty or self.observations or self.refused or self.observations_dropped)

    def take(
        self, most_observations: int
    ) -> tuple[list[Counts], list[Observation], int, dict[str, int]]:
        """Counts, observations, how many were dropped, refusals; all begin anew."""
        counts = [tally.take() for tally in self.dirty]
        self.dirty = []
        waiting = self.observations
        observations = [waiting.popleft() for _ in range(min(len(waiting), most_observations))]
        dropped, self.observations_dropped = self.observations_dropped, 0
        refused, self.refused = self.refused, {}
        return counts, observations, dropped, refused


def _label(key: int) -> str:
    phase, rest = divmod(key, _PHASE_STEP)
    side, code = divmod(rest, _SIDE_STEP)
    return f"{Phase(phase - 2)}|{_SIDES[side].value}|{_CODE_NAMES.get(code, code)}"
