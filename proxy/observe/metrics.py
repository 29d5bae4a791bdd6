"""What all workers did, added up: Prometheus counters since the start, and the windows.

Fed with each Report; `now` is passed in, in seconds of a clock that does not go back. Labels are
bounded: routes come from the table and are dropped a while after they left it, codes are statuses
and failure kinds, and a family of a route that still grows past MAX_SERIES counts under "other".
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from proxy.core.messages import LATENCY_BOUNDS_S, Counts, Report
from proxy.core.model import PHASE_NAMES, FailureKind, Phase
from proxy.observe.exposition import Sample, family, histogram, labels
from proxy.observe.fleet import Fleet, fleet_families
from proxy.observe.window import Reasons, RollingWindow, Window, cells_of, seconds_covered

FORGET_AFTER_S = 600.0  # two or more scrapes see the last counts of a removed route
SKIPPED_MARK = "skipped:"
MAX_SERIES = 256  # of one family of one route

# Every fourth bound from 0.5 ms on: a factor of about 2 from one `le` to the next.
LE_INDICES = tuple(range(9, len(LATENCY_BOUNDS_S), 4))
LE_BOUNDS = tuple(f"{LATENCY_BOUNDS_S[index]:.4g}" for index in LE_INDICES)
LE_OF_BUCKET = tuple(
    sum(index > le for le in LE_INDICES) for index in range(len(LATENCY_BOUNDS_S) + 1)
)

FAILURE_CODES = frozenset(kind.value for kind in FailureKind)
# The workers' words, and the contract's: None where it is only said later what becomes of it.
COMPARISON_RESULTS = {"new_failed": "divergent", "differing": None, "control_equal": None}


class _Totals:
    """The counters of one route since the start."""

    __slots__ = (
        "client_requests",
        "comparisons",
        "eligible",
        "errors",
        "events",
        "latency",
        "latency_sum_s",
        "requests",
        "skipped",
    )

    def __init__(self) -> None:
        self.client_requests = 0
        self.eligible = 0
        self.requests: dict[tuple[str, str, str], int] = {}  # phase, side, code
        self.comparisons: dict[str, int] = {}
        self.skipped: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.events: dict[str, int] = {}
        self.latency: dict[str, list[int]] = {}  # side: counts by `le`, not added up
        self.latency_sum_s: dict[str, float] = {}

    def add(self, counts: Counts) -> None:
        self.client_requests += counts.client_requests
        self.eligible += counts.eligible
        for key, count in counts.requests.items():
            self._add_request(key, count)
        for result, count in counts.comparisons.items():
            name = COMPARISON_RESULTS.get(result, result)
            if name is not None:
                _count(self.comparisons, name, count)
        for reason, count in counts.skipped.items():
            _count(self.skipped, reason, count)
        for side, count in counts.errors.items():
            _count(self.errors, side, count)
        for event, count in counts.events.items():
            _count(self.events, event, count)
        for side, buckets in counts.latency.items():
            by_le = self.latency.setdefault(side, [0] * (len(LE_INDICES) + 1))
            for index, count in buckets.items():
                by_le[LE_OF_BUCKET[min(index, len(LATENCY_BOUNDS_S))]] += count
        for side, seconds in counts.latency_sum_s.items():
            self.latency_sum_s[side] = self.latency_sum_s.get(side, 0.0) + seconds

    def _add_request(self, key: str, count: int) -> None:
        phase, side, code = key.split("|")
        series = (phase_label(phase), side, code_label(code))
        if series not in self.requests and len(self.requests) >= MAX_SERIES:
            series = (series[0], side, "other")
        self.requests[series] = self.requests.get(series, 0) + count


class Aggregator:
    """Adds up the reports of all workers. `started` is the moment counting begins."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._routes: dict[str, _Totals | None] = {}  # None: known, nothing counted yet
        self._gone: dict[str, float] = {}  # routes that left the table, and when
        self._windows: dict[str, RollingWindow] = {}
        self._reasons = Reasons()
        self._connections: dict[int, dict[str, int]] = {}  # by slot
        self._refused: dict[str, int] = {}
        self._observations_dropped = 0
        self._unknown_route = 0

    def retain(self, routes: Collection[str], now: float) -> None:
        """Count for these routes from now on; others are dropped FORGET_AFTER_S later.

        To be called with each new table, before a worker is told of it.
        """
        present = frozenset(routes)
        for name in present:
            self._routes.setdefault(name, None)
            self._gone.pop(name, None)
        for name in self._routes.keys() - present:
            self._gone.setdefault(name, now)
        self._forget(now)

    def apply(self, report: Report, now: float) -> None:
        """Add what one worker did since its last report."""
        for counts in report.counts:
            self._count(counts, now)
        for reason, count in report.refused.items():
            _count(self._refused, reason, count)
        self._observations_dropped += report.observations_dropped
        self._connections[report.slot] = dict(report.connections)

    def judged(self, route: str, result: str, now: float, number: int = 1) -> None:
        """So many pairs were compared apart from the workers, or could not be judged after all.

        `result` is "equal", "divergent", "noise" or "comparator_failed", or a reason for skipping
        it after `skipped:`.
        """
        if result.startswith(SKIPPED_MARK):
            counts = Counts(route, skipped={result.removeprefix(SKIPPED_MARK): number})
        else:
            counts = Counts(route, comparisons={result: number})
        self._count(counts, now)

    def disconnected(self, slot: int) -> None:
        """A worker is gone: so are its connections."""
        self._connections.pop(slot, None)

    def window(self, route: str, now: float) -> Window:
        """The last five minutes of a route; an empty window if nothing happened."""
        window = self._windows.get(route)
        if window is None:
            return Window(seconds=round(seconds_covered(now, self._started), 3))
        return window.look(self._reasons, now, self._started)

    def prometheus(self, fleet: Fleet, now: float) -> Iterator[str]:
        """The exposition of contract §6 in pieces; counts may move on between two pieces."""
        self._forget(now)
        yield from family(
            "banyan_client_requests_total",
            "counter",
            "Client requests routed, each counted once.",
            self._each(lambda route, t: [(labels(route=route), t.client_requests)]),
        )
        yield from family(
            "banyan_requests_total",
            "counter",
            "Exchanges with a side, by phase and by status code or kind of failure.",
            self._each(
                lambda route, t: (
                    (labels(route=route, phase=phase, side=side, code=code), count)
                    for (phase, side, code), count in list(t.requests.items())
                )
            ),
        )
        yield from family(
            "banyan_request_duration_seconds",
            "histogram",
            "Time until the head of a side's answer.",
            self._each(_durations),
        )
        yield from family(
            "banyan_errors_total",
            "counter",
            "Exchanges that ended in a transport failure, a time-out or a 5xx.",
            self._each(lambda route, t: _by(t.errors, "side", route)),
        )
        yield from family(
            "banyan_comparisons_total",
            "counter",
            "Pairs of answers compared, by result.",
            self._each(lambda route, t: _by(t.comparisons, "result", route)),
        )
        yield from family(
            "banyan_comparisons_eligible_total",
            "counter",
            "Reads whose answers could have been compared.",
            self._each(lambda route, t: [(labels(route=route), t.eligible)] if t.eligible else []),
        )
        yield from family(
            "banyan_skipped_total",
            "counter",
            "Shadows not sent or not compared, by reason.",
            self._each(lambda route, t: _by(t.skipped, "reason", route)),
        )
        yield from family(
            "banyan_events_total",
            "counter",
            "What else happened on a route: fallback, sticky_missing, override, ...",
            self._each(lambda route, t: _by(t.events, "event", route)),
        )
        yield from self._process_families()
        yield from fleet_families(fleet)

    def _process_families(self) -> Iterator[str]:
        yield from family(
            "banyan_refused_total",
            "counter",
            "Client requests refused before routing, by reason.",
            ((labels(reason=reason), count) for reason, count in sorted(self._refused.items())),
        )
        connections: dict[str, int] = {}
        for of_worker in self._connections.values():
            for side, count in of_worker.items():
                connections[side] = connections.get(side, 0) + count
        yield from family(
            "banyan_connections",
            "gauge",
            "Open connections: of clients (side client) and to each backend (side its name).",
            ((labels(side=side), count) for side, count in sorted(connections.items())),
        )
        yield from family(
            "banyan_observations_dropped_total",
            "counter",
            "Observations that workers dropped because the way to the controller was full.",
            [("", self._observations_dropped)],
        )
        yield from family(
            "banyan_unknown_route_total",
            "counter",
            "Reports about a route that is in no table any more; they are not counted elsewhere.",
            [("", self._unknown_route)],
        )

    def _count(self, counts: Counts, now: float) -> None:
        if counts.route not in self._routes:
            self._unknown_route += 1
            return
        totals = self._routes[counts.route]
        if totals is None:
            totals = self._routes[counts.route] = _Totals()
        totals.add(counts)
        window = self._windows.get(counts.route)
        if window is None:
            window = self._windows[counts.route] = RollingWindow()
        window.add(cells_of(counts, self._reasons), now)

    def _each(self, samples: Callable[[str, _Totals], Iterable[Sample]]) -> Iterator[Sample]:
        for route, totals in list(self._routes.items()):
            if totals is not None:
                yield from samples(route, totals)

    def _forget(self, now: float) -> None:
        for name, since in list(self._gone.items()):
            if now - since >= FORGET_AFTER_S:
                del self._gone[name], self._routes[name]
                self._windows.pop(name, None)
        for name in [name for name, window in self._windows.items() if window.empty(now)]:
            del self._windows[name]


def phase_label(text: str) -> str:
    """A phase as its name, also if it was written as a number; "other" if it is none."""
    if text in _PHASE_LABELS:
        return text
    try:
        name = str(Phase(int(text)))
    except ValueError:
        return "other"
    return name if name in _PHASE_LABELS else "other"


def code_label(text: str) -> str:
    """A status from 100 to 599 or a kind of failure as it is, anything else as "other"."""
    if text in FAILURE_CODES or (len(text) == 3 and text.isdecimal() and "100" <= text <= "599"):
        return text
    return "other"


_PHASE_LABELS = frozenset({*PHASE_NAMES.values(), *(f"{weight}%" for weight in range(101))})


def _durations(route: str, totals: _Totals) -> Iterator[Sample]:
    for side, by_le in list(totals.latency.items()):
        total = round(totals.latency_sum_s.get(side, 0.0), 6)
        yield from histogram(labels(route=route, side=side), LE_BOUNDS, by_le, total)


def _by(counts: Mapping[str, int], label: str, route: str) -> Iterator[Sample]:
    for value, count in list(counts.items()):
        yield labels(route=route, **{label: value}), count


def _count(counts: dict[str, int], key: str, count: int) -> None:
    if key not in counts and len(counts) >= MAX_SERIES:
        key = "other"
    counts[key] = counts.get(key, 0) + count
