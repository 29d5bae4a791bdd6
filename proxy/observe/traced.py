"""A request as it is traced: one plain record, made of an Observation when the request is over.

Free of secrets by what it can hold: a path, statuses, kinds of failure, and differences that were
redacted before they came here.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from proxy.core.divergences import DifferenceRecord
from proxy.core.messages import NOT_ASKED, ExchangeRecord, Observation, went_wrong
from proxy.core.model import UNMATCHED, Backend, Phase, Route, Side

COMPARED: Final = frozenset(("equal", "divergent", "noise", "both_failed", "comparator_failed"))
COMPARATOR_FAILED: Final = "comparator_failed"
_WRONG: Final = frozenset(("divergent", "both_failed", "comparator_failed"))
_NOT_FAILED: Final = ("", "cancelled", NOT_ASKED)


class TracedSide(msgspec.Struct, frozen=True):
    """One side that was asked. `status` is 0 where no answer came; `failure` is a FailureKind."""

    backend: str
    status: int
    ms: float  # to the response head, or to the failure
    failure: str = ""
    address: str = ""  # host name, or path of a Unix socket
    port: int = 0  # none for a Unix socket
    url: str = ""  # without query; empty where it is not known
    after_ms: float = 0.0  # how long after the request began it was asked


class TraceRecord(msgspec.Struct, frozen=True):
    """One request as it is traced. Made when it is over; free of secrets, as a divergence is."""

    route: str
    pattern: str  # the path of the route's key; empty for the unmatched route
    method: str
    target: str  # path, secret shapes redacted
    phase: str
    trace_id: str  # 32 digits
    span_id: str  # 16 digits, of the request to `authoritative`
    began_at: float  # seconds since the epoch
    authoritative: Side  # the side asked first
    legacy: TracedSide | None
    new: TracedSide | None
    result: str  # one of COMPARED, or why nothing was compared
    parent: str = ""  # the client's own span
    tracestate: str = ""
    scheme: str = "http"
    sampled: bool = False
    write: bool = False
    fell_back: bool = False
    compare_ms: float = 0.0
    differences: tuple[DifferenceRecord, ...] = ()

    def side(self, side: Side) -> TracedSide | None:
        return self.legacy if side is Side.LEGACY else self.new


def something_is_wrong(trace: TraceRecord) -> bool:
    """Whether a trace is of a divergent or failed request, and not of the traced share alone."""
    return trace.result in _WRONG or any(
        asked is not None and (asked.status >= 500 or asked.failure not in _NOT_FAILED)
        for asked in (trace.legacy, trace.new)
    )


def is_traced(seen: Observation, result: str | None = None) -> bool:
    """Whether an observation is to be recorded; `result` as in `trace_of`."""
    return (
        seen.sampled
        or (seen.equal is False if result is None else result in _WRONG)
        or went_wrong(seen.legacy)
        or went_wrong(seen.new)
    )


def trace_of(
    seen: Observation,
    route: Route,
    backends: Mapping[str, Backend],
    *,
    result: str | None = None,
    differences: tuple[DifferenceRecord, ...] = (),
    target: str | None = None,
    compare_ms: float = 0.0,
    scheme: str = "http",
) -> TraceRecord:
    """The record of an observation. `result` and what follows: as a comparer judged it.

    `target` is the path with secret shapes redacted, where that has been done.
    """
    if result is None:
        words = {True: "equal", False: "divergent", None: seen.skipped}
        result = words[seen.equal]
    path = (seen.target if target is None else target).partition("?")[0]
    first = seen.legacy if seen.authoritative is Side.LEGACY else seen.new
    # A second write follows the first; so does a fallback where no shadow was under way.
    after_ms = first.ms if seen.write or (seen.fell_back and seen.skipped) else 0.0

    def side(side: Side, record: ExchangeRecord) -> TracedSide | None:
        if record.failure == NOT_ASKED:
            return None
        name = route.backend(side)
        backend = backends.get(name) or Backend(name, ())
        is_rewritten = side is Side.NEW and route.rewrite is not None
        address, port, base = _place(backend, record.url)
        return TracedSide(
            backend=name,
            status=record.status,
            ms=record.ms,
            failure=record.failure,
            address=address,
            port=port,
            url=base + path if base and not is_rewritten else "",
            after_ms=0.0 if side is seen.authoritative else after_ms,
        )

    return TraceRecord(
        route=seen.route,
        pattern="" if route.name == UNMATCHED else route.path,
        method=seen.method,
        target=path,
        phase=str(Phase(seen.phase)),
        trace_id=seen.trace_id,
        span_id=seen.span_id,
        began_at=seen.at,
        authoritative=seen.authoritative,
        legacy=side(Side.LEGACY, seen.legacy),
        new=side(Side.NEW, seen.new),
        result=result,
        parent=seen.parent,
        tracestate=seen.tracestate,
        scheme=scheme,
        sampled=seen.sampled,
        write=seen.write,
        fell_back=seen.fell_back,
        compare_ms=compare_ms,
        differences=differences,
    )


def _place(backend: Backend, at: int) -> tuple[str, int, str]:
    """Host, port and base URL of what was asked; nothing where no URL was chosen yet."""
    urls = backend.urls
    if len(urls) == 1:
        url = urls[0]
    elif 0 <= at < len(urls):
        url = urls[at]
    else:
        return "", 0, ""
    if url.startswith("unix:"):
        return url.removeprefix("unix:"), 0, ""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    shown = f"[{host}]" if ":" in host else host
    return host, port, f"{parts.scheme}://{shown}:{port}"
