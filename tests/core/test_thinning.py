"""What counts of the trials that are known at once, where others get lost on their way."""

import random
from collections import Counter

import pytest

from proxy.core.thinning import KEPT, LATELY, Thinning


def totals(taken: list[tuple[int, int, int]]) -> tuple[int, int]:
    return sum(good for _, good, _ in taken), sum(bad for _, _, bad in taken)


def test_where_nothing_differs_all_count_at_once_and_nothing_is_kept() -> None:
    thinning = Thinning()
    for slot in range(1000):
        thinning.known(slot, 3, 1, 0)
        assert not thinning.is_underway()
        assert thinning.take() == [(slot, 3, 1)]
        assert thinning.take() == []


def test_where_all_come_through_all_count_in_their_slots() -> None:
    thinning = Thinning()
    thinning.known(1, 90, 2, 3)
    thinning.known(2, 80, 0, 2)
    assert thinning.is_underway()
    assert thinning.take() == []
    thinning.judged(2, True, True)
    assert totals(thinning.take())[1] == 1
    for slot, is_bad, asked in ((1, False, False), (1, False, True), (1, True, True)):
        thinning.judged(slot, is_bad, asked)
    thinning.take()
    thinning.judged(2, False, False)
    thinning.take()
    assert thinning.take() == []
    thinning.known(3, 1, 0, 0)
    assert thinning.take() == [(3, 1, 0)]


def test_a_slot_counts_whole_once_all_of_it_came_through() -> None:
    thinning = Thinning()
    counted = [0, 0]
    for slot in range(10):
        thinning.known(slot, 90, 2, 40)
    for judged in range(40):
        for slot in range(10):
            thinning.judged(slot, judged % 8 == 0, judged % 2 == 0)
        for slot, good, bad in thinning.take():
            assert 0 <= slot < 10
            counted[0] += good
            counted[1] += bad
        # As much of the others as came through of those that differ.
        share = (judged + 1) / 40
        assert counted[0] == pytest.approx((900 + 350) * share, abs=60)
    assert counted == [1250, 70]


@pytest.mark.parametrize("answered", [True, False])
def test_where_none_come_through_nothing_counts(answered: bool) -> None:
    """Neither what new failed: among the equal ones that count it would be too many."""
    thinning = Thinning()
    thinning.known(1, 1000, 10, 5)
    thinning.known(2, 1000, 10, 0)
    if not answered:
        for _ in range(5):
            thinning.judged(1, None, True)
    assert thinning.take() == []


def test_of_what_needs_no_asking_as_many_count_as_were_asked_of_the_others() -> None:
    thinning = Thinning()
    thinning.known(1, 0, 0, 100)
    for _ in range(80):
        thinning.judged(1, False, False)
    for number in range(20):
        thinning.judged(1, True if number < 5 else None, True)
    good, bad = totals(thinning.take())
    assert 19 <= good <= 21
    assert bad == 5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("masked", [0.0, 0.5])
@pytest.mark.parametrize("per_slot", [1, 20, 400])
def test_the_rate_is_the_true_one_whatever_is_lost(per_slot: int, masked: float, seed: int) -> None:
    """Of 2 % bad ones far more get lost than of the others, at times that change."""
    chance = random.Random(seed)
    thinning = Thinning()
    due: dict[int, list[tuple[int, bool | None, bool]]] = {}
    counted: Counter[str] = Counter()
    naive: Counter[str] = Counter()
    for slot in range(400_000 // per_slot if per_slot > 1 else 60_000):
        comes_through = 0.1 if slot % 2000 < 1000 else 0.6
        differing = equal = 0
        for _ in range(per_slot):
            is_bad = chance.random() < 0.02
            if not is_bad and chance.random() >= masked:
                equal += 1
                continue
            differing += 1
            if chance.random() >= comes_through:
                continue
            said = is_bad if chance.random() < 0.5 or not is_bad else None
            late = chance.choice((0, 1, 3, 20))
            due.setdefault(slot + late, []).append((slot, said, is_bad))
            naive["bad" if said else "good"] += said is not None
        naive["good"] += equal
        thinning.known(slot, equal, 0, differing)
        for one in due.pop(slot, []):
            thinning.judged(*one)
        for at, good, bad in thinning.take():
            assert at > slot - KEPT
            counted["good"] += good
            counted["bad"] += bad
    rate = counted["bad"] / counted.total()
    assert 0.016 < rate < 0.024
    assert naive["bad"] / naive.total() < 0.012
    assert counted.total() > 100


def test_what_is_kept_is_bounded_and_what_was_held_back_is_not_counted_later() -> None:
    """Half of what differs is lost, in slots that come to more than are kept."""
    thinning = Thinning()
    counted = 0
    for slot in range(20 * KEPT):
        thinning.known(slot, 10, 0, 4 if slot % 10 == 0 else 0)
        if slot % 20 == 0:
            for _ in range(4):
                thinning.judged(slot, False, False)
        counted += totals(thinning.take())[0]
        assert len(thinning._slots) == len(thinning._numbers) <= KEPT
    assert 0.45 < counted / (20 * KEPT * 10) < 0.55


def test_when_nothing_has_differed_for_a_minute_nothing_is_kept() -> None:
    thinning = Thinning()
    thinning.known(0, 10, 0, 1)
    for slot in range(1, LATELY + 2):
        assert thinning.is_underway()
        thinning.known(slot, 10, 0, 0)
        counted = totals(thinning.take())
    assert counted == (10, 0)
    assert not thinning.is_underway()
    assert not thinning._slots


def test_after_an_overload_those_who_come_through_are_not_alone() -> None:
    """Else what is good would be counted with the share of a moment ago, what is bad as it is."""
    thinning = Thinning()
    for slot in range(KEPT):
        thinning.known(slot, 1000, 0, 100)
    thinning.take()
    for slot in range(KEPT, KEPT + 8):
        thinning.known(slot, 1000, 0, 100)
        for _ in range(100):
            thinning.judged(slot, False, False)
        assert thinning.take() == [(slot, 1100, 0)]


def test_what_comes_very_late_counts_as_it_is() -> None:
    thinning = Thinning()
    thinning.known(1, 10, 0, 2)
    for slot in range(2, 2 + 2 * KEPT):
        thinning.known(slot, 1, 0, 1)
        thinning.judged(slot, False, False)
        thinning.take()
    thinning.judged(1, True, True)
    assert thinning.take() == [(1, 0, 1)]


def test_a_report_of_a_long_time_counts_whole() -> None:
    """Of a worker whose controller was away."""
    thinning = Thinning()
    for slot in range(4 * KEPT):
        thinning.known(slot, 10, 1, 1)
        thinning.judged(slot, False, False)
    assert totals(thinning.take()) == (11 * 4 * KEPT, 4 * KEPT)
    assert len(thinning._slots) == KEPT
