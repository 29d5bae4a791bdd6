"""Log lines about single observations: an example, rarely, and nothing secret."""

import pytest
import structlog
from structlog.testing import capture_logs

from proxy.core.messages import ExchangeRecord, Observation
from proxy.core.model import Side
from proxy.observe.observations import (
    DIVERGENCE,
    FAILED_EXCHANGE,
    LINES_AN_INTERVAL,
    ROUTE_INTERVAL_S,
    Observations,
    event_of,
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


@pytest.mark.parametrize(
    ("seen", "event"),
    [
        (observation(equal=True), None),
        (observation(equal=None), None),
        (observation(equal=False), DIVERGENCE),
        (observation(equal=None, new=TIMED_OUT), FAILED_EXCHANGE),
        (observation(equal=False, new=TIMED_OUT), FAILED_EXCHANGE),
        (observation(equal=None, new=CANCELLED), None),
    ],
)
def test_what_is_told(seen: Observation, event: str | None) -> None:
    assert event_of(seen) == event


def test_a_line_is_an_example_that_can_be_traced() -> None:
    with capture_logs() as lines:
        taker().take([observation(new=ExchangeRecord(500, 2.0))], 0.0)
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
        }
    ]


def test_a_failure_is_named() -> None:
    with capture_logs() as lines:
        taker().take([observation(new=TIMED_OUT)], 0.0)
    assert lines[0]["event"] == "failed_exchange"
    assert lines[0]["new"]["status"] is None
    assert lines[0]["new"]["failure"].startswith("timeout")


def test_a_query_string_never_reaches_the_log() -> None:
    with capture_logs() as lines:
        taker().take([observation(target="/login?token=secret")], 0.0)
    assert "secret" not in str(lines)


def test_a_route_speaks_once_an_interval_and_says_how_many_there_were() -> None:
    taken = taker()
    counts = [
        (now, line.count)
        for now in (0.0, 1.0, 2.0, ROUTE_INTERVAL_S, 11.0, 2 * ROUTE_INTERVAL_S)
        if (line := taken.line(observation(), now))
    ]
    assert counts == [(0.0, 1), (ROUTE_INTERVAL_S, 3), (2 * ROUTE_INTERVAL_S, 2)]


def test_routes_and_events_do_not_silence_each_other() -> None:
    taken = taker()
    assert taken.line(observation("a"), 0.0)
    assert taken.line(observation("b"), 0.0)
    assert taken.line(observation("a", new=TIMED_OUT), 0.0)
    assert not taken.line(observation("a"), 0.0)


def test_very_many_routes_share_a_bound_and_none_is_forgotten() -> None:
    taken = taker()
    spoken = [taken.line(observation(f"r{n}"), 0.0) for n in range(LINES_AN_INTERVAL + 5)]
    assert sum(line is not None for line in spoken) == LINES_AN_INTERVAL
    late = taken.line(observation(f"r{LINES_AN_INTERVAL}"), ROUTE_INTERVAL_S)
    assert late is not None
    assert late.count == 2


def test_a_removed_route_is_forgotten() -> None:
    taken = taker()
    taken.line(observation("gone"), 0.0)
    taken.line(observation("stays"), 0.0)
    taken.retain(["stays"])
    assert taken.line(observation("gone"), 1.0)
    assert not taken.line(observation("stays"), 1.0)
