"""What the admin API shows: plain values, and the Protocol of whoever provides them.

The controller implements AdminView. The values are encoded to JSON as they are, field by field in
the contract's names; phases are their names (`str(Phase)`), times are timezone-aware.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from proxy.admin.events import Events

from proxy.admin.divergences import DivergencesView
from proxy.admin.steering import SteeringView
from proxy.core.guard import Verdict
from proxy.observe.window import Window

SideName = Literal["legacy", "new"]


class Pending(msgspec.Struct, frozen=True):
    """A move that is under way: `reason` says what it waits for."""

    to: str  # phase
    since: datetime
    reason: str


class Revert(msgspec.Struct, frozen=True, rename={"from_phase": "from", "to_phase": "to"}):
    """The latched revert of a route."""

    at: datetime
    from_phase: str
    to_phase: str
    reason: str
    evidence: str


class Advance(msgspec.Struct, frozen=True):
    """Where a route stands on its ladder: the next phase, and what is still needed for it."""

    to: str  # phase
    needs: str


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """One route as it is now."""

    name: str
    pattern: str
    declared_phase: str
    effective_phase: str
    pending: Pending | None = None
    held: bool = False
    missed: tuple[SideName, ...] = ()
    revert: Revert | None = None
    advance: Advance | None = None
    ready_at: datetime | None = None  # when it was told to be ready to be removed
    stale: bool = False  # another replica's newer file declares it otherwise
    window: Window = Window()
    verdict: Verdict


class FindingView(msgspec.Struct, frozen=True):
    """One finding of `banyan check`; the same fields as `proxy.config`'s Finding.

    `msgspec.convert(finding, FindingView, from_attributes=True)` makes it from one.
    """

    file: str
    line: int
    column: int
    severity: Literal["error", "warning"]
    code: str
    key_path: str
    text: str


class ConfigError(msgspec.Struct, frozen=True):
    """The edit that was refused last, while the good table before it stays in force."""

    at: datetime
    text: str
    findings: tuple[FindingView, ...] = ()


class ConfigView(msgspec.Struct, frozen=True):
    """The configuration in force. `last_error` is None again after the next good edit."""

    file: str
    generation: int
    loaded_at: datetime
    findings: tuple[FindingView, ...] = ()  # of the table in force: warnings
    last_error: ConfigError | None = None


class WorkerView(msgspec.Struct, frozen=True):
    """One worker slot. `degraded` says why it does not serve the table in force; None if it does.

    A degraded worker is, for example, one that is being restarted, drains, or has not applied the
    newest generation yet. `serving` is whether it answers clients at all.
    """

    slot: int
    pid: int | None
    serving: bool
    generation: int | None
    revision: int | None
    restarts: int = 0
    degraded: str | None = None
    compiled: bool = False  # whether its data plane is C extensions


class ReplicaView(msgspec.Struct, frozen=True):
    """One of those that share the state store; `leading`: its file is the newest."""

    id: str
    name: str
    this: bool
    leading: bool


class ReadyView(msgspec.Struct, frozen=True):
    """Readiness: `unready` names the reasons why no client can be answered rightly.

    `status` is "unready" with any reason there or without a serving worker (503), "degraded" with
    a degraded worker or another trouble beside serving ones (200: they still answer), else
    "ready" (200). `degraded` names that trouble.
    """

    status: Literal["ready", "degraded", "unready"]
    unready: tuple[str, ...]
    workers: tuple[WorkerView, ...]
    degraded: tuple[str, ...] = ()
    replicas: tuple[ReplicaView, ...] = ()

    @classmethod
    def of(
        cls,
        workers: Sequence[WorkerView],
        unready: Sequence[str] = (),
        degraded: Sequence[str] = (),
        replicas: tuple[ReplicaView, ...] = (),
    ) -> "ReadyView":
        """The readiness that follows from the workers and the controller's own reasons."""
        reasons = list(unready)
        if not any(worker.serving for worker in workers):
            reasons.append("no worker is serving")
        if reasons:
            return cls("unready", tuple(reasons), tuple(workers), tuple(degraded), replicas)
        worse = bool(degraded) or any(worker.degraded for worker in workers)
        status: Literal["ready", "degraded"] = "degraded" if worse else "ready"
        return cls(status, (), tuple(workers), tuple(degraded), replicas)


class AdminView(Protocol):
    """What the controller shows. Every call is quick, never waits, and sees one moment.

    Only those of `divergences` and `steering` wait, for the stores.
    """

    @property
    def divergences(self) -> DivergencesView:
        """The divergences that are kept."""
        ...

    @property
    def steering(self) -> SteeringView:
        """Who moves routes."""
        ...

    @property
    def events(self) -> "Events":
        """What changes."""
        ...

    def routes(self) -> Sequence[RouteView]:
        """Every route in the order of the file, the unmatched one last."""
        ...

    def route(self, name: str) -> RouteView | None:
        """One route by name; None if there is none."""
        ...

    def config(self) -> ConfigView:
        """The configuration in force and the last refused edit."""
        ...

    def readiness(self) -> ReadyView:
        """Whether clients can be answered, and which workers are degraded."""
        ...

    def metrics(self) -> Iterator[str]:
        """The Prometheus exposition in pieces, so that a long one can be interleaved."""
        ...
