"""Export of traces: to a real receiver that decodes them, and to collectors that misbehave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.divergences import DifferenceRecord
from proxy.core.tracing import span_ids
from proxy.observe.otlp import MAX_RETRY_AFTER_S, Backoff, retry_after_s
from proxy.observe.otlp import Collector as Target
from proxy.observe.tracing import BATCH, MAX_WAITING, Pace, Traces, trace_families
from tests.harness.collector import PROTOBUF, Answer, Collector, answering, values_of
from tests.harness.ports import unused_port
from tests.harness.waiting import eventually
from tests.observe.test_spans import RECORD, SPAN_ID, TRACE_ID

QUICK = Pace(
    gather_s=0.0, timeout_s=0.5, first_retry_s=0.01, most_retry_s=0.02, give_up_s=5.0, flush_s=1.0
)
replaced = msgspec.structs.replace


class Lines:
    """A log that can be looked at."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = info


@asynccontextmanager
async def running(otlp: str | None, pace: Pace = QUICK) -> AsyncIterator[tuple[Traces, Lines]]:
    lines = Lines()
    traces = Traces(lines, pace)
    traces.configure(otlp)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(traces.run())
        await asyncio.sleep(0)  # it has begun
        yield traces, lines
        task.cancel()


def kind_of(span: Span) -> str:
    return Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")


async def test_a_receiver_decodes_the_tree() -> None:
    record = replaced(
        RECORD,
        result="divergent",
        parent="b7ad6b7169203331",
        tracestate="a=b",
        differences=(DifferenceRecord("$.price", "value", "1", "2"),),
    )
    async with Collector() as collector, running(collector.url) as (traces, _):
        traces.record(record)
        await collector.got(4)
        (message,) = collector.messages
    (target, headers), *_ = collector.requests
    assert target == "/v1/traces"
    assert headers["Content-Type"] == PROTOBUF
    assert headers["Content-Encoding"] == "gzip"
    ids = span_ids(SPAN_ID)
    found = [(kind_of(s), s.span_id.hex(), s.parent_span_id.hex()) for s in collector.spans]
    assert found == [
        ("SERVER", ids.server, "b7ad6b7169203331"),
        ("CLIENT", ids.first, ids.server),
        ("CLIENT", ids.second, ids.server),
        ("INTERNAL", ids.compare, ids.server),
    ]
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    assert {span.trace_state for span in collector.spans} == {"a=b"}
    server, legacy, _, compare = collector.spans
    assert values_of(server.attributes)["http.route"] == "/api/users/{id}"
    assert values_of(legacy.attributes)["server.port"] == 9001
    (event,) = compare.events
    assert event.name == "banyan.difference"
    assert values_of(event.attributes) == {
        "path": "$.price",
        "kind": "value",
        "legacy": "1",
        "new": "2",
        "noise": False,
    }
    assert server.status.code == Status.STATUS_CODE_UNSET
    resource = values_of(message.resource_spans[0].resource.attributes)
    assert resource["service.name"] == "banyan"
    assert message.resource_spans[0].scope_spans[0].scope.name == "banyan"
    assert (traces.counts.exported, traces.counts.dropped, traces.counts.failed) == (4, {}, {})


async def test_many_traces_go_in_batches() -> None:
    async with Collector() as collector, running(collector.url) as (traces, _):
        for _ in range(BATCH + 1):
            traces.record(RECORD)
        await collector.got(4 * (BATCH + 1))
        assert len(collector.messages) == 2


async def test_nothing_is_kept_without_a_collector() -> None:
    async with Collector() as collector, running(None) as (traces, lines):
        for _ in range(3):
            traces.record(RECORD)
        traces.configure(collector.url)
        traces.record(RECORD)
        await collector.got(4)
        traces.configure(None)
        traces.record(RECORD)
    assert len(collector.spans) == 4
    assert (traces.counts.dropped, lines.lines) == ({}, [])


async def test_an_edit_sends_what_waits_to_the_new_collector() -> None:
    async with Collector() as old, Collector() as new:
        old.answers = [answering(503)] * 1000
        async with running(old.url) as (traces, _):
            traces.record(RECORD)
            await old.asked(2)
            traces.configure(new.url)
            await new.got(4)
        assert old.spans == []


async def test_what_waits_is_sent_at_the_end() -> None:
    patient = replaced(QUICK, gather_s=60.0)
    async with Collector() as collector:
        async with running(collector.url, patient) as (traces, _):
            for _ in range(BATCH - 1):
                traces.record(RECORD)
        assert len(collector.spans) == 4 * (BATCH - 1)


async def test_the_end_does_not_wait_for_a_collector_that_hangs() -> None:
    async with Collector() as collector:
        collector.answers = [hanging] * 10
        async with running(collector.url, replaced(QUICK, gather_s=60.0, flush_s=0.1)) as (
            traces,
            _,
        ):
            traces.record(RECORD)
        assert collector.spans == []


# Bounds


async def test_the_queue_is_bounded_and_keeps_room_for_what_is_wrong() -> None:
    traces = Traces(Lines(), QUICK)
    traces.configure("http://127.0.0.1:9")
    for _ in range(MAX_WAITING):
        traces.record(RECORD)
    assert traces.counts.dropped == {"share_shed": MAX_WAITING // 2}
    for _ in range(MAX_WAITING):
        traces.record(replaced(RECORD, result="divergent"))
    assert traces.counts.dropped == {
        "share_shed": MAX_WAITING // 2,
        "queue_full": MAX_WAITING // 2,
    }


async def test_a_record_that_cannot_be_encoded_costs_no_other() -> None:
    async with Collector() as collector, running(collector.url) as (traces, _):
        traces.record(replaced(RECORD, trace_id="no number"))
        traces.record(RECORD)
        await collector.got(4)
        await eventually(lambda: traces.counts.dropped, "the broken one is counted")
    assert traces.counts.dropped == {"broken": 1}


# Collectors that misbehave


async def hanging(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def resetting(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response(status=500)


async def flooding(request: web.Request) -> web.StreamResponse:
    """A gigabyte, as far as somebody reads it."""
    response = web.StreamResponse(
        headers={"Content-Type": PROTOBUF, "Content-Length": "1073741824"}
    )
    await response.prepare(request)
    for _ in range(1024):
        await response.write(b"x" * (1 << 20))
    return response


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (answering(429), "429"),
        (answering(502), "502"),
        (answering(503, headers={"Retry-After": "0"}), "503"),
        (answering(503, headers={"Retry-After": "nonsense"}), "503"),
        (answering(504), "504"),
        (hanging, "timeout"),
        (resetting, "reset"),
    ],
    ids=["429", "502", "503", "503 nonsense", "504", "hangs", "resets"],
)
async def test_what_may_pass_is_tried_again(answer: Answer, failure: str) -> None:
    async with Collector() as collector:
        collector.answers = [answer, answer]
        async with running(collector.url) as (traces, lines):
            traces.record(RECORD)
            await collector.got(4)
            await eventually(lambda: traces.counts.exported == 4)
    assert traces.counts.failed == {failure: 2}
    assert traces.counts.dropped == {}
    assert [event for event, _ in lines.lines] == [
        "spans are not exported",
        "spans are exported again",
    ]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 301, 307])
async def test_what_will_not_pass_is_dropped(status: int) -> None:
    async with Collector() as collector:
        collector.answers = [answering(status, headers={"Location": collector.url + "/elsewhere"})]
        async with running(collector.url) as (traces, _):
            traces.record(RECORD)
            await eventually(lambda: traces.counts.dropped)
            assert traces.counts.dropped == {"undelivered": 1}
            assert traces.counts.failed == {str(status): 1}
            traces.record(RECORD)
            await collector.got(4)
    assert [target for target, _ in collector.requests] == ["/v1/traces"] * 2


@pytest.mark.parametrize(
    "answer",
    [
        answering(200, b"\xff\xff garbage", {"Content-Type": PROTOBUF}),
        answering(200, b"<html>", {"Content-Type": "text/html"}),
        answering(202),
        answering(200, b"x", {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}),
        flooding,
    ],
    ids=["garbage", "html", "202", "not gzip", "1 GB"],
)
async def test_what_a_collector_says_beside_its_status_does_not_matter(answer: Answer) -> None:
    async with Collector() as collector:
        collector.answers = [answer]
        async with running(collector.url) as (traces, _):
            traces.record(RECORD)
            await eventually(lambda: traces.counts.exported == 4)
            traces.record(RECORD)
            await eventually(lambda: traces.counts.exported == 8)
    assert (traces.counts.failed, traces.counts.dropped) == ({}, {})


async def test_rejected_spans_are_counted() -> None:
    said = ExportTraceServiceResponse()
    said.partial_success.rejected_spans = 3
    said.partial_success.error_message = "too old" * 100
    async with Collector() as collector:
        collector.answers = [answering(200, said.SerializeToString(), {"Content-Type": PROTOBUF})]
        async with running(collector.url) as (traces, lines):
            traces.record(RECORD)
            await eventually(lambda: traces.counts.rejected)
    assert (traces.counts.exported, traces.counts.rejected) == (1, 3)
    ((event, fields),) = lines.lines
    assert event == "the collector rejected spans"
    assert len(fields["reason"]) == 200


async def test_a_collector_that_is_down_and_then_up_again() -> None:
    port = unused_port()
    async with running(f"http://127.0.0.1:{port}") as (traces, lines):
        traces.record(RECORD)
        await eventually(lambda: traces.counts.failed.get("refused", 0) >= 3)
        async with Collector(port) as collector:
            await collector.got(4)
            traces.record(RECORD)
            await collector.got(8)
        traces.record(RECORD)
        failed = traces.counts.failed["refused"]
        await eventually(lambda: traces.counts.failed["refused"] > failed + 2)
        async with Collector(port) as collector:
            await collector.got(4)
    assert traces.counts.dropped == {}
    assert len([line for line in lines.lines if line[0] == "spans are not exported"]) == 2


async def test_a_batch_is_given_up_in_the_end() -> None:
    async with Collector() as collector:
        collector.answers = [answering(503)] * 10_000
        async with running(collector.url, replaced(QUICK, give_up_s=0.05)) as (traces, _):
            traces.record(RECORD)
            await eventually(lambda: traces.counts.dropped == {"undelivered": 1})


async def test_a_collector_may_ask_to_wait() -> None:
    async with Collector() as collector:
        collector.answers = [answering(429, headers={"Retry-After": "1"})]
        async with running(collector.url) as (traces, _):
            began = asyncio.get_running_loop().time()
            traces.record(RECORD)
            await collector.got(4)
            assert asyncio.get_running_loop().time() - began >= 1.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-7", 0.0),
        ("99999999999999999999", MAX_RETRY_AFTER_S),
        ("٣", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        pytest.param(
            format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True),
            MAX_RETRY_AFTER_S,
            id="in nine days",
        ),
        ("Thu, 99 Jan 1970", 0.0),
    ],
)
def test_how_long_a_collector_asks_to_wait(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_waiting_times_double_up_to_a_bound() -> None:
    backoff = Backoff(1.0, 5.0)
    bounds = [1.0, 2.0, 4.0, 5.0, 5.0]
    assert all(bound / 2 <= backoff.next_s() <= bound for bound in bounds)
    backoff.reset()
    assert backoff.next_s() <= 1.0


# Addresses


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ("https://c/v1/traces/", "https://c/v1/traces/"),
        ("https://c?key=a%2Bb", "https://c/v1/traces?key=a%2Bb"),
        ("https://u:p@c/x", "https://c/x"),
    ],
)
def test_where_spans_are_sent(address: str, asked: str) -> None:
    assert str(Target(address).url) == asked


async def test_credentials_of_the_address_are_used_and_never_told() -> None:
    async with Collector() as collector:
        collector.answers = [answering(503)]
        address = collector.url.replace("http://", "http://me:s3cret@") + "/p4th?api-key=t0ken"
        async with running(address) as (traces, lines):
            traces.record(RECORD)
            await collector.got(4)
            await eventually(lambda: len(lines.lines) == 2)
    target, headers = collector.requests[1]
    assert target == "/p4th?api-key=t0ken"
    assert headers["Authorization"] == "Basic bWU6czNjcmV0"
    assert {fields["collector"] for _, fields in lines.lines} == {collector.url}


@pytest.mark.parametrize(
    "address", ["http://h:99999/s3cret", "http://s3cret@:1", "nonsense s3cret"]
)
async def test_a_bad_address_is_told_without_its_text(address: str) -> None:
    async with running(address) as (traces, lines):
        traces.record(RECORD)
    assert len(lines.lines) <= 2
    assert "s3cret" not in repr(lines.lines)


def test_the_counts_for_prometheus() -> None:
    traces = Traces(Lines(), QUICK)
    traces.counts.exported = 7
    traces.counts.drop("queue_full", 2)
    traces.counts.fail("timeout")
    families = {
        each.name: {tuple(s.labels.values()): s.value for s in each.samples}
        for each in text_string_to_metric_families("".join(trace_families(traces.counts)))
    }
    assert families == {
        "banyan_spans_exported": {(): 7},
        "banyan_spans_rejected": {(): 0},
        "banyan_traces_dropped": {("queue_full",): 2},
        "banyan_span_exports_failed": {("timeout",): 1},
    }
