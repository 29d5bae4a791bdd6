"""What is told of single Observations: one log line for a route's first difference, then few.

The counts are in the metrics; a line is an example with a trace_id. Bounded: a route speaks once,
then at most every ROUTE_INTERVAL_S with the number of those it kept to itself, all routes
together at most LINES_AN_INTERVAL times in that time. Neither bodies nor query strings are in an
Observation, so none reach the log.
"""

from collections.abc import Collection
from typing import Any, Protocol

import msgspec

from proxy.core.messages import NOT_ASKED, ExchangeRecord, Observation
from proxy.core.model import FailureKind, Phase
from proxy.observe.assessing import Assessment

ROUTE_INTERVAL_S = 10.0
LINES_AN_INTERVAL = 100
_NOT_FAILED = (FailureKind.CANCELLED.value, NOT_ASKED)

DIVERGENCE = "divergence"
FAILED_EXCHANGE = "failed_exchange"
COMPARATOR_FAILED = "comparator_failed"
MAX_PLACES = 3


class Log(Protocol):
    """What is needed of a structlog logger."""

    def warning(self, event: str, **fields: Any) -> Any: ...


class Line(msgspec.Struct, frozen=True):
    """One log line: an example, and how many like it since the route's last line."""

    event: str
    observation: Observation
    count: int
    places: tuple[str, ...] = ()  # in which the answers differ


class _Kept(msgspec.Struct):
    spoke_at: float
    silent: int = 0


class Observations:
    """Takes every Observation and writes the few lines."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: dict[tuple[str, str], _Kept] = {}  # by route and event
        self._interval_began = 0.0
        self._lines = 0

    def retain(self, routes: Collection[str]) -> None:
        """Forget the routes that are in no table any more."""
        present = frozenset(routes)
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] in present}

    def take(self, seen: Observation, now: float) -> None:
        """Log what is due of it; `now` in seconds of a clock that does not go back."""
        if is_failed(seen):
            self._say(self.line(FAILED_EXCHANGE, seen, now))

    def assessed(self, found: Assessment, now: float) -> None:
        """Log what is due of a pair that was compared."""
        if found.result == "divergent" and not is_failed(found.observation):
            self._say(self.line(DIVERGENCE, found.observation, now, places_of(found)))
        elif found.result == "comparator_failed":
            self._say(self.line(COMPARATOR_FAILED, found.observation, now, (found.detail,)))

    def _say(self, line: Line | None) -> None:
        if line is not None:
            self._log.warning(line.event, **fields(line))

    def line(
        self, event: str, observation: Observation, now: float, places: tuple[str, ...] = ()
    ) -> Line | None:
        """The line due for this event of an Observation, if one is."""
        key = (observation.route, event)
        kept = self._kept.get(key)
        due = kept is None or now - kept.spoke_at >= ROUTE_INTERVAL_S
        if not due or not self._may_speak(now):
            if kept is None:  # its first line is owed, and due with the next one
                kept = self._kept[key] = _Kept(spoke_at=now - ROUTE_INTERVAL_S)
            kept.silent += 1
            return None
        count = 1 + (kept.silent if kept else 0)
        self._kept[key] = _Kept(spoke_at=now)
        return Line(event, observation, count, places)

    def _may_speak(self, now: float) -> bool:
        if now - self._interval_began >= ROUTE_INTERVAL_S:
            self._interval_began, self._lines = now, 0
        if self._lines >= LINES_AN_INTERVAL:
            return False
        self._lines += 1
        return True


def is_failed(observation: Observation) -> bool:
    """Whether a side gave no answer."""
    return any(_failed(record) for record in (observation.legacy, observation.new))


def places_of(found: Assessment) -> tuple[str, ...]:
    """The first places of a divergence, noise aside."""
    if found.divergence is None:
        return ()
    counted = [each for each in found.divergence.differences if not each.noise]
    return tuple(f"{each.path} {each.kind}" for each in counted[:MAX_PLACES])


def fields(line: Line) -> dict[str, Any]:
    """The fields of the log line."""
    seen = line.observation
    return {
        "route": seen.route,
        "trace_id": seen.trace_id,
        "method": seen.method,
        "path": seen.target.partition("?")[0],
        "phase": str(Phase(seen.phase)),
        "authoritative": seen.authoritative.value,
        "legacy": _record(seen.legacy),
        "new": _record(seen.new),
        "count": line.count,
        **({"write": True} if seen.write else {}),
        **({"differs": list(line.places)} if line.places else {}),
    }


def _failed(record: ExchangeRecord) -> bool:
    return bool(record.failure) and not record.failure.startswith(_NOT_FAILED)


def _record(record: ExchangeRecord) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": record.status or None, "ms": round(record.ms, 3)}
    return {**shown, "failure": record.failure} if record.failure else shown
