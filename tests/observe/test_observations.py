"""Log lines about single observations: an example, rarely, and nothing secret."""

import pytest
import structlog
from structlog.testing import capture_logs

from proxy.core.divergences import DifferenceRecord, Divergence, SideRecord
from proxy.core.messages import ExchangeRecord, Observation
from proxy.core.model import Side
from proxy.observe.assessing import Assessment
from proxy.observe.observations import (
    COMPARATOR_FAILED,
    DIVERGENCE,
    FAILED_EXCHANGE,
    LINES_AN_INTERVAL,
    ROUTE_INTERVAL_S,
    Observations,
)

OK = ExchangeRecord(200, 1.23456)
TIMED_OUT = ExchangeRecord(0, 30_000.0, "timeout: no headers within 30 s")
CANCELLED = ExchangeRecord(0, 3.0, "cancelled: the client left")


def observation(
    route: str = "orders",
    equal: bool | None = False,
    legacy: ExchangeRecord = OK,
    new: ExchangeRecord = OK,
    target: str = "/api/orders/7",
) -> Observation:
    return Observation(
        at=1.0,
        route=route,
        method="GET",
        target=target,
        phase=-1,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        authoritative=Side.LEGACY,
        legacy=legacy,
        new=new,
        equal=equal,
    )


def taker() -> Observations:
    return Observations(structlog.get_logger())


def assessment(result: str, seen: Observation, *differences: DifferenceRecord) -> Assessment:
    record = SideRecord(200, 1.0)
    divergence = Divergence(
        *("id", 1.0, seen.route, "GET", seen.target, "shadow-read", seen.trace_id, result),
        record,
        record,
        differences,
    )
    return Assessment(result, seen, divergence, "why")


@pytest.mark.parametrize(
    ("seen", "events"),
    [
        (observation(equal=True), []),
        (observation(equal=None), []),
        (observation(equal=False), []),
        (observation(equal=None, new=TIMED_OUT), [FAILED_EXCHANGE]),
        (observation(equal=False, new=TIMED_OUT), [FAILED_EXCHANGE]),
        (observation(equal=None, new=CANCELLED), []),
    ],
)
def test_what_a_worker_saw_is_told_where_a_side_failed(
    seen: Observation, events: list[str]
) -> None:
    with capture_logs() as lines:
        taker().take(seen, 0.0)
    assert [line["event"] for line in lines] == events


@pytest.mark.parametrize(
    ("result", "events"),
    [
        ("divergent", [DIVERGENCE]),
        ("noise", []),
        ("equal", []),
        ("unverified", []),
        ("comparator_failed", [COMPARATOR_FAILED]),
    ],
)
def test_what_a_comparison_came_to_is_told_where_it_counts(result: str, events: list[str]) -> None:
    with capture_logs() as lines:
        taker().assessed(assessment(result, observation()), 0.0)
    assert [line["event"] for line in lines] == events


def test_a_failed_exchange_is_told_once_and_not_as_a_divergence_too() -> None:
    with capture_logs() as lines:
        taken = taker()
        taken.take(observation(new=TIMED_OUT), 0.0)
        taken.assessed(assessment("divergent", observation(new=TIMED_OUT)), 0.0)
    assert [line["event"] for line in lines] == [FAILED_EXCHANGE]


def test_a_line_is_an_example_that_can_be_traced() -> None:
    with capture_logs() as lines:
        found = assessment(
            "divergent",
            observation(new=ExchangeRecord(500, 2.0)),
            DifferenceRecord("$.at", "value", "1", "2", noise=True),
            DifferenceRecord("status", "failure", "200", "500"),
        )
        taker().assessed(found, 0.0)
    assert lines == [
        {
            "event": "divergence",
            "log_level": "warning",
            "route": "orders",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "method": "GET",
            "path": "/api/orders/7",
            "phase": "shadow-read",
            "authoritative": "legacy",
            "legacy": {"status": 200, "ms": 1.235},
            "new": {"status": 500, "ms": 2.0},
            "count": 1,
            "differs": ["status failure"],
        }
    ]


def test_a_failure_is_named() -> None:
    with capture_logs() as lines:
        taker().take(observation(new=TIMED_OUT), 0.0)
    assert lines[0]["event"] == "failed_exchange"
    assert lines[0]["new"]["status"] is None
    assert lines[0]["new"]["failure"].startswith("timeout")


def test_a_query_string_never_reaches_the_log() -> None:
    with capture_logs() as lines:
        taker().take(observation(new=TIMED_OUT, target="/login?token=secret"), 0.0)
    assert lines
    assert "secret" not in str(lines)


def test_a_route_speaks_once_an_interval_and_says_how_many_there_were() -> None:
    taken = taker()
    counts = [
        (now, line.count)
        for now in (0.0, 1.0, 2.0, ROUTE_INTERVAL_S, 11.0, 2 * ROUTE_INTERVAL_S)
        if (line := taken.line(DIVERGENCE, observation(), now))
    ]
    assert counts == [(0.0, 1), (ROUTE_INTERVAL_S, 3), (2 * ROUTE_INTERVAL_S, 2)]


def test_routes_and_events_do_not_silence_each_other() -> None:
    taken = taker()
    assert taken.line(DIVERGENCE, observation("a"), 0.0)
    assert taken.line(DIVERGENCE, observation("b"), 0.0)
    assert taken.line(FAILED_EXCHANGE, observation("a"), 0.0)
    assert not taken.line(DIVERGENCE, observation("a"), 0.0)


def test_very_many_routes_share_a_bound_and_none_is_forgotten() -> None:
    taken = taker()
    spoken = [
        taken.line(DIVERGENCE, observation(f"r{n}"), 0.0) for n in range(LINES_AN_INTERVAL + 5)
    ]
    assert sum(line is not None for line in spoken) == LINES_AN_INTERVAL
    late = taken.line(DIVERGENCE, observation(f"r{LINES_AN_INTERVAL}"), ROUTE_INTERVAL_S)
    assert late is not None
    assert late.count == 2


def test_a_removed_route_is_forgotten() -> None:
    taken = taker()
    taken.line(DIVERGENCE, observation("gone"), 0.0)
    taken.line(DIVERGENCE, observation("stays"), 0.0)
    taken.retain(["stays"])
    assert taken.line(DIVERGENCE, observation("gone"), 1.0)
    assert not taken.line(DIVERGENCE, observation("stays"), 1.0)
