"""JSON written in many ways: what reads it quickly must see what reads it exactly sees."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from comparators.model import Outcome
from tests.comparators.test_duplicate_keys import compared

NUMBERS = (
    *("0", "-1", "1.5", "1e5", "1E+2", "0.1", "-0.0", "123456789012345", "1234567890.12345678"),
    *("12345678901234567", "9007199254740993", "1.0000000000000001", "1e400", "1e-7"),
)
# With what counting quotes and colons could take for the end of a key.
TEXTS = ("a", "b", 'a"', 'a":', '" :', ":", "\\", "a\\", "u0022", "\t", "é", "a b")
SEEDS = st.integers(0, 1 << 32)


class Literal(str):
    """A number, as it is written."""


class Spelling:
    """Writes a tree in one of its many spellings. An object is a dict of its `pairs` alone."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        # One kind at a time: another one would have the body read exactly.
        self._by_number = chance.choice(("", " ", ":", '"', 'ab"\\:'))
        self._digits = chance.choice(("04x", "04X"))

    def written(self, tree: Any) -> str:
        if isinstance(tree, Literal):
            return str(tree)
        if isinstance(tree, str):
            return f'"{"".join(map(self._character, tree))}"'
        if isinstance(tree, dict):
            pairs = (
                f"{self.written(key)}{self._space()}:{self._space()}{self.written(value)}"
                for key, value in tree["pairs"]
            )
            return f"{{{self._space()}{','.join(map(self._apart, pairs))}}}"
        return f"[{','.join(self._apart(self.written(each)) for each in tree)}]"

    def _apart(self, text: str) -> str:
        return f"{self._space()}{text}{self._space()}"

    def _space(self) -> str:
        return self._chance.choice(("", "", "", " ", "\n", " \t", "\r "))

    def _character(self, character: str) -> str:
        if character in self._by_number and self._chance.random() < 0.5:
            return f"\\u{ord(character):{self._digits}}"
        return {'"': '\\"', "\\": "\\\\", "\t": "\\t"}.get(character, character)


def a_tree(chance: random.Random, depth: int = 3) -> Any:
    what = chance.random()
    if depth == 0 or what < 0.3:
        return Literal(chance.choice(NUMBERS)) if what < 0.15 else chance.choice(TEXTS)
    if what < 0.6:
        return [a_tree(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    keys = chance.sample(TEXTS, chance.randint(0, 3))
    return {"pairs": [(key, a_tree(chance, depth - 1)) for key in keys]}


def objects_in(tree: Any) -> list[list[tuple[str, Any]]]:
    if isinstance(tree, dict):
        inner = [value for _, value in tree["pairs"]]
        return [tree["pairs"], *(each for value in inner for each in objects_in(value))]
    return [each for value in tree for each in objects_in(value)] if type(tree) is list else []


@given(SEEDS)
@settings(max_examples=400, deadline=None)
def test_the_same_values_are_equal_however_they_are_written(seed: int) -> None:
    chance = random.Random(seed)
    tree = a_tree(chance)
    one, other = Spelling(chance).written(tree), Spelling(chance).written(tree)
    assert compared(one, other).outcome is Outcome.EQUAL, (one, other)


@given(SEEDS)
@settings(max_examples=400, deadline=None)
def test_a_key_that_stands_again_is_found_however_it_is_written(seed: int) -> None:
    chance = random.Random(seed)
    tree = {"pairs": [("x", a_tree(chance))]}
    plain = Spelling(chance).written(tree)
    pairs = chance.choice([each for each in objects_in(tree) if each])
    pairs.insert(chance.randint(0, len(pairs)), chance.choice(pairs))
    repeated = Spelling(chance).written(tree)
    found = compared(plain, repeated)
    assert found.outcome is Outcome.DIVERGENT, (plain, repeated)
    assert [each.kind.value for each in found.differences] == ["duplicate-key"]


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_the_last_digit_of_a_long_number_counts_wherever_it_stands(seed: int) -> None:
    chance = random.Random(seed)
    tree = a_tree(chance)
    whole = ["12345678901234567", "1.0000000000000001", "1234567890.12345678", "9007199254740993"]
    number = chance.choice(whole)
    spelling = Spelling(chance)
    one = spelling.written([tree, {"pairs": [("n", Literal(number))]}])
    other = spelling.written([tree, {"pairs": [("n", Literal(f"{number[:-1]}2"))]}])
    assert compared(one, other).outcome is Outcome.DIVERGENT, (one, other)
