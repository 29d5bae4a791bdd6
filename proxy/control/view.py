"""The controller as the admin API sees it: what is in force, what was loaded, who serves.

Counts start anew with each controller; Prometheus takes that for the reset it is. The state of
routes does not: it comes from the store.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from proxy.admin.events import Events
from proxy.admin.view import (
    Advance,
    ConfigError,
    ConfigView,
    FindingView,
    Pending,
    ReadyView,
    ReplicaView,
    Revert,
    RouteView,
    SideName,
)
from proxy.config import Finding
from proxy.control.commands import Commands, line_of
from proxy.control.comparers import Comparers
from proxy.control.evidence import Evidence
from proxy.control.guarding import Guard
from proxy.control.ledger import Ledger
from proxy.control.recorded import Recorded
from proxy.control.replicas import leads, loud, newest_names, silent
from proxy.control.roster import Roster
from proxy.control.world import World
from proxy.core.model import Route
from proxy.observe.fleet import Fleet
from proxy.observe.metrics import Aggregator
from proxy.observe.tracing import TraceCounts, trace_families
from proxy.store.records import Latch, Record, Transition


class ControllerView:
    """Implements AdminView. The controller tells it what was loaded; the rest it looks up."""

    def __init__(
        self,
        file: str,
        ledger: Ledger,
        roster: Roster,
        counts: Aggregator,
        disconnects: Mapping[str, int],
        comparers: Comparers,
        evidence: Evidence,
        traces: TraceCounts,
        guard: Guard,
        commands: Commands,
        alerts: Mapping[str, int],
        words: Mapping[str, int],
        hung: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.config_errors = 0
        self.divergences = Recorded(evidence, evidence.noise_of)
        self._file = file
        self._ledger = ledger
        self._roster = roster
        self._counts = counts
        self._disconnects = disconnects
        self._comparers = comparers
        self._evidence = evidence
        self._traces = traces
        self._guard = guard
        self._alerts = alerts
        self._words = words
        self._hung = hung
        self._reverts: Counter[tuple[str, str]] = Counter()
        self.steering = commands
        self.events = Events()
        self._loaded_at = datetime.now(UTC)
        self._findings: tuple[FindingView, ...] = ()
        self._read_at: datetime | None = None  # of an edit that is not in force yet
        self._last_error: ConfigError | None = None

    def read(self) -> None:
        """A good edit was read; it is in force once the state store has taken it."""
        self._read_at = datetime.now(UTC)

    def loaded(self, findings: Sequence[Finding]) -> None:
        """A good edit is in force."""
        self._loaded_at = datetime.now(UTC)
        self._read_at = None
        self._findings = _views(findings)
        self._last_error = None
        present = self._ledger.world.routes if self._ledger.world else {}
        for key in [key for key in self._reverts if key[0] not in present]:
            del self._reverts[key]
        self.events.tell("config", self.config())

    def refused(self, findings: Sequence[Finding]) -> None:
        """An edit was bad and changed nothing."""
        self.config_errors += 1
        errors = [each for each in findings if each.severity == "error"]
        text = str(errors[0]) if errors else "the file cannot be used"
        if len(errors) > 1:
            text += f" (and {len(errors) - 1} more)"
        self._last_error = ConfigError(datetime.now(UTC), text, _views(findings))
        self.events.tell("config", self.config())

    def moved(self, line: Transition, elsewhere: bool = False) -> None:
        """A route was moved, or could not be; by another replica, which counts it."""
        if not elsewhere and line.kind in ("revert", "refused"):
            cause = "refused" if line.kind == "refused" else cause_of(line)
            self._reverts[line.route, cause] += 1
        self.events.tell("history", line_of(line))
        route = self.route(line.route)
        if route is not None:
            self.events.tell("route", route)

    # AdminView

    def routes(self) -> Sequence[RouteView]:
        world = self._ledger.world
        if world is None:
            return ()
        now = time.monotonic()
        return [self._route(world, route, now) for route in world.routes.values()]

    def route(self, name: str) -> RouteView | None:
        world = self._ledger.world
        if world is None or name not in world.routes:
            return None
        return self._route(world, world.routes[name], time.monotonic())

    def config(self) -> ConfigView:
        last_error = self._last_error
        if self._read_at is not None and self._ledger.problem:
            text = f"the edit was read and is not in force yet: {self._ledger.problem}"
            last_error = ConfigError(self._read_at, text)
        stale = self.stale()
        return ConfigView(
            file=self._file,
            generation=self._generation(),
            loaded_at=self._loaded_at,
            findings=(*self._findings, *((stale,) if stale is not None else ())),
            last_error=last_error,
        )

    def readiness(self) -> ReadyView:
        reasons = []
        world = self._ledger.world
        if world is None:
            reasons.append(self._ledger.problem or "the state store is being opened")
        elif not world.routes:
            reasons.append(
                f"no good configuration was loaded yet: {self._last_error.text}"
                if self._last_error
                else "the configuration is being loaded"
            )
        degraded = []
        if world is not None and self._ledger.problem:
            # Clients are answered, by the last table: edits, moves and first missed writes wait.
            degraded.append(
                "until it is back nothing changes but what cannot wait (reverts, first missed "
                f"writes): {self._ledger.problem}"
            )
        if world is not None and (missing := silent(world.stored)):
            degraded.append(
                f"not heard of: replica {', '.join(missing)}; what is decided may not be in force "
                "there, and no write authority moves meanwhile"
            )
        if (stale := self.stale()) is not None:
            degraded.append(f"{stale.code}: {stale.text}")
        if self._comparers.connected < self._comparers.wanted:
            degraded.append(
                f"{self._comparers.connected} of {self._comparers.wanted} comparers are there: "
                "what they have no room for is not compared"
            )
        if self._evidence.problem:
            degraded.append(f"divergences are not kept: {self._evidence.problem}")
        workers = self._roster.views(self._generation())
        return ReadyView.of(workers, reasons, degraded, replica_views(world))

    def metrics(self) -> Iterator[str]:
        world = self._ledger.world
        workers = self._roster.views(self._generation())
        fleet = Fleet(
            states=world.states if world else {},
            generation=self._generation(),
            config_errors=self.config_errors,
            pending=world.moves if world else (),
            workers={worker.slot: worker.serving for worker in workers},
            restarts=self._roster.restarts(),
            link_disconnects=self._disconnects,
            comparers=self._comparers.connected,
            comparer_busy_s=self._evidence.busy_s,
            divergences_dropped=self._evidence.drops(),
            reverts=self._reverts,
            alerts=self._alerts,
            replicas=len(world.stored.replicas) if world else 0,
            words={**self._words, "dropped": self._guard.pool.dropped},
            listeners_let_go=self.events.let_go,
            hung=self._hung(),
        )
        yield from self._counts.prometheus(fleet, time.monotonic())
        yield from trace_families(self._traces)

    def stale(self) -> FindingView | None:
        """Whether another replica has a newer file, which leads."""
        world = self._ledger.world
        if world is None or not world.routes or leads(world.stored):
            return None
        others = newest_names(world.stored)
        stale = [name for name, route in world.routes.items() if is_stale(world, route)]
        names = ", ".join(stale[:3]) + (f" and {len(stale) - 3} more" if len(stale) > 3 else "")
        text = (
            f"{others} has a newer file, which leads: phases are those that it declares or leads "
            f"to. This one declares {names or 'no route'} otherwise; deploy the newer one here, or "
            "this one there"
        )
        return FindingView(self._file, 1, 1, "warning", "CONFIG_STALE", "", text)

    def _generation(self) -> int:
        world = self._ledger.world
        return world.generation if world and world.routes else 0

    def _route(self, world: World, route: Route, now: float) -> RouteView:
        state = world.states[route.name]
        window = self._counts.window(route.name, now)
        missed: list[SideName] = sorted(side.value for side in state.missed)
        record = world.stored.records.get(route.name)
        latch = record.latch if record is not None else None
        needed = self._guard.needs(route.name, now)
        return RouteView(
            name=route.name,
            pattern=route.pattern,
            declared_phase=str(route.phase),
            effective_phase=str(state.phase),
            pending=_pending(world, route),
            held=record is not None and record.hold is not None,
            missed=tuple(missed),
            revert=_revert(latch) if latch is not None else None,
            advance=Advance(str(needed[0]), needed[1]) if needed is not None else None,
            ready_at=_ready_at(record),
            stale=is_stale(world, route),
            window=window,
            verdict=self._guard.verdict(route.name),
        )


def _ready_at(record: Record | None) -> datetime | None:
    if record is None or record.ready_at is None:
        return None
    return datetime.fromtimestamp(record.ready_at, UTC)


def _pending(world: World, route: Route) -> Pending | None:
    state = world.states[route.name]
    move = world.moves.get(route.name)
    to = str(state.phase)
    since = datetime.fromtimestamp(move.since, UTC) if move else datetime.now(UTC)
    record = world.stored.records.get(route.name)
    is_latched = record is not None and record.latch is not None
    if world.frozen and state.phase != route.phase and not is_latched:
        return Pending(str(route.phase), since, "the state store is out of reach")
    if move is None:
        return None
    waiting = [f"worker {slot}" for slot in sorted(set(range(world.slots)) - move.quiet)]
    others = loud(world.stored, route.name, record.generation) if record is not None else []
    who = ", ".join(waiting or [f"replica {name}" for name in others])
    if move.paused_at is None:
        reason = (
            f"write authority stays with {state.authority.value}: it is tried again (try "
            f"{move.attempts}); not all held their writes back in time, or are not heard of"
            + (f": replica {', '.join(others)}" if others else "")
        )
    else:
        reason = f"write authority moves to {move.to.value}: waiting for the writes of {who}"
    return Pending(to, since, reason)


def is_stale(world: World, route: Route) -> bool:
    """Whether the route is declared otherwise by a newer file, at another replica."""
    record = world.stored.records.get(route.name)
    if leads(world.stored) or record is None:
        return not leads(world.stored)
    return (record.digest, record.declared) != (route.digest, route.phase)


def replica_views(world: World | None) -> tuple[ReplicaView, ...]:
    """All that share the state store, as the admin API shows them."""
    if world is None:
        return ()
    newest = max((each.order for each in world.stored.replicas), default=0)
    return tuple(
        ReplicaView(each.id, each.name, each.id == world.stored.replica, each.order == newest > 0)
        for each in world.stored.replicas
    )


def cause_of(line: Transition) -> str:
    """Why a route was reverted, as a label: few words are possible."""
    if line.by == "operator":
        return "operator"
    cause = line.reason.partition(" ")[0]
    return cause if cause in ("divergence", "errors", "latency") else "other"


def _revert(latch: Latch) -> Revert:
    return Revert(
        datetime.fromtimestamp(latch.at, UTC),
        str(latch.before),
        str(latch.to),
        latch.reason,
        latch.evidence,
    )


def _views(findings: Sequence[Finding]) -> tuple[FindingView, ...]:
    return tuple(msgspec.convert(each, FindingView, from_attributes=True) for each in findings)
