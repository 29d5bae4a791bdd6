"""So many a second, and of those that follow on some that have cost too much."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.allowance import Allowance, Restraint


@given(st.lists(st.floats(0.0, 0.2), max_size=200))
def test_an_allowance_gives_what_was_saved_and_so_many_a_second(pauses: list[float]) -> None:
    allowance, now, taken = Allowance(10.0, 3.0), 0.0, 0
    for pause in pauses:
        now += pause
        had = allowance.has(now)
        assert allowance.take(now) is had  # to ask takes nothing
        taken += had
        assert taken <= 3.0 + 10.0 * now + 1e-6
    assert allowance.take(now + 0.11)


def test_nobody_is_held_as_long_as_none_has_cost() -> None:
    restraint = Restraint(10.0, 100)
    assert all(restraint.take(0.0) and not restraint.holds(0.0) for _ in range(1000))


@pytest.mark.parametrize("under_way", [1, 50])
def test_where_each_one_costs_so_many_a_second_are_let_on(under_way: int) -> None:
    restraint, let_on = Restraint(10.0, 100), 0
    ends: deque[float] = deque()
    for at in range(20_000):
        now = at / 1000
        while ends and (ends[0] <= now or len(ends) > under_way):
            ends.popleft()
            restraint.cost()
        holds = restraint.holds(now)
        if restraint.take(now):
            let_on += 1
            ends.append(now + 0.01)
        else:
            assert holds
    # What is under way before the first one has cost anything is beyond it.
    assert 10 * 20 <= let_on <= 10 * 20 + 10 + under_way + 10


def test_once_it_is_well_as_many_follow_as_have_cost_and_then_all() -> None:
    restraint = Restraint(10.0, 5)
    for _ in range(1000):
        restraint.cost()  # bounded
    assert [restraint.take(0.0) for _ in range(20)] == [True] * 20
    for _ in range(5):
        restraint.cost()
    # Five of the ten that were saved are left.
    assert [restraint.take(0.0) for _ in range(20)] == [True] * 20
    restraint.cost()
    assert not restraint.take(0.0)
    assert restraint.holds(0.05)
    assert restraint.take(0.1)
    assert [restraint.take(0.1) for _ in range(20)] == [True] * 20
