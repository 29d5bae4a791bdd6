"""The judge: what it finds, when, and what it never takes for a change."""

import math
import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.detection import SLOT_S, SLOTS, WIDE, Detector, Rate, rates_above
from proxy.core.guard import STALE_S, RouteGuard
from proxy.core.policy import LatencyRule, Revert

ALPHA = 1e-6


def guard(**changed: object) -> RouteGuard:
    return RouteGuard(Revert(**changed), began_at=0.0)  # type: ignore[arg-type]


def feed(detector: Detector, rate: float, trials: int, seed: int, start: float = 0.0) -> int | None:
    """Trials at a rate, four a second; after how many there was an alarm."""
    chance = random.Random(seed)
    for number in range(trials):
        is_bad = chance.random() < rate
        detector.add(start + number * SLOT_S, not is_bad, is_bad)
        if detector.look():
            return number + 1
    return None


@pytest.mark.parametrize("threshold", [0.001, 0.01, 0.02, 0.1, 0.5])
def test_what_is_wholly_broken_is_found_within_the_bound_and_two(threshold: float) -> None:
    bound = math.log(1 / ALPHA) / -math.log(threshold)
    found = feed(Detector(threshold, ALPHA), 1.0, 1000, 0)
    assert found is not None
    assert found <= max(1.3 * bound, bound + 2)


def test_ten_times_the_threshold_is_found_in_about_a_hundred_trials() -> None:
    found = sorted(feed(Detector(0.01, ALPHA), 0.1, 10_000, seed) or 0 for seed in range(40))
    assert 60 < found[20] < 125


def test_half_the_threshold_is_no_alarm() -> None:
    assert feed(Detector(0.01, ALPHA), 0.005, 100_000, 3) is None


@pytest.mark.parametrize("batch", [1, 3])
def test_the_statistic_less_the_trials_is_a_martingale(batch: int) -> None:
    # What the promise on false alarms rests on, over every sequence that can be.
    threshold, trials = 0.3, 9
    mean = 0.0
    for outcome in product((True, False), repeat=trials):
        detector = Detector(threshold, ALPHA)
        for number, is_bad in enumerate(outcome):
            detector.add(number // batch * SLOT_S, not is_bad, is_bad)
        bad = sum(outcome)
        mean += threshold**bad * (1 - threshold) ** (trials - bad) * detector.statistic()
    assert mean / len(rates_above(threshold)) == pytest.approx(trials)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(0, 3)), max_size=20),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_trials_are_told_does_not_matter(
    trials: list[tuple[int, int, int]], chance: random.Random
) -> None:
    one, other = Detector(0.05, ALPHA), Detector(0.05, ALPHA)
    for slot, good, bad in sorted(trials):
        one.add(slot * SLOT_S, good, bad)
    chance.shuffle(trials)
    for slot, good, bad in trials:
        other.add(slot * SLOT_S, good, bad)
    assert other.statistic() == pytest.approx(one.statistic())


def test_bad_ones_that_come_late_are_no_run() -> None:
    # Each slot has 100 trials of which one is bad, and the bad ones come two seconds later: when
    # traffic ends, the last ones come alone.
    detector = Detector(0.02, ALPHA)
    for slot in range(400):
        detector.add(slot * SLOT_S, 99, 0)
        if slot >= 8:
            detector.add((slot - 8) * SLOT_S, 0, 1)
        assert not detector.look()
    for slot in range(392, 400):
        detector.add(slot * SLOT_S, 0, 1)
        assert not detector.look()


@pytest.mark.parametrize("delay_s", [10, 30, 120])
def test_time_outs_at_half_the_threshold_are_no_run_although_traffic_ends(delay_s: int) -> None:
    # A busy minute, then next to nobody; who timed out in that minute is told of long after it.
    detector, late = Detector(0.02, ALPHA), int(delay_s / SLOT_S)
    for slot in range(240):
        detector.add(slot * SLOT_S, 99, 0)
        if slot >= late:
            detector.add((slot - late) * SLOT_S, 0, 1)
        assert not detector.look()
    for slot in range(max(240, late), 240 + late):
        detector.add(slot * SLOT_S, 1, 0)
        detector.add((slot - late) * SLOT_S, 0, 1)
        assert not detector.look()
    detector.add((240 + late) * SLOT_S, 0, 20)
    assert detector.look()


def test_what_convicts_is_told_from_where_it_began() -> None:
    judge = guard(divergence=0.05, min_samples=100)
    for slot in range(200):
        judge.compared(43_200 + slot * SLOT_S, 25, 0)
    for slot in range(200, 206):
        judge.compared(43_200 + slot * SLOT_S, 15, 10)
    verdict = judge.verdict(43_260.0, compares=True)
    assert verdict.evidence == (
        "60 of 150 comparisons diverged since 12:00:50 UTC (40%, 5% is declared)."
    )


def test_of_a_divergence_the_failures_of_new_are_told_as_well() -> None:
    judge = guard(divergence=0.05, errors=0.9, min_samples=100)
    for slot in range(8):
        judge.compared(slot * SLOT_S, 10, 10)
        judge.asked(slot * SLOT_S, 10, 10)
    evidence = judge.verdict(3.0, compares=True).evidence
    assert "80 of 160 comparisons diverged since 00:00:00 UTC (50%, 5% is declared); " in evidence
    assert "80 of 160 recent requests were failed by new alone (50%, 90% is declared)" in evidence


def test_what_is_very_late_counts_with_the_oldest() -> None:
    detector = Detector(0.02, ALPHA)
    for slot in range(0, 3 * SLOTS * WIDE, WIDE):
        detector.add(slot * SLOT_S, 10, 0)
    detector.add(0.0, 0, 1)
    assert 0 < detector.statistic() < 1e6
    detector.add(0.0, 0, 99)
    oldest = 2 * SLOTS * WIDE * SLOT_S
    assert detector.change() == (100, 10 * SLOTS + 100, oldest)


@pytest.mark.parametrize("false_alarm", [1e-12, 1e-300, 5e-324])
def test_however_seldom_a_false_alarm_may_be_what_is_broken_is_found(false_alarm: float) -> None:
    found = feed(Detector(0.01, false_alarm), 1.0, 1000, 1)
    assert found is not None
    assert found < 200


def test_numbers_beyond_a_float_are_an_alarm_and_no_error() -> None:
    detector = Detector(0.01, ALPHA)
    for slot in range(10):
        detector.add(slot * SLOT_S, 0, 1_000_000)
    assert detector.look()
    detector.add(10 * SLOT_S, 10**9, 0)
    assert detector.look()


@pytest.mark.parametrize("threshold", [1e-6, 0.01, 0.5, 0.9, 0.99])
def test_worse_rates_rise_from_above_the_threshold(threshold: float) -> None:
    rates = rates_above(threshold)
    assert threshold < rates[0]
    assert rates == sorted(rates)
    assert rates[-1] < 1


def test_the_upper_limit_of_a_rate_covers_it() -> None:
    chance = random.Random(1)
    missed = 0
    for _ in range(500):
        rate = Rate(0.01)
        for _ in range(20):
            bad = sum(chance.random() < 0.02 for _ in range(50))
            rate.add(50 - bad, bad)
        missed += rate.upper() < 0.02
    assert missed / 500 < 0.09  # 5 % is meant


def test_a_rate_forgets() -> None:
    rate = Rate(0.01)
    rate.add(0, 20_000)
    rate.add(10_000_000, 0)
    for _ in range(40):
        rate.add(10_000, 0)
    assert rate.trials < 40_000
    assert rate.upper() < 0.001


# Verdicts


def test_nothing_is_inconclusive() -> None:
    verdict = guard().verdict(0.0, compares=True)
    assert (verdict.state, verdict.cause) == ("inconclusive", "")
    assert "not been asked" in verdict.evidence


def test_no_traffic_any_more_is_inconclusive() -> None:
    judge = guard()
    judge.compared(10.0, 5000, 0)
    judge.asked(10.0, 5000, 0)
    assert judge.verdict(11.0, compares=True).state == "passing"
    verdict = judge.verdict(10.0 + STALE_S + 61, compares=True)
    assert verdict.state == "inconclusive"
    assert "for 6 minutes" in verdict.evidence


def test_before_min_samples_nothing_fails() -> None:
    judge = guard(min_samples=20)
    judge.compared(1.0, 0, 19)
    judge.asked(1.0, 19, 0)
    verdict = judge.verdict(1.0, compares=True)
    assert verdict.state == "inconclusive"
    assert "19 of the 20 trials" in verdict.evidence
    judge.compared(1.0, 0, 1)
    assert judge.verdict(1.0, compares=True).state == "failing"


@pytest.mark.parametrize(
    ("trials", "bad", "state"),
    [
        (100, 0, "inconclusive"),
        (300, 0, "passing"),
        (5000, 20, "passing"),
        (5000, 48, "inconclusive"),
    ],
)
def test_passing_takes_evidence(trials: int, bad: int, state: str) -> None:
    judge = guard(errors=None)
    for slot in range(10):
        judge.compared(slot * SLOT_S, (trials - bad) // 10, bad // 10)
    assert judge.verdict(3.0, compares=True).state == state


def test_errors_alone_are_judged_where_nothing_is_compared() -> None:
    judge = guard()
    judge.asked(1.0, 5000, 0)
    assert judge.verdict(1.0, compares=False).state == "passing"
    assert judge.verdict(1.0, compares=True).state == "inconclusive"
    for slot in range(40):
        judge.asked(2.0 + slot, 0, 10)
    assert judge.verdict(42.0, compares=False) == judge.verdict(42.0, compares=False)
    assert judge.verdict(42.0, compares=False).cause == "errors"


def test_what_fails_is_well_again_only_on_evidence_of_a_while() -> None:
    judge = guard(errors=None)

    def state(at: float, good: int, bad: int) -> str:
        judge.compared(at, good, bad)
        return judge.verdict(at, compares=True).state

    assert state(1.0, 0, 30) == "failing"
    assert state(2.0, 100_000, 0) == "failing", "it may be back in a moment"
    assert state(30.0, 0, 30) == "failing"
    assert state(62.0, 100_000, 0) == "failing", "there was another alarm"
    assert state(91.0, 1, 0) == "passing"
    assert state(92.0, 0, 30) == "failing"
    assert judge.verdict(9999.0, compares=True).state == "failing"
    for second in range(100, 200):
        assert state(second, 2, 0) == "failing", "too few to be below 1%"
    assert state(200.0, 100, 0) == "passing"


def test_what_convicted_is_told_beside_what_came_since_then() -> None:
    judge = guard(errors=None)
    judge.compared(43_200.0, 0, 30)
    convicted = "30 of 30 comparisons diverged since 12:00:00 UTC (100%, 1% is declared)"
    assert judge.verdict(43_200.0, compares=True).evidence == f"{convicted}."
    judge.compared(43_201.0, 5000, 2)
    evidence = judge.verdict(43_201.0, compares=True).evidence
    assert evidence == f"{convicted}; 2 of 5,002 since then."


def test_what_goes_on_failing_is_never_well() -> None:
    judge, chance = guard(errors=None), random.Random(5)
    judge.compared(0.0, 0, 30)
    for second in range(20_000):
        bad = sum(chance.random() < 0.02 for _ in range(20))
        judge.compared(second, 20 - bad, bad)
        assert judge.verdict(second, compares=True).state == "failing"


def test_a_threshold_of_zero_is_passed_by_one() -> None:
    judge = guard(divergence=0.0, errors=None, min_samples=1)
    assert judge.verdict(0.0, compares=True).state == "inconclusive"
    judge.compared(1.0, 1, 0)
    assert judge.verdict(1.0, compares=True).state == "passing"
    judge.compared(2.0, 0, 1)
    assert judge.verdict(2.0, compares=True).state == "failing"


def test_a_threshold_of_one_is_never_passed() -> None:
    judge = guard(divergence=1.0, errors=None)
    judge.compared(1.0, 0, 100_000)
    assert judge.verdict(1.0, compares=True).state == "passing"


def test_with_nothing_declared_nothing_is_said() -> None:
    judge = guard(divergence=None, errors=None)
    judge.compared(1.0, 0, 1000)
    judge.asked(1.0, 0, 1000)
    assert judge.verdict(1.0, compares=True).state == "inconclusive"


# Latency


def slow_judge() -> RouteGuard:
    return guard(divergence=None, errors=None, latency=LatencyRule(1.5, 99))


def times(judge: RouteGuard, seconds: range, slow_share: float, legacy_slow: float = 0.0) -> None:
    """Hundred requests a second; those that are slow take forty buckets more."""
    for second in seconds:
        slow, of_legacy = round(100 * slow_share), round(100 * legacy_slow)
        judge.took(
            1000.0 + second,
            {20: 100 - of_legacy, 60: of_legacy},
            {20: 100 - slow, 60: slow},
        )
        judge.asked(1000.0 + second, 100, 0)


def test_a_slow_new_side_fails() -> None:
    judge = slow_judge()
    times(judge, range(60), 0.0)
    assert judge.verdict(1060.0, compares=True).state != "failing"
    times(judge, range(60, 120), 0.2)
    verdict = judge.verdict(1120.0, compares=True)
    assert (verdict.state, verdict.cause) == ("failing", "latency")
    assert "1.5 times legacy's p99" in verdict.evidence


def test_it_is_told_what_latency_waits_for() -> None:
    judge = slow_judge()
    times(judge, range(7), 0.0)
    assert judge.verdict(1010.0, compares=True).evidence == (
        "Too early to tell of latency: 0 of the 20 trials that are needed since the last change, "
        "and 700 of 2,000 times of legacy."
    )
    judge = guard(latency=LatencyRule(1.5, 99))
    judge.compared(1000.0, 10, 0)
    evidence = judge.verdict(1001.0, compares=True).evidence
    assert evidence.startswith("Too early to tell of divergence: 10 of the 20 trials")


def test_what_slows_both_down_is_not_of_new() -> None:
    judge = slow_judge()
    times(judge, range(60), 0.0)
    times(judge, range(60, 63), 0.5, 0.5)
    times(judge, range(63, 120), 0.0)
    assert judge.verdict(1120.0, compares=True).state != "failing"


def test_one_bad_moment_is_no_verdict() -> None:
    judge = slow_judge()
    times(judge, range(60), 0.0)
    times(judge, range(60, 61), 1.0)
    times(judge, range(61, 120), 0.0)
    assert judge.verdict(1120.0, compares=True).state != "failing"
