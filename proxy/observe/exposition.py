"""The Prometheus text format, version 0.0.4.

Written here and not by prometheus_client, whose renderer takes ten times as long a sample: at
10,000 routes that is seconds of the controller's time a scrape. Its parser is the oracle in the
tests.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SAMPLES_A_PIECE = 2000

Sample = tuple[str, float]  # label set (as `labels` writes it, maybe with a suffix before), value

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def labels(**values: str) -> str:
    """The label set `{name="value",...}`, escaped."""
    return "{" + ",".join(f'{k}="{v.translate(_LABEL_ESCAPES)}"' for k, v in values.items()) + "}"


def family(
    name: str,
    kind: Literal["counter", "gauge", "histogram"],
    meaning: str,
    samples: Iterable[Sample],
) -> Iterator[str]:
    """One metric family in pieces of at most SAMPLES_A_PIECE samples."""
    lines = [f"# HELP {name} {meaning.translate(_HELP_ESCAPES)}\n# TYPE {name} {kind}\n"]
    for label_set, value in samples:
        lines.append(f"{name}{label_set} {value}\n")
        if len(lines) >= SAMPLES_A_PIECE:
            yield "".join(lines)
            lines.clear()
    if lines:
        yield "".join(lines)


def histogram(
    label_set: str, bounds: Iterable[str], counts: Iterable[int], total: float
) -> Iterator[Sample]:
    """The samples of one histogram: `counts` per bucket (not added up), the unbounded one last."""
    prefix = f"_bucket{label_set[:-1]},le=" if label_set else "_bucket{le="
    below = 0
    for bound, count in zip((*bounds, "+Inf"), counts, strict=True):
        below += count
        yield f'{prefix}"{bound}"}}', below
    yield f"_sum{label_set}", total
    yield f"_count{label_set}", below
