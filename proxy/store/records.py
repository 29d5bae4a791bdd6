"""What is stored of each route and of its past, as plain values.

A Record's `generation` grows by one with each stored change; a store refuses a record that does
not follow the one it has (compare-and-set), so that a stale writer changes nothing. Fields are
only ever added, with a default: an older file stays readable.
"""

import msgspec

from proxy.core.ladder import Progress
from proxy.core.model import Phase, Side


class Latch(msgspec.Struct, frozen=True, omit_defaults=True):
    """A revert that stays until it is lifted. Times are seconds since the epoch."""

    at: float
    before: Phase  # which it was reverted from
    to: Phase
    by: str  # "guard" or "operator"
    reason: str
    evidence: str = ""


class Hold(msgspec.Struct, frozen=True):
    """Nothing advances by itself until it is lifted."""

    at: float
    reason: str


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must survive about one route. Times are seconds since the epoch."""

    name: str
    generation: int  # 1 when it is stored first
    digest: str  # of what decides the route's traffic and evidence
    declared: Phase
    effective: Phase
    authority: Side
    missed: frozenset[Side] = frozenset()
    accept_loss: bool = False  # as declared when the record was last changed
    absent_since: float | None = None  # when the route left the file
    latch: Latch | None = None
    hold: Hold | None = None
    progress: Progress | None = None  # in the effective phase
    resumed_at: float | None = None  # when a latch was lifted by the operator
    refused_at: float | None = None  # when a revert from the effective phase was refused
    ready_at: float | None = None  # when it was told to be ready to be removed


class Transition(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of history.

    `kind` is "phase", "revert", "advance", "hold", "resume", "refused" (a revert that could not
    be), "ready" (to be removed), "authority" or "missed"; before and after are phases, but for the
    last two.
    """

    at: float
    route: str
    kind: str
    before: str
    after: str
    by: str  # "file", "operator", "guard", "ladder", or "controller" for what follows by itself
    reason: str
    evidence: str = ""

    @property
    def patch(self) -> str:
        """What to write for the route in routes.yaml to keep a revert; empty for other lines."""
        return f"phase: {self.after}" if self.kind == "revert" else ""


def latched_line(record: Record) -> Transition | None:
    """The line of history of the revert that latched a route, made again from its latch."""
    latch = record.latch
    if latch is None:
        return None
    before, to = str(latch.before), str(latch.to)
    return Transition(
        latch.at, record.name, "revert", before, to, latch.by, latch.reason, latch.evidence
    )


class TableMark(msgspec.Struct, frozen=True):
    """The generation of the table in force, and the digest by which it is known again."""

    generation: int = 0
    digest: str = ""


class Replica(msgspec.Struct, frozen=True):
    """One of the controllers that share a store, by the store's own clock.

    `order` is that of its table among all that were ever loaded: the largest leads, 0 is none yet.
    `quiet` says of which routes it holds all writes back, and of which generation of their records.
    """

    id: str
    name: str  # for people
    order: int
    age_s: float  # since it was heard of
    quiet: dict[str, int] = {}


class Stored(msgspec.Struct, frozen=True):
    """Everything in a store but the history.

    `replica` is who reads it, `replicas` are all that share the store and were heard of lately,
    that one included; both are empty where nobody can share it.
    """

    starts: int = 0  # how often a controller began on it
    table: TableMark = TableMark()
    records: dict[str, Record] = {}
    replica: str = ""
    replicas: tuple[Replica, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """What one commit writes: all of it, durably, or nothing.

    The last three are of stores that several share, by route and the generation of its record:
    writes that this replica holds back from now on, those that it lets go again, and those whose
    authority the change moves, for which every replica must have held them back.
    """

    records: tuple[Record, ...] = ()
    forgotten: tuple[str, ...] = ()
    transitions: tuple[Transition, ...] = ()
    table: TableMark | None = None
    quiet: dict[str, int] = {}
    withdrawn: dict[str, int] = {}
    swapped: dict[str, int] = {}

    def __bool__(self) -> bool:
        kept = self.records or self.forgotten or self.transitions or self.table
        return bool(kept or self.quiet or self.withdrawn)


def after(stored: Stored, change: Change) -> Stored:
    """What a store that held `stored` holds once the change is committed."""
    records = {name: each for name, each in stored.records.items() if name not in change.forgotten}
    records.update((record.name, record) for record in change.records)
    replicas = tuple(
        _quietened(each, change) if each.id == stored.replica else each for each in stored.replicas
    )
    return Stored(stored.starts, change.table or stored.table, records, stored.replica, replicas)


def _quietened(replica: Replica, change: Change) -> Replica:
    ended = change.withdrawn.keys() | change.swapped.keys()
    kept = {route: at for route, at in replica.quiet.items() if route not in ended}
    return msgspec.structs.replace(replica, quiet={**kept, **change.quiet})


def lines_of(stored: Stored) -> tuple[Transition, ...]:
    """What is known of the history of a store that was lost: its latches, the oldest first."""
    lines = [line for each in stored.records.values() if (line := latched_line(each)) is not None]
    return tuple(sorted(lines, key=lambda line: line.at))
