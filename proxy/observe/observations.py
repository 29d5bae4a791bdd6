"""What is told of single Observations: one log line for a route's first difference, then few.

The counts are in the metrics; a line is an example with a trace_id. Bounded: a route speaks once,
then at most every ROUTE_INTERVAL_S with the number of those it kept to itself, all routes
together at most LINES_AN_INTERVAL times in that time. Neither bodies nor query strings are in an
Observation, so none reach the log.
"""

from collections.abc import Collection, Iterable
from typing import Any, Protocol

import msgspec

from proxy.core.messages import NOT_ASKED, ExchangeRecord, Observation
from proxy.core.model import FailureKind, Phase

ROUTE_INTERVAL_S = 10.0
LINES_AN_INTERVAL = 100
_NOT_FAILED = (FailureKind.CANCELLED.value, NOT_ASKED)

DIVERGENCE = "divergence"
FAILED_EXCHANGE = "failed_exchange"


class Log(Protocol):
    """What is needed of a structlog logger."""

    def warning(self, event: str, **fields: Any) -> Any: ...


class Line(msgspec.Struct, frozen=True):
    """One log line: an example, and how many like it since the route's last line."""

    event: str
    observation: Observation
    count: int


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

    def take(self, observations: Iterable[Observation], now: float) -> None:
        """Log what is due of these; `now` in seconds of a clock that does not go back."""
        for observation in observations:
            line = self.line(observation, now)
            if line is not None:
                self._log.warning(line.event, **fields(line))

    def line(self, observation: Observation, now: float) -> Line | None:
        """The line due for this Observation, if one is."""
        event = event_of(observation)
        if event is None:
            return None
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
        return Line(event, observation, count)

    def _may_speak(self, now: float) -> bool:
        if now - self._interval_began >= ROUTE_INTERVAL_S:
            self._interval_began, self._lines = now, 0
        if self._lines >= LINES_AN_INTERVAL:
            return False
        self._lines += 1
        return True


def event_of(observation: Observation) -> str | None:
    """What an Observation is to the log: a divergence, a failed exchange, or nothing to tell."""
    if any(_failed(record) for record in (observation.legacy, observation.new)):
        return FAILED_EXCHANGE
    return DIVERGENCE if observation.equal is False else None


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
    }


def _failed(record: ExchangeRecord) -> bool:
    return bool(record.failure) and not record.failure.startswith(_NOT_FAILED)


def _record(record: ExchangeRecord) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": record.status or None, "ms": round(record.ms, 3)}
    return {**shown, "failure": record.failure} if record.failure else shown
