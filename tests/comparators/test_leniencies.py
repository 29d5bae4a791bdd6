"""How far leniencies and tolerances reach, and where they end."""

from typing import Any

import pytest

from comparators.model import Rules
from comparators.rules import compile_rules
from comparators.values import compare_values

TEXT = {"lenient": ("number-text",)}
BOTH = {"lenient": ("number-text", "int-float")}
FLOAT = {"lenient": ("int-float",)}
NULL = {"lenient": ("null-absent",)}
CASES: list[tuple[dict[str, Any], Any, Any, bool]] = [
    # Text is a number where JSON would write one like it.
    (TEXT, "1", 1, True),
    (TEXT, "-2.50", -2.5, True),
    (TEXT, "0", 0, True),
    (TEXT, "1.0", 1, True),
    (TEXT, "00501", 501, False),
    (TEXT, " 5 ", 5, False),
    (TEXT, "5\n", 5, False),
    (TEXT, "1e2", 100, False),
    (TEXT, "+5", 5, False),
    (TEXT, "5.", 5, False),
    (TEXT, ".5", 0.5, False),
    (TEXT, "٣", 3, False),
    (TEXT, "", 0, False),
    (TEXT, "1.10", "1.1", False),
    (TEXT, 1, 1.0, False),
    (TEXT, "true", True, False),
    (TEXT, 1, True, False),
    (BOTH, 1, 1.0, True),
    (FLOAT, 1, 1.0, True),
    (FLOAT, 1, "1", False),
    (FLOAT, 1, True, False),
    # Null is as good as a key that is missing, and no more than that.
    (NULL, {"a": None}, {}, True),
    (NULL, {"a": [{"b": None}]}, {"a": [{}]}, True),
    (NULL, [None, None, None], [], False),
    (NULL, {"a": [1, None]}, {"a": [1]}, False),
    (NULL, {"a": None}, {"a": {}}, False),
    (NULL, {"a": None}, {"a": 0}, False),
    # A tolerance is of values: 1 and 1.0 lie nothing apart.
    ({"tolerance": {"$": 0}}, 1, 1.0, True),
    ({"tolerance": {"$": 0}}, 1, 1.0000001, False),
    ({"tolerance": {"$": 0.5}}, 1, 1.5, True),
    ({"tolerance": {"$": 0.5}}, 1, "1", False),
    ({"tolerance": {"$": 0.5}}, "1.0", "1.1", False),
    ({**TEXT, "tolerance": {"$": 0.5}}, 1, "1.5", True),
]


@pytest.mark.parametrize(("rules", "legacy", "new", "same"), CASES)
def test_what_is_lenient_and_what_is_not(
    rules: dict[str, Any], legacy: Any, new: Any, same: bool
) -> None:
    compiled = compile_rules(Rules(**rules))
    assert (compare_values(legacy, new, compiled).differences == ()) == same
    assert (compare_values(new, legacy, compiled).differences == ()) == same


@pytest.mark.parametrize("rules", [TEXT, BOTH, FLOAT, NULL, {"tolerance": {"$[*]": 0.5}}])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_same_in_any_order(
    case: tuple[dict[str, Any], Any, Any, bool], rules: dict[str, Any]
) -> None:
    """Items are equal in an unordered array where they are so in the only place of an ordered."""
    _, one, other, _ = case
    alone = compare_values([one], [other], compile_rules(Rules(**rules)))
    unordered = compile_rules(Rules(**rules, unordered=("$",)))
    found = compare_values(["x", one], [other, "x"], unordered)
    assert (found.differences == ()) == (alone.differences == ())
