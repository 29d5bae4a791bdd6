"""Comparing two trees of values under the rules: which places differ, and how.

The walk goes through both trees at once and beside them through the automaton of the rules. Equal
subtrees are left at once where no rule can match below. It keeps its own stack, so depth costs
memory and no recursion. Strict where Python is not: 1, 1.0, true and "1" are four values.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson

from comparators.alignment import align, match_by_key, match_equal
from comparators.model import ABSENT, MAX_DIFFERENCES, Difference, Kind
from comparators.paths import State, render_step
from comparators.renaming import renamed
from comparators.rules import CompiledRules, Place, place_of

# A walk ends after so many pairs of nodes, truncated: a pair that differs everywhere.
MAX_NODES: Final = 2_000_000

Where = State[Place] | None
Numbers = (int, float, Decimal)


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison of two trees came to. Equal: no differences, and not truncated."""

    differences: tuple[Difference, ...] = ()
    truncated: bool = False
    detail: str = ""


def compare_values(legacy: Any, new: Any, rules: CompiledRules, base: str = "$") -> Found:
    """The places in which two trees differ, at most MAX_DIFFERENCES. `base` is the root's path.

    Trees consist of dict, list, str, int, float, Decimal, bool and None. Never raises.
    """
    if rules.renames:
        new = renamed(new, rules.renames)
    return _Walk(rules).walk(legacy, new, base)


def strictly_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, down to the types of numbers; False may mean "look"."""
    if one.__class__ is not other.__class__ or one != other:
        return False
    if isinstance(one, dict | list):
        try:
            # == takes 1 for 1.0 and for true, further down.
            return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
                other, option=orjson.OPT_SORT_KEYS
            )
        except (TypeError, RecursionError):
            return False
    return True


class _Walk:
    def __init__(self, rules: CompiledRules) -> None:
        self.rules = rules
        self.found: list[Difference] = []
        self.nodes = 0
        self.truncated = ""
        # What is still to be compared, the next one last.
        self.stack: list[tuple[Any, Any, Where, str]] = []

    def walk(self, legacy: Any, new: Any, base: str) -> Found:
        stack = self.stack
        stack.append((legacy, new, self.rules.places.start, base))
        while stack:
            if len(self.found) >= MAX_DIFFERENCES:
                self.truncated = f"more than {MAX_DIFFERENCES} differences"
                break
            if self.nodes > MAX_NODES:
                self.truncated = f"more than {MAX_NODES} values"
                break
            self._compare(*stack.pop())
        if len(self.found) > MAX_DIFFERENCES:
            self.truncated = self.truncated or f"more than {MAX_DIFFERENCES} differences"
        return Found(tuple(self.found[:MAX_DIFFERENCES]), bool(self.truncated), self.truncated)

    def _compare(self, legacy: Any, new: Any, state: Where, path: str) -> None:
        self.nodes += 1
        place = None
        if state is None:
            try:
                if strictly_equal(legacy, new):
                    return
            except RecursionError:
                pass  # deeper than == goes: this walk does not mind
        elif state.matches:
            place = place_of(state.matches)
            if place is not None and place.ignored:
                return
        kind = legacy.__class__
        if kind is dict and new.__class__ is dict:
            self._objects(legacy, new, state, path)
        elif kind is list and new.__class__ is list:
            self._arrays(legacy, new, state, path, place)
        elif not self._same_scalar(legacy, new, place):
            self.found.append(Difference(path, _kind(legacy, new), legacy, new))

    def _objects(
        self, legacy: dict[str, Any], new: dict[str, Any], state: Where, path: str
    ) -> None:
        stack = self.stack
        later = []
        for key, value in legacy.items():
            below = state.key(key) if state is not None else None
            other = new.get(key, ABSENT)
            if other is ABSENT:
                if not self._may_lack(value, below):
                    self.found.append(
                        Difference(path + render_step(key), Kind.MISSING, value, ABSENT)
                    )
            elif below is None and value.__class__ in _PLAIN and value.__class__ is other.__class__:
                self.nodes += 1
                if value != other:
                    self.found.append(Difference(path + render_step(key), Kind.VALUE, value, other))
            else:
                later.append((value, other, below, path + render_step(key)))
        if len(new) != len(legacy) or new.keys() != legacy.keys():
            for key, value in new.items():
                below = state.key(key) if state is not None else None
                if key not in legacy and not self._may_lack(value, below):
                    self.found.append(
                        Difference(path + render_step(key), Kind.ADDED, ABSENT, value)
                    )
        stack.extend(reversed(later))

    def _may_lack(self, value: Any, below: Where) -> bool:
        """Whether one side may be without this key."""
        if value is None and self.rules.null_absent:
            return True
        place = place_of(below.matches) if below is not None and below.matches else None
        return place is not None and place.ignored

    def _arrays(
        self, legacy: list[Any], new: list[Any], state: Where, path: str, place: Place | None
    ) -> None:
        if place is not None and place.unordered:
            self._unordered(legacy, new, state, path, place.key)
        elif len(legacy) == len(new):
            self._items(list(zip(range(len(legacy)), legacy, new, strict=True)), state, path)
        else:
            aligned = align(legacy, new)
            self.truncated = self.truncated or aligned.detail
            self._some(aligned.missing, aligned.added, state, path)
            self._items(aligned.pairs, state, path)

    def _unordered(
        self, legacy: list[Any], new: list[Any], state: Where, path: str, key: str | None
    ) -> None:
        by_key = match_by_key(legacy, new, key)
        if by_key is not None:
            self._some(by_key.missing, by_key.added, state, path)
            self._items(by_key.pairs, state, path)
            return
        rest = match_equal(legacy, new, lambda one, other: self._equal_below(one, other, state))
        if rest.detail:
            self.truncated = self.truncated or rest.detail
        self._some(rest.missing, rest.added, state, path)
        self._items(rest.pairs, state, path)

    def _equal_below(self, one: Any, other: Any, state: Where) -> bool:
        """Whether two items are equal under the rules."""
        walk = _Walk(self.rules)
        walk.stack.append((one, other, state.item(-1) if state is not None else None, "$"))
        while walk.stack and not walk.found:
            walk._compare(*walk.stack.pop())
        self.nodes += walk.nodes
        return not walk.found

    def _items(self, pairs: list[tuple[int, Any, Any]], state: Where, path: str) -> None:
        """Compare items; the index is that of legacy."""
        for index, one, other in reversed(pairs):
            below = state.item(index) if state is not None else None
            self.stack.append((one, other, below, f"{path}[{index}]"))

    def _some(
        self,
        missing: list[tuple[int, Any]],
        added: list[tuple[int, Any]],
        state: Where,
        path: str,
    ) -> None:
        """Items that one side has and the other lacks."""
        for items, kind in ((missing, Kind.MISSING), (added, Kind.ADDED)):
            for index, value in items:
                below = state.item(index) if state is not None else None
                if self._may_lack(value, below):
                    continue
                sides = (value, ABSENT) if kind is Kind.MISSING else (ABSENT, value)
                self.found.append(Difference(f"{path}[{index}]", kind, *sides))
                if len(self.found) >= MAX_DIFFERENCES:
                    return

    def _same_scalar(self, legacy: Any, new: Any, place: Place | None) -> bool:
        one, other = legacy.__class__, new.__class__
        rules = self.rules
        if rules.number_text and str in (one, other) and one is not other:
            legacy, new = _number(legacy), _number(new)
            if legacy is None or new is None:
                return False
            one, other = legacy.__class__, new.__class__
            if _same_number(legacy, new):
                return True
        if one in _NUMBERS and other in _NUMBERS:
            if place is not None and place.tolerance is not None:
                return _within(legacy, new, place.tolerance)
            if (one is int) != (other is int) and not rules.int_float:
                return False
            return _same_number(legacy, new)
        return bool(one is other and legacy == new)


_PLAIN: Final = frozenset((str, int, bool))
_NUMBERS: Final = frozenset(Numbers)


def _kind(legacy: Any, new: Any) -> Kind:
    one, other = legacy.__class__, new.__class__
    if one is other or {one, other} <= {float, Decimal}:
        return Kind.VALUE
    return Kind.TYPE


def _same_number(one: Any, other: Any) -> bool:
    if one != one or other != other:
        return bool(one != one and other != other)  # NaN is NaN
    if one.__class__ is not other.__class__ and float in (one.__class__, other.__class__):
        # As written: a float stands for its shortest text, not for all of its bits.
        return _exactly(one) == _exactly(other)
    return bool(one == other)


def _within(one: Any, other: Any, tolerance: float) -> bool:
    if _same_number(one, other):
        return True
    try:
        if not math.isfinite(one) or not math.isfinite(other):
            return False
        # Exact: 0.1 + 0.2 is not 0.3 in floats, and what is meant is the number as written.
        return abs(_exactly(one) - _exactly(other)) <= _exactly(tolerance)
    except (ArithmeticError, ValueError, OverflowError):
        return False


def _exactly(number: Any) -> Decimal:
    return Decimal(repr(number)) if number.__class__ is float else Decimal(number)


def _number(value: Any) -> Any:
    """A number, or text that is one; None where it is neither."""
    if value.__class__ in _NUMBERS:
        return value
    if value.__class__ is not str or len(value) > 400:
        return None
    text = value.strip()
    if not text or text.strip("+-0123456789.eE"):
        return None
    try:
        return int(text) if text.lstrip("+-").isdecimal() else Decimal(text)
    except (ValueError, ArithmeticError):
        return None
