"""What a route did in the last five minutes, as the admin API and the command show it."""

from collections.abc import Mapping

import msgspec


class Errors(msgspec.Struct, frozen=True):
    """Exchanges of each side that ended in a transport failure, a time-out or a 5xx."""

    legacy: int = 0
    new: int = 0


class Quantiles(msgspec.Struct, frozen=True):
    """Latency of one side in milliseconds; None without data."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Latency(msgspec.Struct, frozen=True):
    """The quantiles of both sides, in milliseconds."""

    legacy: Quantiles = Quantiles()
    new: Quantiles = Quantiles()


class Window(msgspec.Struct, frozen=True):
    """`window` of the admin API.

    `requests` are client requests, each counted once however many sides it went to; `comparisons`
    and `divergences` count pairs; `coverage` is the share (0 to 1) of the eligible reads that were
    compared, None without any. `seconds` is how much time the window covers (less than five
    minutes after a start), `requests_per_s` the rate of the last 10 to 20 seconds.
    """

    seconds: float = 0.0
    requests: int = 0
    requests_per_s: float = 0.0
    comparisons: int = 0
    divergences: int = 0
    coverage: float | None = None
    errors: Errors = Errors()
    skipped: Mapping[str, int] = {}
    latency_ms: Latency = Latency()
