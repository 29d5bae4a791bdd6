"""Turns that are fair by time, and not by number."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.turns import KEPT, Turns

COSTS = st.lists(st.floats(0.1, 3.0), min_size=2, max_size=6)


def spend(turns: Turns[str], costs: dict[str, float], until: float) -> dict[str, float]:
    """What each that always has more to do gets of so much time."""
    had = dict.fromkeys(costs, 0.0)
    for key in costs:
        turns.enter(key)
    while sum(had.values()) < until:
        taken = turns.take()
        assert taken is not None
        had[taken] += costs[taken]
        turns.charge(taken, costs[taken])
        turns.enter(taken)
    return had


@given(COSTS)
def test_all_that_wait_get_the_same_time_but_for_one_turn(costs: list[float]) -> None:
    had = spend(Turns(), {str(at): cost for at, cost in enumerate(costs)}, 30.0)
    assert max(had.values()) - min(had.values()) <= 2 * max(costs)


def test_the_quick_ones_have_their_turns_before_the_slow_one_has_its_second() -> None:
    turns: Turns[str] = Turns()
    turns.enter("slow")
    assert turns.take() == "slow"
    turns.charge("slow", 3.0)
    turns.enter("slow")
    for _ in range(100):
        turns.enter("quick")
        assert turns.take() == "quick"
        turns.charge("quick", 0.01)
    turns.enter("quick")
    assert turns.take() == "quick"


def test_who_took_much_owes_it_though_it_was_away() -> None:
    turns: Turns[str] = Turns()
    turns.enter("slow")
    turns.take()
    turns.charge("slow", 3.0)
    turns.enter("quick")
    assert turns.take() == "quick"
    turns.charge("quick", 0.01)
    turns.enter("slow")
    turns.enter("quick")
    assert turns.take() == "quick"


def test_who_was_away_has_saved_nothing_up() -> None:
    turns: Turns[str] = Turns()
    spend(turns, {"busy": 1.0}, 100)
    assert turns.take() == "busy"
    turns.charge("busy", 1.0)
    had = spend(turns, {"busy": 1.0, "new": 1.0}, 10)
    assert abs(had["busy"] - had["new"]) <= 1


def test_a_charge_while_it_waits_moves_its_turn() -> None:
    turns: Turns[str] = Turns()
    turns.enter("a")
    turns.enter("b")
    turns.charge("a", 1.0)
    assert [turns.take(), turns.take(), turns.take()] == ["b", "a", None]


def test_entering_twice_is_entering_once() -> None:
    turns: Turns[str] = Turns()
    turns.enter("a")
    turns.enter("a")
    assert len(turns) == 1
    assert [turns.take(), turns.take()] == ["a", None]
    assert len(turns) == 0


def test_what_is_owed_no_more_is_forgotten() -> None:
    turns: Turns[int] = Turns()
    for number in range(20 * KEPT):
        turns.enter(number)
        assert turns.take() == number
        turns.charge(number, 0.001)
        turns.enter(-1)
        turns.take()
        turns.charge(-1, 0.01)
    assert len(turns._had) < 4 * KEPT
