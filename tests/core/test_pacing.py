"""Places: all at once while there are enough, evenly while they are short."""

import heapq
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pacing import BURST, Places

MOST = 128


def simulate(rate: float, held_s: Callable[[float], float], until: float) -> list[float]:
    """When shadows began, of requests that come at an even rate and each want one."""
    places = Places()
    began: list[float] = []
    under_way: list[tuple[float, float]] = []
    for at in range(int(until * rate)):
        now = at / rate
        while under_way and under_way[0][0] <= now:
            ended, since = heapq.heappop(under_way)
            places.give_back(ended - since, ended)
        if places.take(MOST, now):
            began.append(now)
            heapq.heappush(under_way, (now + held_s(now), now))
        assert places.taken == len(under_way) <= MOST
    return began


def most_within(began: list[float], window_s: float, since: float) -> int:
    late = [at for at in began if at >= since]
    return max(
        sum(at <= other < at + window_s for other in late[i : i + 200]) for i, at in enumerate(late)
    )


def test_as_many_as_there_are_may_begin_at_once() -> None:
    places = Places()
    assert [places.take(MOST, 1.0) for _ in range(MOST + 1)] == [True] * MOST + [False]


@pytest.mark.parametrize("held_s", [0.05, 0.2, 2.0])
def test_shadows_that_are_short_of_places_do_not_begin_in_step(held_s: float) -> None:
    began = simulate(8_000, lambda _: held_s, 20 * held_s)
    window_s = held_s / 10
    assert most_within(began, window_s, 4 * held_s) <= MOST / 10 + BURST + 2
    # ... and nothing of what could be shadowed is lost by that.
    late = [at for at in began if at >= 4 * held_s]
    assert len(late) >= 0.9 * MOST * 16


def test_a_side_that_answers_again_is_shadowed_in_full_within_seconds() -> None:
    began = simulate(500, lambda now: 10.0 if now < 20 else 0.01, 40)
    assert sum(at >= 30 for at in began) == 5_000


def test_what_hangs_is_asked_at_the_rate_of_its_time_out() -> None:
    began = simulate(500, lambda _: 10.0, 100)
    late = [at for at in began if at >= 40]
    assert len(late) == pytest.approx(MOST * 6, rel=0.1)
    assert max(later - earlier for earlier, later in pairwise(late)) < 1.0


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200),
)
def test_never_more_than_there_are_and_never_stuck(
    most: int, steps: list[tuple[float, bool]]
) -> None:
    places = Places()
    held: list[float] = []
    now = 1.0
    for later, gives_back in steps:
        now += later
        if gives_back and held:
            places.give_back(now - held.pop(0), now)
        elif places.take(most, now):
            held.append(now)
        assert places.taken == len(held) <= most
    for since in held:
        places.give_back(now - since, now)
    assert places.take(most, now + 1_000)
