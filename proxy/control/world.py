"""The values the reconciler works on: what is known, what happened, what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.control.steering import Order, Policy
from proxy.core.ladder import Progress
from proxy.core.model import Phase, Route, RouteState, Side
from proxy.store.records import Change, Stored

# A controller's revisions start above all of the controllers before it, so that a late Quiet can
# never answer a pause it did not see. Decimal, to be readable; exact in JSON for ages.
REVISIONS_PER_START = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on the wall (seconds since the epoch) and on a clock that never goes back."""

    wall: float
    clock: float


@dataclass(frozen=True, slots=True)
class Move:
    """A move of write authority that is under way or waits for its next try.

    `paused_at` is the revision that published the pause, None between two tries. `until` is on
    the clock: when the pause is given up, or when the next try begins.
    """

    to: Side
    since: float  # on the wall
    paused_at: int | None
    until: float
    attempts: int = 1
    quiet: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """All that decides. `states` is what was published last, `stored` what the store holds.

    `frozen`: the store is out of reach. `stored` is what it held last, or the local snapshot, and
    what was decided since, which the snapshot keeps: only what cannot wait.
    """

    slots: int
    stored: Stored
    revision: int
    frozen: bool = False
    routes: Mapping[str, Route] = field(default_factory=dict)
    states: Mapping[str, RouteState] = field(default_factory=dict)
    moves: Mapping[str, Move] = field(default_factory=dict)
    switch_timeout_s: float = 5.0
    policies: Mapping[str, Policy] = field(default_factory=dict)
    source: object = None  # of the table in force

    @classmethod
    def begin(cls, slots: int, stored: Stored, frozen: bool = False) -> "World":
        """What a controller that just started knows."""
        return cls(slots, stored, stored.starts * REVISIONS_PER_START, frozen)

    @property
    def generation(self) -> int:
        return self.stored.table.generation


@dataclass(frozen=True, slots=True)
class TableLoaded:
    """A good file was read. `forced`: workers compile it again even if nothing changed.

    `source` is whatever the table was made from; it comes out again as World.source.
    """

    routes: tuple[Route, ...]
    digest: str
    switch_timeout_s: float = 5.0
    forced: bool = False
    policies: Mapping[str, Policy] = field(default_factory=dict)
    source: object = None


@dataclass(frozen=True, slots=True)
class WriteMissed:
    """A worker is about to send a write that this side will not get."""

    route: str
    side: Side
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SlotQuiet:
    """A worker has no write of the route under way and holds new ones, as of that revision."""

    slot: int
    route: str
    revision: int


@dataclass(frozen=True, slots=True)
class SlotJoined:
    """A worker connected: what its slot said before counts no more."""

    slot: int


@dataclass(frozen=True, slots=True)
class StoreMoved:
    """Another replica may have changed the store; it is read before anything is decided."""


@dataclass(frozen=True, slots=True)
class StoreRead:
    """The store was read again: another changed it, a commit failed, or it was out of reach."""

    stored: Stored


@dataclass(frozen=True, slots=True)
class Judged:
    """What the guard has to say of a route in this phase, under the rules of this digest.

    `outcome`: "failing" (`cause` is the threshold), "climb" (everything is there for the next
    step), "ready" (to be removed), or "progress", which is only remembered.
    """

    route: str
    phase: Phase
    digest: str
    outcome: str
    evidence: str = ""
    cause: str = ""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """An operator asks for something; `number` is answered in Decision.answers."""

    number: int
    route: str
    order: Order


Event = (
    TableLoaded | WriteMissed | SlotQuiet | SlotJoined | StoreMoved | StoreRead | Judged | Ordered
)


def cannot_wait(event: Event) -> bool:
    """Whether it is decided upon although the state store is out of reach.

    Reverts are, but those by hand that accept a loss: of flags that were lifted nobody could tell
    afterwards whether they had been.
    """
    match event:
        case Judged():
            return event.outcome == "failing"
        case Ordered():
            return event.order.action == "revert" and not event.order.accept_loss
    return isinstance(event, WriteMissed)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something for the log, by its level ("info", "warning", "error")."""

    level: str
    event: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows. First `change` is made durable, then `world` holds, then it is published.

    Of a frozen world the snapshot is where it is made durable.

    `new_table`: every worker gets a Full; otherwise those of `states` go out, if any. `answers`:
    to each order its refusal, empty where it was done.
    """

    world: World
    change: Change = field(default_factory=Change)
    new_table: bool = False
    states: Mapping[str, RouteState] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()
    answers: Mapping[int, str] = field(default_factory=dict)
