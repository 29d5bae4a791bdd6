"""What counts of the trials that are known at once, where others get lost on their way."""

import random
from collections import Counter

import pytest

from proxy.core.thinning import CERTAIN, KEPT, LATELY, OPEN, Thinning

THRESHOLD = 0.01


def totals(taken: list[tuple[int, int, int]]) -> tuple[int, int]:
    return sum(good for _, good, _ in taken), sum(bad for _, _, bad in taken)


def test_where_nothing_differs_all_count_at_once_and_nothing_is_kept() -> None:
    thinning = Thinning(THRESHOLD)
    for slot in range(1000):
        thinning.known(slot, 3, 1, 0)
        assert not thinning.is_underway()
        assert thinning.take() == [(slot, 3, 1)]
        assert thinning.take() == []


def test_where_all_come_through_all_count_in_their_slots() -> None:
    thinning = Thinning(THRESHOLD)
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
    thinning = Thinning(THRESHOLD)
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
    thinning = Thinning(THRESHOLD)
    thinning.known(1, 1000, 10, 5)
    thinning.known(2, 1000, 10, 0)
    if not answered:
        for _ in range(5):
            thinning.judged(1, None, True)
    assert thinning.take() == []


def test_of_what_needs_no_asking_as_many_count_as_were_asked_of_the_others() -> None:
    thinning = Thinning(THRESHOLD)
    thinning.known(1, 0, 0, 100)
    for _ in range(80):
        thinning.judged(1, False, False)
    for number in range(20):
        thinning.judged(1, True if number < 5 else None, True)
    good, bad = totals(thinning.take())
    assert 19 <= good <= 21
    assert bad == 5


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("masked", [0.0, 0.5])
@pytest.mark.parametrize("per_slot", [1, 20, 400])
def test_the_rate_is_the_true_one_whatever_is_lost(per_slot: int, masked: float, seed: int) -> None:
    """Of 2 % bad ones far more get lost than of the others, at times that change."""
    chance = random.Random(seed)
    thinning = Thinning(THRESHOLD)
    due: dict[int, list[tuple[int, bool | None, bool]]] = {}
    counted: Counter[str] = Counter()
    naive: Counter[str] = Counter()
    for slot in range(120_000 // per_slot if per_slot > 1 else 30_000):
        comes_through = 0.1 if slot % 200 < 100 else 0.6
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
            late = chance.choice((0, 1, 3, 20, 100))
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
    # In a minute with none or one to be asked it is not known what becomes of these.
    assert (0.016 if per_slot > 1 else 0.009) < rate < 0.025
    assert naive["bad"] / naive.total() < 0.012
    assert counted.total() > 100


def test_what_is_kept_is_bounded_and_what_was_held_back_is_not_counted_later() -> None:
    """Half of what differs is lost, in slots that come to more than are kept."""
    thinning = Thinning(THRESHOLD)
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
    thinning = Thinning(THRESHOLD)
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
    thinning = Thinning(THRESHOLD)
    for slot in range(KEPT):
        thinning.known(slot, 1000, 0, 100)
    thinning.take()
    for slot in range(KEPT, KEPT + 8):
        thinning.known(slot, 1000, 0, 100)
        for _ in range(100):
            thinning.judged(slot, False, False)
        assert thinning.take() == [(slot, 1100, 0)]


def test_what_comes_very_late_is_lost_good_or_bad() -> None:
    """What was good beside it was not counted either."""
    thinning = Thinning(THRESHOLD)
    for slot in range(2 * OPEN):
        thinning.known(slot, 1, 0, 1)
        thinning.take()
    for is_bad in (True, False):
        thinning.judged(OPEN - 1, is_bad, True)
        assert thinning.take() == []
    thinning.judged(OPEN, True, True)
    assert thinning.take()[0] == (OPEN, 0, 1)


@pytest.mark.parametrize("late", [0, OPEN // 2, OPEN - 2, OPEN, 2 * OPEN])
@pytest.mark.parametrize("looks_between", [True, False])
def test_whenever_it_comes_the_rate_is_not_too_high(late: int, looks_between: bool) -> None:
    """A healthy route, of which each that differs comes through after that many slots."""
    thinning = Thinning(THRESHOLD)
    good = bad = 0
    for slot in range(6 * KEPT):
        thinning.known(slot, 199, 0, 1)
        if looks_between:
            taken = totals(thinning.take())
            good, bad = good + taken[0], bad + taken[1]
        if slot >= late:
            thinning.judged(slot - late, True, False)
        taken = totals(thinning.take())
        good, bad = good + taken[0], bad + taken[1]
    assert bad <= 0.007 * (good + bad)
    if late < OPEN:
        assert bad >= 5 * KEPT


@pytest.mark.parametrize("looks_between", [True, False])
def test_a_report_of_a_long_time(looks_between: bool) -> None:
    """Of a worker whose controller was away; what comparers kept comes behind it."""
    thinning = Thinning(THRESHOLD)
    for slot in range(4 * KEPT):
        thinning.known(slot, 199, 0, 1)
    good, bad = totals(thinning.take()) if looks_between else (0, 0)
    for slot in range(4 * KEPT):
        thinning.judged(slot, True, False)
    more_good, more_bad = totals(thinning.take())
    good, bad = good + more_good, bad + more_bad
    assert bad == OPEN
    assert 0.004 < bad / (good + bad) < 0.006


def test_what_is_lost_does_not_matter_where_there_is_hardly_any() -> None:
    """One that no comparer can do is no reason to believe nothing."""
    thinning = Thinning(THRESHOLD)
    good = 0
    for slot in range(1000):
        thinning.known(slot, 500, 0, 1 if slot % 20 == 0 else 0)
        good += totals(thinning.take())[0]
    assert good > 0.99 * 500_000


def test_what_new_fails_counts_where_it_is_too_much_whatever_the_others_came_to() -> None:
    thinning = Thinning(THRESHOLD)
    thinning.known(1, 50, CERTAIN, 5)
    assert thinning.take() == [(1, 50, CERTAIN)]
    thinning.known(2, 5000, 1, 500)
    assert thinning.take() == []


def test_where_one_is_too_many_all_bad_ones_count() -> None:
    thinning = Thinning(0.0)
    thinning.known(1, 50, 1, 5)
    assert totals(thinning.take()) == (0, 1)
    thinning.judged(1, None, True)
    thinning.judged(1, True, False)
    assert totals(thinning.take()) == (0, 1)


def test_a_divergence_known_without_asking_is_among_those_that_are_lost() -> None:
    thinning = Thinning(THRESHOLD)
    thinning.known(1, 800, 0, 200)
    for number in range(200):
        asked = number % 2 == 0
        said = None if asked and number % 10 else True
        thinning.judged(1, said, asked)
    good, bad = totals(thinning.take())
    # Of a hundred that had to be asked a fifth was; of the hundred others as many count.
    assert (good, bad) == (160, 40)


def test_nothing_is_kept_of_a_route_without_traffic() -> None:
    thinning = Thinning(THRESHOLD)
    thinning.known(1, 10, 0, 1)
    thinning.rest(10_000)
    assert thinning._slots, "there is news"
    thinning.take()
    thinning.rest(1 + 2 * LATELY)
    assert thinning._slots
    thinning.rest(2 + 2 * LATELY)
    assert not thinning._slots
    assert not thinning.is_underway()


def test_it_is_told_how_many_come_through() -> None:
    thinning = Thinning(THRESHOLD)
    thinning.known(1, 10, 0, 5)
    thinning.judged(1, False, False)
    thinning.judged(1, None, True)
    thinning.judged(1, True, True)
    assert thinning.underway() == (5, 2)
