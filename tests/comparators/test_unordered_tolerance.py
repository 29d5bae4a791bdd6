"""Items in any order with numbers that may differ a little: as many as can be are pairs."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators import compile_rules
from comparators.model import Rules
from comparators.values import Found, compare_values

NEAR = {"$[*]": 1.0, "$[*].a": 1.0, "$[*].b": 1.0}


def found(legacy: list[Any], new: list[Any], **rules: Any) -> Found:
    return compare_values(legacy, new, compile_rules(Rules(unordered=("$",), **rules)))


@pytest.mark.parametrize(
    ("legacy", "new"),
    [
        # What is identical has to take another partner.
        ([1.0, 2.0], [2.0, 3.0]),
        ([1, 2, 3], [2, 3, 4]),
        ([{"a": 1.0}, {"a": 2.0}], [{"a": 3.0}, {"a": 2.0}]),
        ([{"a": 1.0, "b": 5}, {"a": 2.0, "b": 5}], [{"a": 2.0, "b": 5}, {"a": 3.0, "b": 5}]),
        ([0.1, 0.2], [1.1, 1.2]),
        ([9007199254740993, 9007199254740995], [9007199254740994, 9007199254740996]),
    ],
)
def test_identical_items_hold_up_no_other_pairs(legacy: list[Any], new: list[Any]) -> None:
    for one, other in ((legacy, new), (new, legacy)):
        for order in itertools.permutations(other):
            assert found(one, list(order), tolerance=NEAR) == Found()


NUMBERS = st.sampled_from([0, 0.1, 0.5, 1, 1.1, 1.5, 2, 2.1, 3, 3.5, float("nan"), float("inf")])
ITEMS = NUMBERS | st.fixed_dictionaries({"a": NUMBERS}, optional={"b": NUMBERS})


@given(st.lists(ITEMS, max_size=4), st.lists(ITEMS, max_size=4), st.sampled_from([0.5, 1.0, 0.0]))
def test_they_are_equal_if_there_is_an_order_in_which_they_are(
    legacy: list[Any], new: list[Any], tolerance: float
) -> None:
    rules = {"tolerance": dict.fromkeys(NEAR, tolerance)}
    in_order = compile_rules(Rules(**rules))  # type: ignore[arg-type]
    are_equal = len(legacy) == len(new) and any(
        compare_values(legacy, list(order), in_order) == Found()
        for order in itertools.permutations(new)
    )
    one, other = found(legacy, new, **rules), found(new, legacy, **rules)
    assert (one == Found()) == are_equal
    assert (other == Found()) == are_equal
    assert len(one.differences) == len(other.differences)


def test_sixty_thousand_items_are_matched() -> None:
    chance = random.Random(1)
    legacy = [{"v": chance.random() * 1000, "w": at % 7} for at in range(60_000)]
    new = [{**each, "v": each["v"] + 0.001} for each in legacy]
    chance.shuffle(new)
    assert found(legacy, new, tolerance={"$[*].v": 0.01}) == Found()
    new[7] = {**new[7], "w": -1}
    changed = found(legacy, new, tolerance={"$[*].v": 0.01})
    assert (len(changed.differences), changed.truncated) == (1, False)
