"""The counters since the start: what is added, what the exposition says, how labels are bounded."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.messages import LATENCY_BOUNDS_S, Counts, Report
from proxy.core.model import DUAL_WRITE, Phase, RouteState, Side
from proxy.observe.fleet import Fleet
from proxy.observe.metrics import (
    FORGET_AFTER_S,
    LE_BOUNDS,
    LE_INDICES,
    LE_OF_BUCKET,
    MAX_SERIES,
    SKIPPED_MARK,
    Aggregator,
    code_label,
    phase_label,
)

NO_FLEET = Fleet(states={}, generation=1, config_errors=0)


def aggregator(*routes: str) -> Aggregator:
    made = Aggregator(started=0.0)
    made.retain(routes or ("orders",), 0.0)
    return made


def families(made: Aggregator, fleet: Fleet = NO_FLEET, now: float = 1.0) -> dict[str, Metric]:
    text = "".join(made.prometheus(fleet, now))
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_reports_of_all_workers_are_added_up() -> None:
    made = aggregator()
    for slot in (0, 1):
        counts = Counts(
            "orders",
            client_requests=3,
            requests={"shadow-read|legacy|200": 3, "-1|new|timeout": 1},
            comparisons={"equal": 1, "new_failed": 2, "differing": 7, "control_equal": 3},
            errors={"new": 1},
            skipped={"max_body": 1},
            events={"fallback": 1, "sticky_missing": 2},
            eligible=3,
        )
        report = Report(
            slot,
            counts=[counts],
            observations_dropped=1,
            refused={"431": 1},
            connections={"client": 5, "legacy": 2},
        )
        made.apply(report, 1.0)
    found = families(made)
    assert samples(found["banyan_client_requests"]) == {("orders",): 6}
    assert samples(found["banyan_requests"]) == {
        ("orders", "shadow-read", "legacy", "200"): 6,
        ("orders", "shadow-read", "new", "timeout"): 2,
    }
    assert samples(found["banyan_comparisons"]) == {
        ("orders", "equal"): 2,
        ("orders", "divergent"): 4,
    }
    assert samples(found["banyan_comparisons_eligible"]) == {("orders",): 6}
    assert samples(found["banyan_errors"]) == {("orders", "new"): 2}
    assert samples(found["banyan_skipped"]) == {("orders", "max_body"): 2}
    assert samples(found["banyan_events"]) == {
        ("orders", "fallback"): 2,
        ("orders", "sticky_missing"): 4,
    }
    assert samples(found["banyan_refused"]) == {("431",): 2}
    assert samples(found["banyan_connections"]) == {("client",): 10, ("legacy",): 4}
    assert samples(found["banyan_observations_dropped"]) == {(): 2}


def test_connections_are_the_last_ones_reported_and_go_with_their_worker() -> None:
    made = aggregator()
    made.apply(Report(0, connections={"client": 5}), 1.0)
    made.apply(Report(0, connections={"client": 2}), 2.0)
    made.apply(Report(1, connections={"client": 1}), 2.0)
    assert samples(families(made)["banyan_connections"]) == {("client",): 3}
    made.disconnected(0)
    assert samples(families(made)["banyan_connections"]) == {("client",): 1}


def test_counters_survive_the_worker_that_counted() -> None:
    made = aggregator()
    made.apply(Report(0, counts=[Counts("orders", client_requests=5)]), 1.0)
    made.disconnected(0)
    made.apply(Report(0, counts=[Counts("orders", client_requests=1)]), 2.0)
    assert samples(families(made)["banyan_client_requests"]) == {("orders",): 6}


def test_durations_are_a_histogram_whose_bounds_are_real_ones() -> None:
    made = aggregator()
    below_all, above_all = 0, len(LATENCY_BOUNDS_S)
    at_bound, past_bound = LE_INDICES[3], LE_INDICES[3] + 1
    latency = {"new": {below_all: 1, at_bound: 2, past_bound: 4, above_all: 8}}
    counts = Counts("orders", latency=latency, latency_sum_s={"new": 2.5})
    made.apply(Report(0, counts=[counts]), 1.0)
    found = families(made)["banyan_request_duration_seconds"]
    by_le = {s.labels["le"]: s.value for s in found.samples if s.name.endswith("_bucket")}
    assert list(by_le) == [*LE_BOUNDS, "+Inf"]
    assert by_le[LE_BOUNDS[0]] == 1
    assert by_le[LE_BOUNDS[2]] == 1
    assert by_le[LE_BOUNDS[3]] == 3
    assert by_le[LE_BOUNDS[4]] == 7
    assert by_le[LE_BOUNDS[-1]] == 7
    assert by_le["+Inf"] == 15
    rest = {s.name.rpartition("_")[2]: s.value for s in found.samples if "le" not in s.labels}
    assert rest == {"sum": 2.5, "count": 15}


def test_each_bucket_counts_below_the_first_bound_that_holds_it() -> None:
    for bucket, le in enumerate(LE_OF_BUCKET[:-1]):
        above = [i for i, index in enumerate(LE_INDICES) if bucket <= index]
        assert le == (above[0] if above else len(LE_INDICES))


def test_the_fleet_is_shown() -> None:
    states = {
        "orders": RouteState.of_phase(Phase(25)),
        "users": RouteState(DUAL_WRITE, Side.LEGACY, missed=frozenset({Side.NEW})),
    }
    fleet = Fleet(
        states=states,
        generation=7,
        config_errors=2,
        pending={"users"},
        workers={0: True, 1: False},
        restarts={1: 3},
    )
    found = families(aggregator(), fleet)
    assert samples(found["banyan_phase"]) == {("orders", "25%"): 1, ("users", "dual-write"): 1}
    assert samples(found["banyan_missed"]) == {("users", "new"): 1}
    assert samples(found["banyan_move_pending"]) == {("users",): 1}
    assert samples(found["banyan_config_generation"]) == {(): 7}
    assert samples(found["banyan_config_errors"]) == {(): 2}
    assert samples(found["banyan_worker_up"]) == {("0",): 1, ("1",): 0}
    assert samples(found["banyan_worker_restarts"]) == {("1",): 3}


def test_a_removed_route_is_dropped_after_a_while() -> None:
    made = aggregator("orders", "users")
    made.apply(Report(0, counts=[Counts("orders", client_requests=1)]), 1.0)
    made.retain(["users"], 10.0)
    made.apply(Report(0, counts=[Counts("orders", client_requests=1)]), 11.0)
    last = 10.0 + FORGET_AFTER_S
    assert samples(families(made, now=last - 1)["banyan_client_requests"]) == {("orders",): 2}
    assert samples(families(made, now=last)["banyan_client_requests"]) == {}
    assert made.window("orders", last).requests == 0


def test_a_route_that_returns_in_time_keeps_its_counts() -> None:
    made = aggregator("orders")
    made.apply(Report(0, counts=[Counts("orders", client_requests=1)]), 1.0)
    made.retain([], 10.0)
    made.retain(["orders"], 20.0)
    later = 20.0 + 2 * FORGET_AFTER_S
    assert samples(families(made, now=later)["banyan_client_requests"]) == {("orders",): 1}


def test_a_route_of_no_table_makes_no_label() -> None:
    made = aggregator("orders")
    made.apply(Report(0, counts=[Counts("../../etc", client_requests=1)]), 1.0)
    found = families(made)
    assert samples(found["banyan_client_requests"]) == {}
    assert samples(found["banyan_unknown_route"]) == {(): 1}


def test_series_of_one_route_are_bounded() -> None:
    made = aggregator()
    for number in range(MAX_SERIES * 2):
        requests = {f"{number % 100}%|new|{100 + number % 500}": 1}
        counts = Counts("orders", requests=requests, skipped={f"reason-{number}": 1})
        made.apply(Report(0, counts=[counts], refused={f"refusal-{number}": 1}), 1.0)
    found = families(made)
    assert len(samples(found["banyan_requests"])) <= MAX_SERIES + 100
    assert sum(samples(found["banyan_requests"]).values()) == MAX_SERIES * 2
    for name in ("banyan_skipped", "banyan_refused"):
        assert len(samples(found[name])) == MAX_SERIES + 1
        assert sum(samples(found[name]).values()) == MAX_SERIES * 2


def test_labels_are_phases_statuses_and_kinds_of_failure_only() -> None:
    assert [phase_label(text) for text in ("-2", "25", "25%", "101", "new-only")] == [
        "legacy-only",
        "25%",
        "25%",
        "new-only",
        "new-only",
    ]
    assert {phase_label(text) for text in ("", "102", "-3", "250%", "x")} == {"other"}
    assert [code_label(text) for text in ("200", "599", "timeout")] == ["200", "599", "timeout"]
    assert {code_label(text) for text in ("", "0", "600", "99", "²00", "2000", "x")} == {"other"}


def test_the_window_of_a_quiet_route_says_how_long_it_was_watched() -> None:
    made = aggregator()
    assert made.window("orders", 4.0).seconds == 4.0
    made.apply(Report(0, counts=[Counts("orders", client_requests=3)]), 5.0)
    assert made.window("orders", 5.0).requests == 3
    families(made, now=1000.0)
    assert made.window("orders", 1000.0).requests == 0


def test_what_comparers_found_is_counted_and_shows_in_the_window() -> None:
    made = aggregator()
    made.apply(Report(0, counts=[Counts("orders", comparisons={"equal": 4}, eligible=10)]), 1.0)
    for result in ("equal", "divergent", "noise", "comparator_failed"):
        made.judged("orders", result, 1.0)
    made.judged("orders", f"{SKIPPED_MARK}unverified", 1.0)
    made.judged("orders", f"{SKIPPED_MARK}comparer_busy", 1.0, 2)
    made.judged("gone", "divergent", 1.0)
    found = families(made)
    assert samples(found["banyan_comparisons"]) == {
        ("orders", "equal"): 5,
        ("orders", "divergent"): 1,
        ("orders", "noise"): 1,
        ("orders", "comparator_failed"): 1,
    }
    assert samples(found["banyan_skipped"]) == {
        ("orders", "unverified"): 1,
        ("orders", "comparer_busy"): 2,
    }
    window = made.window("orders", 2.0)
    assert (window.comparisons, window.divergences, window.coverage) == (7, 1, 0.7)
