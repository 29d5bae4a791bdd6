"""The spans that a request comes to: their tree, names, attributes and bounds."""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from proxy.core.divergences import DifferenceRecord
from proxy.core.messages import NOT_ASKED, NOT_SHADOWED, ExchangeRecord, Observation
from proxy.core.model import UNMATCHED, Backend, FailureKind, Phase, Route, Side
from proxy.core.tracing import span_ids
from proxy.observe.spans import MAX_EVENTS, MAX_TEXT, Origin, spans_of
from proxy.observe.traced import (
    TracedSide,
    TraceRecord,
    is_traced,
    something_is_wrong,
    trace_of,
)

ORIGIN = Origin("1.2.3")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
IDS = span_ids(SPAN_ID)
LEGACY = TracedSide("legacy", 200, 10.0, "", "127.0.0.1", 9001, "http://127.0.0.1:9001/a")
NEW = TracedSide("users-v2", 200, 25.0, "", "new.example", 443, "https://new.example:443/a")
RECORD = TraceRecord(
    route="users",
    pattern="/api/users/{id}",
    method="GET",
    target="/api/users/7",
    phase="shadow-read",
    trace_id=TRACE_ID,
    span_id=SPAN_ID,
    began_at=1_700_000_000.25,
    authoritative=Side.LEGACY,
    legacy=LEGACY,
    new=NEW,
    result="equal",
)
BEGAN_NS = 1_700_000_000_250_000_000
replaced = msgspec.structs.replace


@dataclass
class Tree:
    server: ReadableSpan
    legacy: ReadableSpan | None = None
    new: ReadableSpan | None = None
    compare: ReadableSpan | None = None


def tree_of(record: TraceRecord) -> Tree:
    server, *others = spans_of(record, ORIGIN)
    tree = Tree(server)
    for span in others:
        if span.kind is SpanKind.CLIENT:
            setattr(tree, str((span.attributes or {})["banyan.side"]), span)
        else:
            tree.compare = span
    return tree


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def test_the_tree_of_a_compared_read() -> None:
    tree = tree_of(RECORD)
    assert tree.legacy
    assert tree.new
    assert tree.compare
    spans = [tree.server, tree.legacy, tree.new, tree.compare]
    assert [id_of(span) for span in spans] == [IDS.server, IDS.first, IDS.second, IDS.compare]
    assert [parent_of(span) for span in spans] == [None, *[IDS.server] * 3]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE_ID}
    assert [span.kind for span in spans] == [
        SpanKind.SERVER,
        SpanKind.CLIENT,
        SpanKind.CLIENT,
        SpanKind.INTERNAL,
    ]
    names = [span.name for span in spans]
    assert names == ["GET /api/users/{id}", "GET", "GET", "banyan.compare"]
    assert [(span.start_time or 0) - BEGAN_NS for span in spans] == [0, 0, 0, 25_000_000]
    assert [(span.end_time or 0) - BEGAN_NS for span in spans] == [
        10_000_000,
        10_000_000,
        25_000_000,
        25_000_000,
    ]
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)


def test_the_attributes_of_a_compared_read() -> None:
    tree = tree_of(RECORD)
    assert tree.legacy
    assert tree.new
    assert dict(tree.server.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/api/users/{id}",
        "http.response.status_code": 200,
        "url.path": "/api/users/7",
        "url.scheme": "http",
        "banyan.route": "users",
        "banyan.phase": "shadow-read",
        "banyan.result": "equal",
        "banyan.answered_by": "legacy",
    }
    assert dict(tree.legacy.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": 9001,
        "url.full": "http://127.0.0.1:9001/a",
        "banyan.role": "authoritative",
        "banyan.side": "legacy",
        "banyan.backend": "legacy",
    }
    assert (tree.new.attributes or {})["banyan.role"] == "shadow"
    resource = tree.server.resource.attributes
    assert (resource["service.name"], resource["service.version"]) == ("banyan", "1.2.3")
    assert resource["service.instance.id"]
    scope = tree.server.instrumentation_scope
    assert scope
    assert (scope.name, scope.version) == ("banyan", "1.2.3")


def test_the_clients_span_is_above_ours() -> None:
    record = replaced(RECORD, parent="b7ad6b7169203331", tracestate="a=b, c@d=e f")
    tree = tree_of(record)
    assert parent_of(tree.server) == "b7ad6b7169203331"
    assert tree.server.parent
    assert tree.server.parent.is_remote
    assert dict(tree.server.context.trace_state) == {"a": "b", "c@d": "e f"}


@pytest.mark.parametrize("given", ["a", "a=", "A=b", "a=b,a=c", "a=b\x80", "=", "a=b=c"])
def test_a_bad_tracestate_is_dropped_without_a_word(
    given: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert dict(tree_of(replaced(RECORD, tracestate=given)).server.context.trace_state) == {}
    assert caplog.records == []


def test_each_difference_is_an_event_up_to_a_bound() -> None:
    many = tuple(
        DifferenceRecord(f"$.items[{at}]", "value", '"a"' * 500, None) for at in range(100)
    )
    tree = tree_of(replaced(RECORD, result="divergent", differences=many, compare_ms=2.0))
    compare = tree.compare
    assert compare
    assert len(compare.events) == MAX_EVENTS
    assert (compare.attributes or {})["banyan.differences"] == 100
    event = compare.events[1]
    assert event.name == "banyan.difference"
    attributes = dict(event.attributes or {})
    assert (attributes["path"], attributes["kind"]) == ("$.items[1]", "value")
    assert len(str(attributes["legacy"])) == MAX_TEXT
    assert "new" not in attributes
    assert event.timestamp == compare.end_time == BEGAN_NS + 27_000_000
    # A divergence is a result, not an error of comparing.
    assert compare.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("asked", "error", "server_is_error"),
    [
        (TracedSide("b", 404, 1.0), "404", False),
        (TracedSide("b", 500, 1.0), "500", True),
        (TracedSide("b", 0, 1.0, "timeout"), "timeout", True),
        (TracedSide("b", 0, 1.0, "refused: 10.0.0.1 is secret"), "refused", True),
        (TracedSide("b", 200, 1.0, "reset"), "reset", True),
        (TracedSide("b", 0, 1.0, "what is this"), "_OTHER", True),
        (TracedSide("b", 0, 1.0), "cancelled", True),
    ],
)
def test_a_failure_is_an_error(asked: TracedSide, error: str, server_is_error: bool) -> None:
    tree = tree_of(replaced(RECORD, legacy=asked, result=NOT_SHADOWED, new=None))
    assert tree.legacy
    assert tree.legacy.status.status_code is StatusCode.ERROR
    assert (tree.legacy.attributes or {})["error.type"] == error
    assert (tree.server.status.status_code is StatusCode.ERROR) is server_is_error
    assert ((tree.server.attributes or {}).get("error.type") == error) is server_is_error
    assert tree.new is None
    assert tree.compare is None


def test_a_failed_comparator_is_an_error() -> None:
    compare = tree_of(replaced(RECORD, result="comparator_failed")).compare
    assert compare
    assert compare.status.status_code is StatusCode.ERROR
    assert (compare.attributes or {})["error.type"] == "comparator_failed"


def test_a_fallback_answers_with_the_other_side() -> None:
    record = replaced(
        RECORD,
        authoritative=Side.NEW,
        new=TracedSide("new", 0, 300.0, "timeout"),
        legacy=replaced(LEGACY, after_ms=300.0),
        fell_back=True,
    )
    tree = tree_of(record)
    assert tree.new
    assert tree.legacy
    assert (id_of(tree.new), id_of(tree.legacy)) == (IDS.first, IDS.second)
    server = tree.server.attributes or {}
    assert (server["banyan.answered_by"], server["http.response.status_code"]) == ("legacy", 200)
    assert tree.server.status.status_code is StatusCode.UNSET
    assert tree.server.end_time == BEGAN_NS + 310_000_000


@pytest.mark.parametrize(
    ("method", "name", "original"),
    [
        ("POST", "POST", None),
        ("QUERY", "QUERY", None),
        ("get", "HTTP", "get"),
        ("PROPFIND", "HTTP", "PROPFIND"),
    ],
)
def test_unknown_methods_are_bounded(method: str, name: str, original: str | None) -> None:
    server = tree_of(replaced(RECORD, method=method)).server
    attributes = server.attributes or {}
    assert attributes["http.request.method"] == ("_OTHER" if original else method)
    assert attributes.get("http.request.method_original") == original
    assert server.name == f"{name} /api/users/{{id}}"


def test_a_unix_socket_and_the_unmatched_route() -> None:
    record = replaced(RECORD, pattern="", legacy=TracedSide("l", 200, 1.0, "", "/run/l.sock"))
    tree = tree_of(record)
    assert tree.legacy
    attributes = tree.legacy.attributes or {}
    assert (attributes["server.address"], attributes["network.transport"]) == (
        "/run/l.sock",
        "unix",
    )
    assert "server.port" not in attributes
    assert tree.server.name == "GET"
    assert "http.route" not in (tree.server.attributes or {})


# Properties

texts = st.text(max_size=400)
sides = st.none() | st.builds(
    TracedSide,
    backend=texts,
    status=st.integers(0, 999),
    ms=st.floats(0, 1e9),
    failure=texts | st.sampled_from([kind.value for kind in FailureKind]),
    address=texts,
    port=st.integers(0, 65535),
    url=texts,
)
records = st.builds(
    TraceRecord,
    route=texts,
    pattern=texts,
    method=texts,
    target=texts,
    phase=texts,
    trace_id=st.integers(1, 2**128 - 1).map("{:032x}".format),
    span_id=st.integers(1, 2**64 - 1).map("{:016x}".format),
    began_at=st.floats(0, 4e9),
    authoritative=st.sampled_from(Side),
    legacy=sides,
    new=sides,
    result=st.sampled_from(["equal", "divergent", "noise", "both_failed", "comparator_failed"])
    | texts,
    parent=st.just("") | st.integers(1, 2**64 - 1).map("{:016x}".format),
    tracestate=texts,
    differences=st.lists(
        st.builds(
            DifferenceRecord,
            path=texts,
            kind=texts,
            legacy=st.none() | texts,
            new=st.none() | texts,
            noise=st.booleans(),
        ),
        max_size=4,
    ).map(tuple),
)


@given(records)
def test_any_record_can_be_encoded_and_is_bounded(record: TraceRecord) -> None:
    spans = spans_of(record, ORIGIN)
    assert len({span.context.span_id for span in spans if span.context}) == len(spans)
    for span in spans:
        for value in (span.attributes or {}).values():
            assert not isinstance(value, str) or len(value) <= MAX_TEXT
    assert len(encode_spans(spans).SerializeToString()) < 40_000


SECRET = "s3cret-t0ken"


@given(
    st.sampled_from(["?", "#", "?a=", "#?"]),
    st.sampled_from(sorted(kind.value for kind in FailureKind)),
)
def test_no_query_and_no_detail_of_a_failure_reaches_a_span(mark: str, kind: str) -> None:
    record = replaced(
        RECORD,
        target=f"/a{mark}{SECRET}",
        legacy=replaced(LEGACY, url=f"http://h/a{mark}{SECRET}", failure=f"{kind}: {SECRET}"),
    )
    data = encode_spans(spans_of(record, ORIGIN)).SerializeToString()
    assert SECRET.encode() not in data


# Records of observations

ROUTE = Route("users", "/api/users/{id}", (), None, "/api/users/{id}", Phase(-1), new="users-v2")
BACKENDS = {
    "legacy": Backend("legacy", ("http://127.0.0.1:9001",)),
    "users-v2": Backend("users-v2", ("https://[2001:db8::1]",)),
}
SEEN = Observation(
    at=1_700_000_000.25,
    route="users",
    method="GET",
    target="/api/users/7",
    phase=-1,
    trace_id=TRACE_ID,
    authoritative=Side.LEGACY,
    legacy=ExchangeRecord(200, 10.0),
    new=ExchangeRecord(200, 25.0),
    equal=True,
    span_id=SPAN_ID,
    parent="b7ad6b7169203331",
)
NOBODY = ExchangeRecord(0, 0.0, NOT_ASKED)


def test_a_record_is_made_of_an_observation() -> None:
    record = trace_of(SEEN, ROUTE, BACKENDS)
    assert record == replaced(
        RECORD,
        legacy=replaced(LEGACY, url="http://127.0.0.1:9001/api/users/7"),
        new=replaced(NEW, address="2001:db8::1", url="https://[2001:db8::1]:443/api/users/7"),
        parent="b7ad6b7169203331",
    )


def test_a_record_of_what_a_comparer_judged() -> None:
    found = (DifferenceRecord("$.a", "value", "1", "2"),)
    record = trace_of(
        replaced(SEEN, equal=None),
        ROUTE,
        BACKENDS,
        result="divergent",
        differences=found,
        target="/api/users/[redacted]",
        compare_ms=1.5,
    )
    assert (record.result, record.differences) == ("divergent", found)
    assert (record.target, record.compare_ms) == ("/api/users/[redacted]", 1.5)


def test_a_record_of_one_side_alone() -> None:
    seen = replaced(SEEN, equal=None, skipped=NOT_SHADOWED, new=NOBODY)
    record = trace_of(seen, replaced(ROUTE, name=UNMATCHED), BACKENDS)
    assert (record.new, record.result, record.pattern) == (None, NOT_SHADOWED, "")


def test_the_second_write_begins_where_the_first_is_answered() -> None:
    seen = replaced(SEEN, equal=None, skipped="write", write=True)
    record = trace_of(seen, ROUTE, BACKENDS)
    assert record.legacy
    assert record.new
    assert (record.legacy.after_ms, record.new.after_ms) == (0.0, 10.0)


def test_the_url_that_was_asked_of_several_is_named() -> None:
    several = {**BACKENDS, "legacy": Backend("legacy", ("http://a", "http://b:81"))}
    seen = replaced(SEEN, legacy=ExchangeRecord(200, 10.0, "", 1))
    legacy = trace_of(seen, ROUTE, several).legacy
    assert legacy
    assert (legacy.address, legacy.port) == ("b", 81)
    assert legacy.url == "http://b:81/api/users/7"


def test_what_is_not_known_of_a_backend_is_left_out() -> None:
    several = {
        "legacy": Backend("legacy", ("http://a", "http://b")),
        "users-v2": Backend("users-v2", ("unix:/run/new.sock",)),
    }
    record = trace_of(SEEN, replaced(ROUTE, rewrite="/v2/{id}"), several)
    assert record.legacy
    assert record.new
    assert (record.legacy.address, record.legacy.port, record.legacy.url) == ("", 0, "")
    assert (record.new.address, record.new.port, record.new.url) == ("/run/new.sock", 0, "")


@pytest.mark.parametrize(
    ("seen", "traced", "wrong"),
    [
        (SEEN, False, False),
        (replaced(SEEN, sampled=True), True, False),
        (replaced(SEEN, equal=False), True, True),
        (replaced(SEEN, equal=None, skipped="both_failed"), False, True),
        (replaced(SEEN, new=ExchangeRecord(500, 1.0)), True, True),
        (replaced(SEEN, legacy=ExchangeRecord(0, 1.0, "refused")), True, True),
        (replaced(SEEN, new=ExchangeRecord(0, 1.0, "cancelled")), False, False),
        (replaced(SEEN, new=NOBODY), False, False),
    ],
)
def test_which_observations_are_traced(seen: Observation, traced: bool, wrong: bool) -> None:
    assert is_traced(seen) is traced
    assert something_is_wrong(trace_of(seen, ROUTE, BACKENDS)) is wrong
