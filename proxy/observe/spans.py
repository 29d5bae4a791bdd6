"""The spans of one request, made when it is over: what a TraceRecord says in OpenTelemetry's words.

Names follow the HTTP semantic conventions. The tree: a SERVER span (the request, below the client's
own span), below it a CLIENT span for each side that was asked and, where answers were compared, a
`banyan.compare` span with an event for each difference.

Nothing gets in but what a TraceRecord holds: no header, body or query, and of a failure its kind
alone. Texts are bounded. A side's span ends with the response head: how long a body streams says
more of the reader than of the side.
"""

import re
from collections.abc import Iterable
from typing import Final
from uuid import uuid4

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    service_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from proxy.core.divergences import DifferenceRecord
from proxy.core.model import FailureKind, Side
from proxy.core.tracing import SpanIds, span_ids
from proxy.observe.traced import COMPARATOR_FAILED, COMPARED, TracedSide, TraceRecord

MAX_EVENTS: Final = 32
MAX_TEXT: Final = 256  # characters of any text in a span
MAX_TRACESTATE_MEMBERS: Final = 32

# What the conventions call a known method; any other is `_OTHER`.
KNOWN_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)

_OTHER: Final = "_OTHER"
_FAILURES: Final = frozenset(kind.value for kind in FailureKind)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
# As the SDK reads it, which would log the members it does not like.
_TRACESTATE_MEMBER: Final = re.compile(
    r"([a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)

Attributes = dict[str, AttributeValue]


class Origin:
    """Who records: the resource and the scope that all spans of this process share."""

    def __init__(self, version: str) -> None:
        # With what the environment adds (OTEL_RESOURCE_ATTRIBUTES); ours stands above it.
        self.resource = Resource.create(
            {
                service_attributes.SERVICE_NAME: "banyan",
                service_attributes.SERVICE_VERSION: version,
                service_attributes.SERVICE_INSTANCE_ID: str(uuid4()),
            }
        )
        self.scope = InstrumentationScope("banyan", version, Schemas.V1_23_1.value)


def spans_of(record: TraceRecord, origin: Origin) -> list[ReadableSpan]:
    """The spans of a request, the server span first."""
    return _Tree(record, origin).spans()


class _Tree:
    """Puts the spans of one record together."""

    def __init__(self, record: TraceRecord, origin: Origin) -> None:
        self.record = record
        self.origin = origin
        self.ids: SpanIds = span_ids(record.span_id)
        self.trace_id = int(record.trace_id, 16)
        self.state = _tracestate(record.tracestate)
        # A float has microseconds of today, and no more.
        self.began_ns = round(record.began_at * 1e6) * 1000
        self.method: Attributes = {http_attributes.HTTP_REQUEST_METHOD: record.method}
        self.name = record.method
        if record.method not in KNOWN_METHODS:
            self.name = "HTTP"
            self.method = {
                http_attributes.HTTP_REQUEST_METHOD: _OTHER,
                http_attributes.HTTP_REQUEST_METHOD_ORIGINAL: _text(record.method),
            }

    def spans(self) -> list[ReadableSpan]:
        record = self.record
        spans = [self._server()]
        for side in (record.authoritative, record.authoritative.other):
            asked = record.side(side)
            if asked is not None:
                spans.append(self._client(side, asked))
        if record.result in COMPARED:
            spans.append(self._compare())
        return spans

    def _server(self) -> ReadableSpan:
        record = self.record
        answering = record.authoritative.other if record.fell_back else record.authoritative
        answer = record.side(answering)
        attributes: Attributes = {
            **self.method,
            url_attributes.URL_PATH: _path(record.target),
            url_attributes.URL_SCHEME: record.scheme,
            "banyan.route": _text(record.route),
            "banyan.phase": _text(record.phase),
            "banyan.result": _text(record.result),
            "banyan.answered_by": answering.value,
        }
        name = self.name
        if record.pattern:
            attributes[http_attributes.HTTP_ROUTE] = _text(record.pattern)
            name = _text(f"{name} {record.pattern}")
        failed = False
        if answer is not None:
            failed = _outcome(attributes, answer, server=True)
        parent = int(record.parent, 16) if record.parent else None
        end_ns = self._end_ns(answer)
        return self._span(
            name,
            self.ids.server,
            parent,
            SpanKind.SERVER,
            attributes,
            self.began_ns,
            end_ns,
            failed,
        )

    def _client(self, side: Side, asked: TracedSide) -> ReadableSpan:
        record = self.record
        is_first = side is record.authoritative
        attributes: Attributes = {
            **self.method,
            "banyan.role": "authoritative" if is_first else "shadow",
            "banyan.side": side.value,
            "banyan.backend": _text(asked.backend),
        }
        if asked.address:
            attributes[server_attributes.SERVER_ADDRESS] = _text(asked.address)
            if asked.port:
                attributes[server_attributes.SERVER_PORT] = asked.port
            else:
                attributes[network_attributes.NETWORK_TRANSPORT] = "unix"
        if asked.url:
            attributes[url_attributes.URL_FULL] = _path(asked.url)
        failed = _outcome(attributes, asked, server=False)
        return self._span(
            self.name,
            self.ids.first if is_first else self.ids.second,
            int(self.ids.server, 16),
            SpanKind.CLIENT,
            attributes,
            self.began_ns + _ns(asked.after_ms),
            self._end_ns(asked),
            failed,
        )

    def _compare(self) -> ReadableSpan:
        record = self.record
        differences = record.differences
        attributes: Attributes = {
            "banyan.route": _text(record.route),
            "banyan.result": record.result,
            "banyan.differences": len(differences),
        }
        failed = record.result == COMPARATOR_FAILED
        if failed:
            attributes[error_attributes.ERROR_TYPE] = COMPARATOR_FAILED
        begin_ns = max(self._end_ns(record.legacy), self._end_ns(record.new))
        end_ns = begin_ns + _ns(record.compare_ms)
        events = [_event(each, end_ns) for each in differences[:MAX_EVENTS]]
        return self._span(
            "banyan.compare",
            self.ids.compare,
            int(self.ids.server, 16),
            SpanKind.INTERNAL,
            attributes,
            begin_ns,
            end_ns,
            failed,
            events,
        )

    def _end_ns(self, asked: TracedSide | None) -> int:
        if asked is None:
            return self.began_ns
        return self.began_ns + _ns(asked.after_ms) + _ns(asked.ms)

    def _span(
        self,
        name: str,
        span_id: str,
        parent: int | None,
        kind: SpanKind,
        attributes: Attributes,
        begin_ns: int,
        end_ns: int,
        failed: bool,
        events: Iterable[Event] = (),
    ) -> ReadableSpan:
        is_remote = kind is SpanKind.SERVER
        above = (
            SpanContext(self.trace_id, parent, is_remote, _SAMPLED) if parent is not None else None
        )
        return ReadableSpan(
            name,
            # Whatever the flag on the wire was: what is recorded is sampled.
            SpanContext(self.trace_id, int(span_id, 16), False, _SAMPLED, self.state),
            above,
            self.origin.resource,
            attributes,
            tuple(events),
            kind=kind,
            status=_ERROR if failed else _UNSET,
            start_time=begin_ns,
            end_time=end_ns,
            instrumentation_scope=self.origin.scope,
        )


def _outcome(attributes: Attributes, asked: TracedSide, server: bool) -> bool:
    """Write down what a request came to; whether the span is an error."""
    if asked.status:
        attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] = asked.status
    kind = asked.failure.partition(":")[0].strip()
    if kind:
        attributes[error_attributes.ERROR_TYPE] = kind if kind in _FAILURES else _OTHER
        return True
    if asked.status == 0:
        attributes[error_attributes.ERROR_TYPE] = FailureKind.CANCELLED.value
        return True
    # A 4xx is an error of whoever asked: of the client span, not of the server's.
    if asked.status >= (500 if server else 400):
        attributes[error_attributes.ERROR_TYPE] = str(asked.status)
        return True
    return False


def _event(difference: DifferenceRecord, at_ns: int) -> Event:
    attributes: Attributes = {
        "path": _text(difference.path),
        "kind": _text(difference.kind),
        "noise": difference.noise,
    }
    if difference.legacy is not None:
        attributes["legacy"] = _text(difference.legacy)
    if difference.new is not None:
        attributes["new"] = _text(difference.new)
    return Event("banyan.difference", BoundedAttributes(attributes=attributes), at_ns)


def _ns(ms: float) -> int:
    return max(0, int(ms * 1e6))


def _text(text: str) -> str:
    """Bounded, and such as UTF-8 can carry."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")


def _path(target: str) -> str:
    """Without query and fragment, which may hold secrets."""
    return _text(re.split(r"[?#]", target, maxsplit=1)[0])


def _tracestate(given: str) -> TraceState | None:
    """What other vendors said; nothing of it where it is not valid (Trace Context §3.3)."""
    members: dict[str, str] = {}
    for part in given.split(","):
        part = part.strip(" \t")
        if not part:
            continue
        match = _TRACESTATE_MEMBER.fullmatch(part)
        if match is None or match[1] in members or len(members) >= MAX_TRACESTATE_MEMBERS:
            return None
        members[match[1]] = match[2]
    return TraceState(list(members.items())) if members else None
