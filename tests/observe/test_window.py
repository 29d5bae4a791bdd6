"""The sliding window of a route: counts that leave it, quantiles, bounds."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.messages import LATENCY_BOUNDS_S, Counts
from proxy.observe.window import (
    MAX_REASONS,
    SLOT_S,
    SLOTS,
    Errors,
    Quantiles,
    Reasons,
    RollingWindow,
    Window,
    cells_of,
    quantiles,
    quantiles_s,
)

START = 1000.0


class Watched:
    """A window with its reasons, fed with Counts."""

    def __init__(self) -> None:
        self.reasons = Reasons()
        self.window = RollingWindow()

    def add(self, counts: Counts, now: float) -> None:
        self.window.add(cells_of(counts, self.reasons), now)

    def look(self, now: float, since: float = START) -> Window:
        return self.window.look(self.reasons, now, since)


def test_every_count_of_a_report_is_shown() -> None:
    watched = Watched()
    watched.add(
        Counts(
            "orders",
            client_requests=10,
            eligible=8,
            comparisons={"equal": 3, "divergent": 1, "noise": 2},
            errors={"legacy": 2, "new": 3},
            skipped={"sampled_out": 2, "too_large": 1},
            latency={"legacy": {0: 10}},
        ),
        START,
    )
    window = watched.look(START + 5)
    assert window.requests == 10
    assert window.comparisons == 6
    assert window.divergences == 1
    assert window.coverage == 0.75
    assert window.errors == Errors(legacy=2, new=3)
    assert window.skipped == {"sampled_out": 2, "too_large": 1}
    assert window.latency_ms.legacy.p50 == pytest.approx(0.05)
    assert window.latency_ms.new == Quantiles(None, None, None)


def test_what_could_not_be_judged_is_no_parity_and_shown_apart() -> None:
    watched = Watched()
    failed = {"both_failed": 6, "comparator_failed": 3}
    watched.add(Counts("r", eligible=9, comparisons=failed), START)
    window = watched.look(START)
    assert (window.comparisons, window.divergences, window.coverage) == (0, 0, 0.0)
    assert window.skipped == failed


def test_an_empty_window_has_no_coverage_and_no_latency() -> None:
    window = Watched().look(START + 1)
    assert window.coverage is None
    assert window.latency_ms.new.p99 is None
    assert window.requests_per_s == 0


def test_counts_leave_after_five_minutes() -> None:
    watched = Watched()
    watched.add(Counts("r", client_requests=1, skipped={"a": 1}), START)
    watched.add(Counts("r", client_requests=2), START + 60)
    assert watched.look(START + 299).requests == 3
    assert watched.look(START + 300).requests == 2
    assert watched.look(START + 300).skipped == {}
    assert not watched.window.empty(START + 300)
    assert watched.look(START + 360).requests == 0
    assert watched.window.empty(START + 360)


def test_the_window_covers_no_more_than_the_time_since_the_start() -> None:
    watched = Watched()
    assert watched.look(START + 3).seconds == 3
    assert watched.look(START + 3000).seconds == pytest.approx(290, abs=10)


def test_the_rate_is_that_of_the_last_two_slots() -> None:
    watched = Watched()
    watched.add(Counts("r", client_requests=900), START)
    watched.add(Counts("r", client_requests=100), START + 100)
    watched.add(Counts("r", client_requests=50), START + 110)
    assert watched.look(START + 115).requests_per_s == 10
    assert watched.look(START + 200).requests_per_s == 0


def test_the_first_request_after_a_start_is_no_burst() -> None:
    watched = Watched()
    watched.add(Counts("r", client_requests=1), START + 0.001)
    assert watched.look(START + 0.001).requests_per_s == 1


def test_a_late_eligible_count_never_shows_more_than_full_coverage() -> None:
    watched = Watched()
    watched.add(Counts("r", eligible=1, comparisons={"equal": 2}), START)
    assert watched.look(START).coverage == 1.0


def test_reasons_are_bounded() -> None:
    watched = Watched()
    for number in range(MAX_REASONS * 2):
        watched.add(Counts("r", skipped={f"reason-{number}": 1}), START)
    skipped = watched.look(START).skipped
    assert len(skipped) == MAX_REASONS
    assert sum(skipped.values()) == MAX_REASONS * 2
    assert skipped["other"] == MAX_REASONS + 1


def test_a_busy_window_stays_small() -> None:
    watched = Watched()
    for slot in range(SLOTS * 3):
        latency = {"legacy": {30 + i: 5 for i in range(8)}, "new": {30 + i: 5 for i in range(8)}}
        counts = Counts("r", client_requests=40, comparisons={"equal": 40}, latency=latency)
        watched.add(counts, START + slot * SLOT_S)
    closed = watched.window._closed
    assert len(closed) == SLOTS - 1
    assert sum(sys.getsizeof(slot.packed) for slot in closed) < 6_000


@given(
    st.lists(
        st.tuples(
            st.floats(0, 900), st.integers(0, 5), st.dictionaries(st.integers(0, 74), st.just(1))
        ),
        max_size=40,
    ),
    st.floats(0, 400),
)
def test_the_running_total_is_the_sum_of_what_is_in_the_window(
    reports: list[tuple[float, int, dict[int, int]]], later: float
) -> None:
    watched = Watched()
    reports.sort(key=lambda report: report[0])
    for at, requests, latency in reports:
        watched.add(Counts("r", client_requests=requests, latency={"new": latency}), START + at)
    now = START + (reports[-1][0] if reports else 0) + later
    oldest = now // SLOT_S - SLOTS
    inside = [report for report in reports if (START + report[0]) // SLOT_S > oldest]
    assert watched.look(now).requests == sum(report[1] for report in inside)
    merged: dict[int, int] = {}
    for _, _, latency in inside:
        for bucket, count in latency.items():
            merged[bucket] = merged.get(bucket, 0) + count
    assert watched.look(now).latency_ms.new == quantiles(merged)


@given(
    st.lists(st.floats(1.001e-4, 60), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99])
)
def test_a_quantile_is_within_its_bucket_of_the_exact_one(
    samples: list[float], share: float
) -> None:
    buckets: dict[int, int] = {}
    for seconds in samples:
        index = next(i for i, bound in enumerate(LATENCY_BOUNDS_S) if seconds <= bound)
        buckets[index] = buckets.get(index, 0) + 1
    exact = sorted(samples)[max(int(-(-share * len(samples) // 1)) - 1, 0)]
    assert quantiles_s(buckets, [share])[0] == pytest.approx(exact, rel=0.21)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantiles_s({len(LATENCY_BOUNDS_S): 3}, [0.5, 0.99]) == [LATENCY_BOUNDS_S[-1]] * 2
