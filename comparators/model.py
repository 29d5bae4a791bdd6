"""The values of comparing: answers in, rules beside them, a comparison with its differences out.

Nothing here is of the proxy: an `Answer` is what any HTTP client has in its hands. Values in a
Difference are those of the bodies, secrets included; `redaction` turns them into the text that
may be shown, logged or stored.
"""

import enum
from typing import Any, Final

import msgspec


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One HTTP response, transfer coding undone and content coding (gzip, br ...) as sent.

    `headers` are in the order and spelling they came in, decoded as Latin-1.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Rules(msgspec.Struct, frozen=True):
    """When two answers count as equal; the keys are those of `compare` in routes.yaml.

    Paths are JSONPaths into what the comparator sees (`comparators.paths` has their grammar),
    `header:NAME`, or `cookie:NAME`. An entry of `unordered` may name the key by which the items
    of the array are matched: `"$.items by sku"`.
    """

    status: str = "exact"  # or "class"
    headers: tuple[str, ...] = ("content-type", "location")
    ignore: tuple[str, ...] = ()
    unordered: tuple[str, ...] = ()
    tolerance: dict[str, float] = {}
    rename: dict[str, str] = {}  # legacy path: new path
    redact: tuple[str, ...] = ()
    lenient: tuple[str, ...] = ()  # of LENIENCIES
    with_: str = "auto"


# "int-float": 1 equals 1.0. "number-text": "1" equals 1. "null-absent": null equals a missing key.
LENIENCIES: Final = ("int-float", "number-text", "null-absent")


class Kind(enum.Enum):
    """What kind of difference it is: the second half of a signature."""

    STATUS = "status"
    FAILURE = "failure"  # one side gave no answer, or a 5xx beside a healthy one
    HEADER = "header"
    COOKIE = "cookie"
    VALUE = "value"
    TYPE = "type"  # number and text, list and object; also 1 and 1.0
    MISSING = "missing"  # legacy has it, new lacks it
    ADDED = "added"  # new has it, legacy lacks it
    ORDER = "order"  # the same items in another order
    DUPLICATE_KEY = "duplicate-key"  # a key occurs more than once on one side
    TEXT = "text"  # lines of text
    BYTES = "bytes"  # binary content
    CODING = "coding"  # one side's body cannot be decoded (content coding, charset, syntax)
    TRUNCATED = "truncated"  # a bound was reached: what lies behind was not examined


class Absent(enum.Enum):
    """The value of what is not there (None is JSON's null)."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Difference(msgspec.Struct, frozen=True):
    """One entry of a comparison, values as they are: never stored or shown like this.

    `path` begins with `$` in bodies (legacy's spelling where it was renamed), else it is
    `status`, `header:NAME`, `cookie:NAME`, `cookie:NAME.attribute` or `body`.
    """

    path: str
    kind: Kind
    legacy: Any = ABSENT
    new: Any = ABSENT


class Outcome(enum.Enum):
    """What comparing two answers came to. Noise and failed sides are decided elsewhere."""

    EQUAL = "equal"
    DIVERGENT = "divergent"
    COMPARATOR_FAILED = "comparator_failed"


class Comparison(msgspec.Struct, frozen=True):
    """The result. `truncated`: a bound was reached, there may be more differences than these."""

    outcome: Outcome
    comparator: str = ""  # "json", "text", ... or the import path
    differences: tuple[Difference, ...] = ()
    truncated: bool = False
    detail: str = ""  # why the comparator failed, or which bound was reached


class ShownDifference(msgspec.Struct, frozen=True):
    """A difference that may be shown, logged, put on a span and stored.

    `legacy` and `new` are JSON text cut to SHOWN_CHARACTERS, secrets replaced by keyed hashes;
    None where there is nothing on that side.
    """

    path: str
    kind: str
    legacy: str | None = None
    new: str | None = None


MAX_DIFFERENCES: Final = 100
SHOWN_CHARACTERS: Final = 200
