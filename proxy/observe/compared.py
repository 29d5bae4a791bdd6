"""What comparers and controller say to each other, in frames as on the link of the workers.

A comparer connects, gets the Ruleset in force and each later one, and sends Results. Everything
in a Result has been redacted; bodies stay in the comparer, but for the few that are kept with a
divergence so that other rules can be tried on it.
"""

import msgspec

from proxy.core.divergences import DifferenceRecord, RecordedAnswer, Unlike
from proxy.core.framing import Unframer
from proxy.core.messages import Observation
from proxy.core.model import Compare


class Ruleset(msgspec.Struct, frozen=True, tag="ruleset"):
    """How each route compares. Routes with the same rules share one entry of `rules`."""

    generation: int
    rules: list[Compare]
    routes: dict[str, int]  # name: index into `rules`
    key: bytes  # of the hashes that stand for redacted values
    search_path: str  # where comparators of the user's own are imported from


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What became of one suspect. Of one of kind "error" only the answers are of use.

    `differences` are those between legacy and new: of the first answers (kind "read"), or of the
    second ones (kind "again", None where new was not asked again). `control` are the places
    (wildcarded path, kind) in which legacy's second answer differs from its first, `crossed` those
    in which it differs from new's first (looked at only where legacy differs from itself).
    """

    slot: int
    id: int
    kind: str
    askable: bool
    observation: Observation
    outcome: str  # value of comparators.model.Outcome
    differences: list[DifferenceRecord] | None = None
    control: list[tuple[str, str]] = []
    comparator: str = ""
    truncated: bool = False
    detail: str = ""
    legacy_answer: RecordedAnswer | None = None
    new_answer: RecordedAnswer | None = None
    crossed: list[tuple[str, str]] | None = None
    unlike: tuple[Unlike, ...] = ()  # as in a Divergence


class Results(msgspec.Struct, frozen=True, tag="results"):
    """A few, or a slow one. `dropped`: results that no controller took in time, by route."""

    comparer: int
    results: list[Result]
    dropped: dict[str, int] = {}
    busy_s: float = 0.0  # time spent comparing since the last message


def ruleset_unframer() -> Unframer[Ruleset]:
    """What a comparer reads with."""
    return Unframer(msgspec.msgpack.Decoder(Ruleset))


def results_unframer() -> Unframer[Results]:
    """What the controller reads with."""
    return Unframer(msgspec.msgpack.Decoder(Results))
