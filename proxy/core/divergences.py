"""What is kept of pairs of answers that did not come out equal, free of secrets.

The values that travel from a comparer to the controller and from there to the store, the admin
API and a trace. Redaction happened before any of them was made.
"""

import re

import msgspec


class SideRecord(msgspec.Struct, frozen=True):
    """One side of a divergence: `status` is 0 and `failure` says why where there was no answer."""

    status: int
    ms: float  # to the response head
    failure: str = ""


class DifferenceRecord(msgspec.Struct, frozen=True):
    """One difference as it may be shown: values are JSON text, None where there is nothing."""

    path: str
    kind: str
    legacy: str | None = None
    new: str | None = None
    noise: bool = False  # explained by what legacy does by itself, or gone when asked again


class RecordedAnswer(msgspec.Struct, frozen=True):
    """An answer as it is kept for `compare --replay`: headers and body redacted, body as text.

    `body` is None where it is binary, or larger than what is kept.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None


class Unlike(msgspec.Struct, frozen=True):
    """A place in which the recorded answers do not compare as the answers themselves did.

    `lost`: the answers differ there, and what is recorded of them does not; else it is the other
    way round. `rules` is a digest of the rules that speak of the place; none has an empty one.
    """

    path: str  # wildcarded
    kind: str
    lost: bool
    rules: str


class Divergence(msgspec.Struct, frozen=True):
    """One pair that did not come out equal."""

    id: str
    at: float  # seconds since the epoch
    route: str
    method: str
    target: str  # path only, secret shapes redacted
    phase: str
    trace_id: str
    result: str  # "divergent", or "noise"
    legacy: SideRecord
    new: SideRecord
    differences: tuple[DifferenceRecord, ...]
    comparator: str = ""
    truncated: bool = False
    detail: str = ""
    legacy_answer: RecordedAnswer | None = None
    new_answer: RecordedAnswer | None = None
    unlike: tuple[Unlike, ...] = ()  # of the recorded answers

    def signatures(self) -> tuple[str, ...]:
        """The signature of each difference, each once, in order."""
        return tuple(seen.signature for seen in self.seen())

    def seen(self) -> tuple["Seen", ...]:
        """Each signature in it, once, in order."""
        found: dict[str, Seen] = {}
        for each in self.differences:
            text = signature(self.route, each.path, each.kind)
            noise = self.result == "noise" or (
                each.noise and (text not in found or found[text].noise)
            )
            found[text] = Seen(text, wildcarded(each.path), each.kind, noise)
        return tuple(found.values())


class Seen(msgspec.Struct, frozen=True):
    """A signature that occurs in a divergence; `noise` if nothing of it counts."""

    signature: str
    path: str  # wildcarded
    kind: str
    noise: bool


class SignatureSummary(msgspec.Struct, frozen=True):
    """All divergences of one signature. `noise` is None while nothing is known of it."""

    signature: str
    route: str
    path: str  # wildcarded
    kind: str
    count: int  # divergences with it that counted
    noise: "SignatureNoise | None" = None
    first_at: float = 0.0
    last_at: float = 0.0
    sample_ids: tuple[str, ...] = ()


class SignatureNoise(msgspec.Struct, frozen=True):
    """How often legacy differs from itself in this place."""

    share: float  # 0 to 1, of the control pairs
    samples: int  # control pairs
    count: int  # divergences that were explained by it


def with_noise(summary: SignatureSummary, share: float, samples: int) -> SignatureSummary:
    """The summary with what the noise model knows; a store only counts what noise explained."""
    count = summary.noise.count if summary.noise else 0
    return msgspec.structs.replace(summary, noise=SignatureNoise(share, samples, count))


class Page(msgspec.Struct, frozen=True):
    """One page of divergences, the newest first; `next` is the cursor of the page behind it."""

    divergences: tuple[Divergence, ...]
    next: str | None = None


def signature(route: str, path: str, kind: str) -> str:
    """What divergences are grouped by: route, path with indices and ids as `*`, and kind."""
    return f"{route} {wildcarded(path)} {kind}"


def wildcarded(path: str) -> str:
    """The path with array indices, and keys that look like ids or were redacted, replaced by `*`.

    `$.items[3].price` is `$.items[*].price`; `$.users.42.name` is `$.users.*.name`, and so is
    `$.users['redacted:0123456789ab'].name`. A path of more than 300 characters, which only hostile
    keys make, is cut.
    """
    general = _INDEX.sub("[*]", _ID_KEY.sub(".*", _REDACTED_KEY.sub(".*", path)))
    return general if len(general) <= _PATH_CHARACTERS else general[: _PATH_CHARACTERS - 1] + "…"


_PATH_CHARACTERS = 300
_INDEX = re.compile(r"\[\d+\]")
_REDACTED_KEY = re.compile(
    r"\['(?:[^'\\]|\\.)*?redacted:[0-9a-f]{12}(?:[^'\\]|\\.)*+'\]|\.redacted:[0-9a-f]{12}$",
    re.DOTALL,
)
_ID_KEY = re.compile(r"\.(?:\d+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?=[.\[]|$)")
