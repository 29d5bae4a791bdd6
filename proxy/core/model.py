"""The words of the domain as plain values: sides, phases, backends, routes, states, snapshots.

Everything here is immutable and carries no behaviour beyond small derivations. The controller
builds these from `routes.yaml`, sends them to the workers as msgpack, and the workers compile
them into what the hot path needs. Units stand in the names (`timeout_s`, `max_body_bytes`).
"""

import enum

import msgspec


class Side(enum.Enum):
    """One of the two systems a route stands in front of."""

    LEGACY = "legacy"
    NEW = "new"

    @property
    def other(self) -> "Side":
        return Side.NEW if self is Side.LEGACY else Side.LEGACY


class Phase(msgspec.Struct, frozen=True, order=True):
    """What a route does, as one number in order of progress.

    -2 is `legacy-only`, -1 `shadow-read`, 0 to 99 the weight of new in per cent, 100 `dual-write`
    and 101 `new-only`. A larger number is further along.
    """

    progress: int

    def __str__(self) -> str:
        return PHASE_NAMES.get(self.progress) or f"{self.progress}%"

    @property
    def weight(self) -> int:
        """Share of clients (in per cent) whose reads are answered by new."""
        return min(max(self.progress, 0), 100)

    @property
    def authority(self) -> Side:
        """The side with write authority once a move to this phase is complete."""
        return Side.NEW if self.progress >= 100 else Side.LEGACY

    @property
    def both_written(self) -> bool:
        """Whether a write reaches both sides (unless the route splits its writes)."""
        return 0 <= self.progress <= 100


PHASE_NAMES = {-2: "legacy-only", -1: "shadow-read", 100: "dual-write", 101: "new-only"}
LEGACY_ONLY = Phase(-2)
SHADOW_READ = Phase(-1)
ZERO = Phase(0)
DUAL_WRITE = Phase(100)
NEW_ONLY = Phase(101)


class Health(msgspec.Struct, frozen=True):
    """An active health check of one backend URL."""

    path: str
    interval_s: float
    expect: int


class BackendTls(msgspec.Struct, frozen=True):
    """How TLS to a backend is set up; the files are absolute paths."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True


class Backend(msgspec.Struct, frozen=True):
    """A system that answers HTTP. `urls` are `http://`, `https://` or `unix:/path.sock`."""

    name: str
    urls: tuple[str, ...]
    connect_timeout_s: float = 2.0
    timeout_s: float = 30.0
    idle_timeout_s: float = 60.0
    max_connections: int = 256
    health: Health | None = None
    host: str = "preserve"  # or "backend"
    idempotency_key: bool = False
    tls: BackendTls | None = None


class Sticky(msgspec.Struct, frozen=True):
    """Where the sticky key comes from: `client-ip`, or a cookie, header or path parameter."""

    kind: str  # "cookie", "header", "param", "client-ip"
    name: str = ""


class Override(msgspec.Struct, frozen=True):
    """A header by which testers inside `networks` choose the side of their reads."""

    header: str
    networks: tuple[str, ...]


class Shadow(msgspec.Struct, frozen=True):
    """Bounds of the shadow of a read. `sample` is a share from 0 to 1."""

    sample: float = 1.0
    max_body_bytes: int = 1 << 20
    timeout_s: float = 10.0
    max_in_flight: int = 128


class Compare(msgspec.Struct, frozen=True):
    """The comparing rules of a route. `noise` is a share from 0 to 1."""

    status: str = "exact"  # or "class"
    headers: tuple[str, ...] = ("content-type", "location")
    ignore: tuple[str, ...] = ()
    unordered: tuple[str, ...] = ()
    tolerance: dict[str, float] = {}
    rename: dict[str, str] = {}
    redact: tuple[str, ...] = ()
    lenient: tuple[str, ...] = ()  # of comparators.model.LENIENCIES
    noise: float = 0.01
    recheck: bool = True
    with_: str = "auto"


class Route(msgspec.Struct, frozen=True):
    """One entry of `routes`, every default filled in. What decides its traffic, not its state."""

    name: str
    pattern: str  # the route key as written
    methods: tuple[str, ...]  # empty: any
    host: str | None  # None: any; lower case, without port
    path: str  # "/api/users/{id}", "/api/*"
    phase: Phase  # as declared
    legacy: str = "legacy"
    new: str = "new"
    safe_methods: frozenset[str] = frozenset({"GET", "HEAD", "OPTIONS"})
    rewrite: str | None = None
    split_writes: bool = False
    ack: str = "auto"  # "authoritative", "both"; auto is both at 1 to 99 %
    ack_timeout_s: float = 1.0
    write_body_bytes: int = 16 << 20
    sticky: Sticky = Sticky("client-ip")
    fallback: bool = True
    fallback_after_s: float | None = None
    override: Override | None = None
    shadow: Shadow = Shadow()
    compare: Compare | None = Compare()
    maintenance: str | None = None  # "reads", "writes", "all"
    accept_loss: bool = False
    digest: str = ""  # of what decides its traffic and its evidence

    def backend(self, side: Side) -> str:
        """The name of the backend on that side."""
        return self.legacy if side is Side.LEGACY else self.new


UNMATCHED = "(unmatched)"


class RouteState(msgspec.Struct, frozen=True):
    """What is in force for a route now, decided by the controller alone."""

    phase: Phase  # effective
    authority: Side  # who is asked first by writes
    writes_paused: bool = False  # a move of authority is under way: writes wait
    missed: frozenset[Side] = frozenset()  # sides that lack some writes of the route

    @classmethod
    def of_phase(cls, phase: Phase) -> "RouteState":
        """The state of a route that has never been anywhere else."""
        return cls(phase=phase, authority=phase.authority)


class Limits(msgspec.Struct, frozen=True):
    """The bounds of the client side."""

    header_bytes: int = 64 << 10
    headers: int = 100
    request_body_bytes: int | None = None
    client_idle_s: float = 60.0
    header_timeout_s: float = 10.0
    body_idle_s: float = 30.0
    connections: int = 10_000


class ServerTls(msgspec.Struct, frozen=True):
    """Certificate and key of the listener; absolute paths."""

    cert: str
    key: str


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a worker needs to serve: the table and the state of each route.

    `generation` grows with each good edit of the file, `revision` with each change of any
    route's state. `routes` holds the unmatched route (name `(unmatched)`) last.
    """

    generation: int
    revision: int
    backends: dict[str, Backend]
    routes: tuple[Route, ...]
    states: dict[str, RouteState]
    limits: Limits = Limits()
    trusted_proxies: tuple[str, ...] = ()
    trace_sample: float = 0.01
    switch_timeout_s: float = 5.0


class FailureKind(enum.Enum):
    """Why an exchange with a backend gave no usable answer."""

    REFUSED = "refused"  # no connection could be made (refused, DNS, TLS)
    CONNECT_TIMEOUT = "connect_timeout"
    POOL_FULL = "pool_full"  # every connection busy for too long
    RESET = "reset"  # closed before the answer was complete
    TIMEOUT = "timeout"  # no response headers in time
    IDLE = "idle"  # no byte for too long in the middle of a message
    PROTOCOL = "protocol"  # an answer that is not HTTP, or ambiguous
    CANCELLED = "cancelled"  # we gave it up (client gone, drain); nobody's error
    NO_DESCRIPTORS = "no_descriptors"  # we have none left for a connection; nobody's error
    CLIENT_SLOW = "client_slow"  # it ended, or found no room, while clients were waited for


class Failure(msgspec.Struct, frozen=True):
    """An expected failure of an exchange. `sent` says whether a request byte left us."""

    kind: FailureKind
    detail: str = ""
    sent: bool = False
