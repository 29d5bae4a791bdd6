"""What launcher, controller, workers and comparers say to each other: small typed messages.

Each travels as a 4-byte big-endian length and that many bytes of msgpack, over a Unix stream
socket that the launcher opened. A worker connects, says Hello, gets a Full snapshot, and from
then on gets either a new Full one (the file changed) or States (only route states changed).
Both sides ignore nothing: an unknown tag is a bug and closes the link.
"""

import msgspec

from proxy.core.model import FailureKind, RouteState, Side, Snapshot

MAX_MESSAGE_BYTES = 64 << 20


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of a worker (role "worker")."""

    role: str
    slot: int
    pid: int
    compiled: bool = False  # whether its data plane is C extensions


class Full(msgspec.Struct, frozen=True, tag="full"):
    """The whole table. The worker compiles it aside, swaps, and answers Applied."""

    snapshot: Snapshot


class States(msgspec.Struct, frozen=True, tag="states"):
    """New states of some routes of the table of `generation`; answered by Applied."""

    generation: int
    revision: int
    states: dict[str, RouteState]


class EndpointHealth(msgspec.Struct, frozen=True, tag="health"):
    """The active health check of one URL of a backend changed its mind."""

    backend: str
    url: str
    up: bool


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """The worker now serves this generation and revision."""

    slot: int
    generation: int
    revision: int


class Quiet(msgspec.Struct, frozen=True, tag="quiet"):
    """No write of the route is under way in this worker, and new ones wait (a paused route)."""

    slot: int
    route: str
    revision: int


class Missing(msgspec.Struct, frozen=True, tag="missing"):
    """A side is about to miss (or has missed) a write of the route.

    The controller makes the flag durable, then sends the route's state with `missed` set; a
    worker that has not forwarded the write yet waits for that.
    """

    slot: int
    route: str
    side: Side
    reason: str


class ExchangeRecord(msgspec.Struct, frozen=True, array_like=True):
    """One exchange in an Observation. `status` is 0 when there was none."""

    status: int
    ms: float
    failure: str = ""  # FailureKind value and detail, or NOT_ASKED
    url: int = -1  # which of the backend's several URLs it went to; -1 where there is one, or none


NOT_ASKED = "not_asked"
NOT_SHADOWED = "not_shadowed"


class Observation(msgspec.Struct, frozen=True, array_like=True):
    """Both exchanges of one client request that had a shadow or a second write.

    It is told of where something is wrong, or where it is traced; all others are only counted.
    So is a request of one side alone: `skipped` is NOT_SHADOWED then.

    `equal` is the first rung (status, compared headers and body bytes), None when it could not
    be said: then `skipped` has the reason.
    """

    at: float  # seconds since the epoch
    route: str
    method: str
    target: str  # path only: a query may hold secrets
    phase: int
    trace_id: str
    authoritative: Side
    legacy: ExchangeRecord
    new: ExchangeRecord
    equal: bool | None
    skipped: str = ""
    write: bool = False
    span_id: str = ""  # of the request to `authoritative`; the others follow: `core.tracing`
    parent: str = ""  # the client's own span, where it sent one
    tracestate: str = ""
    sampled: bool = False  # traced even if nothing is wrong
    fell_back: bool = False  # `authoritative` failed, and the other side answered
    repeat: bool = False  # of a trial that has been counted already


def went_wrong(record: ExchangeRecord) -> bool:
    """Whether a side that was asked gave no answer, or a 5xx."""
    return record.status >= 500 or not (
        record.failure == "" or record.failure.startswith((FailureKind.CANCELLED.value, NOT_ASKED))
    )


class AnswerRecord(msgspec.Struct, frozen=True, array_like=True):
    """One side's answer as it came: the head with its closing empty line, the decoded body."""

    status: int
    head: bytes
    body: bytes


class Suspect(msgspec.Struct, frozen=True, array_like=True):
    """Answers that are not the same bytes, on their way from a worker to a comparer.

    `kind` says which: "read" is legacy's and new's answer to a client's request; "control" is
    legacy's answer and its answer to the same request again; "again" is that, new's first answer,
    and new's second one where it was asked again as well; "error" is legacy's answer and an error
    of new, counted already: not to be compared, but kept to be looked at. `id` is unique among all
    workers; `askable` says that the worker could ask this request again.
    """

    id: int
    kind: str
    askable: bool
    observation: Observation
    legacy: AnswerRecord
    new: AnswerRecord | None = None
    legacy_again: AnswerRecord | None = None
    new_again: AnswerRecord | None = None


def size_of(suspect: Suspect) -> int:
    """Bytes of a suspect, near enough."""
    answers = (suspect.legacy, suspect.new, suspect.legacy_again, suspect.new_again)
    return 500 + sum(len(each.head) + len(each.body) for each in answers if each is not None)


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """Suspects for a comparer, answered by Judged with the same number.

    `shed`: pairs that were not sent, since comparers are behind, since the batch before.
    """

    slot: int
    number: int
    suspects: list[Suspect]
    shed: int = 0


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """A comparer is done with a batch: what came of it goes to the controller.

    `seconds` is how long each suspect took, in their order.
    """

    number: int
    seconds: list[float]


class AskAgain(msgspec.Struct, frozen=True, tag="ask"):
    """Ask legacy, and new too, the request of a suspect once more.

    Answered by a Suspect of kind "again" to a comparer, by SameAgain or by NotAsked.
    """

    id: int
    new_too: bool


class NotAsked(msgspec.Struct, frozen=True, tag="not_asked"):
    """An AskAgain that came to nothing: the limits of the shadow are spent, or a side failed."""

    slot: int
    id: int
    reason: str


class SameAgain(msgspec.Struct, frozen=True, tag="same_again"):
    """An AskAgain whose answers are the first ones again: there is nothing new to compare."""

    slot: int
    id: int
    new_too: bool


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What one route did in this worker since the last report. Never shed.

    `requests` counts by "phase|side|code" (code is the status, or the failure kind),
    `latency` is per side a sparse histogram {bucket index: count} over LATENCY_BOUNDS_S,
    `skipped` counts by reason, `comparisons` by first-rung result ("equal", "both_failed",
    "new_failed", "differing": what becomes of that a comparer says, "control_equal": legacy was
    asked twice and answered the same), `eligible` the reads that could have been compared.
    `client_requests` counts each client request once, however many sides it went to. `trials`
    counts by the slot in which they began (`core.guard.SLOT_S`, of the wall clock), in the order of
    TRIALS; repeats of one client are not in it.
    """

    route: str
    requests: dict[str, int] = {}
    latency: dict[str, dict[int, int]] = {}
    latency_sum_s: dict[str, float] = {}
    skipped: dict[str, int] = {}
    comparisons: dict[str, int] = {}
    errors: dict[str, int] = {}  # by side: transport failure, time-out or 5xx
    events: dict[str, int] = {}  # "fallback", "sticky_missing", "override", ...
    eligible: int = 0
    client_requests: int = 0
    trials: dict[int, list[int]] = {}


# What a trial came to: answers that were the same bytes, a failure of new where the answers would
# have been compared; new was asked and did not fail, new failed and legacy did not; answers that
# were not the same bytes, of which a comparer tells more unless they are lost on the way.
TRIALS = ("equal", "new_failed", "fine", "failed", "differing")


class Report(msgspec.Struct, frozen=True, tag="report"):
    """Sent by a worker several times a second while anything happened."""

    slot: int
    counts: list[Counts] = []
    observations: list[Observation] = []
    observations_dropped: int = 0
    connections: dict[str, int] = {}  # gauge: "client", and each backend's name
    refused: dict[str, int] = {}  # client requests refused before routing, by reason
    draining: bool = False


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """A worker that drained and is about to exit 0."""

    slot: int


ToWorker = Full | States | EndpointHealth | AskAgain
FromWorker = Hello | Applied | Quiet | Missing | Report | NotAsked | SameAgain | Bye

# Upper bounds of the latency buckets, in seconds: a factor of 1.2 apart from 100 µs to about 66 s,
# so that a quantile read from them is off by at most 10 %. A last bucket has no bound.
LATENCY_BOUNDS_S: tuple[float, ...] = tuple(1e-4 * 1.2**i for i in range(74))
