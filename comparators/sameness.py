"""What is the same under the rules, as bytes: to find in linear time which items belong together.

A `Form` stands for a value as the rules see it: without what is ignored, numbers in one spelling
where their types do not count, unordered arrays sorted. Values of other forms differ. Values of
the same form are the same, or, where no form can say that (a tolerance), may be so.
"""

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from comparators.canonical import canonical
from comparators.numeric import NUMBERS, number_of, spelling
from comparators.paths import State
from comparators.repeated import Repeated
from comparators.rules import CompiledRules, Place, place_of

MAX_DEPTH: Final = 50  # below an item; the function calls itself
FORM_WORK: Final = 2  # that one form takes at least
_BYTES_A_WORK: Final = 500
_SHORT: Final = 32  # characters of a text that is its own mark
# Numbers within a tolerance mostly get the same mark of a grid so many times as wide.
_GRID: Final = 8

Where = State[Place] | None


class Form(NamedTuple):
    """`certain`: two values of this same form are the same under the rules.

    `numbers` are those that have a tolerance, in their order. `whole`: not too deep, and not too
    much, to be looked at as a whole. `tolerance` is that of the only number, where two values of
    the form are the same if and only if it lies within that.
    """

    mark: bytes
    certain: bool
    numbers: tuple[float, ...] = ()
    whole: bool = True
    tolerance: float | None = None


def strictly_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, down to the types of numbers; False may mean "look".

    Raises RecursionError for what nests deeper than == goes.
    """
    if one.__class__ is not other.__class__ or one != other:
        return False
    if isinstance(one, dict | list):
        try:
            # == takes 1 for 1.0 and for true, further down.
            return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
                other, option=orjson.OPT_SORT_KEYS
            )
        except TypeError:
            return False
    return True


def strict_mark(value: Any) -> bytes:
    """Few bytes, the same for two values only if they are the same, down to types of numbers."""
    return _strict_mark(value)[0]


def _strict_mark(value: Any) -> tuple[bytes, int]:
    """And of how many bytes it was made."""
    kind = value.__class__
    if kind is int:
        mark = b"%x" % value
        return mark, len(mark)
    if kind is str and len(value) < _SHORT:
        mark = b'"' + value.encode("utf-8", "surrogatepass")
        return mark, len(mark)
    try:
        written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError):
        written = canonical(value)  # a number that no float holds, great depth
    # Not what orjson returns: that keeps its whole buffer, kilobytes of it.
    return b"#" + blake2b(written, digest_size=16).digest(), len(written)


class Forms:
    """Makes the forms of values in one place.

    `work` counts what that took, in the time of a comparison of two values. Beyond `most` all
    values get one form, which is not certain.
    """

    def __init__(self, rules: CompiledRules, most: int) -> None:
        self.work = 0
        self._most = most
        self._rules = rules
        self._numbered = bool(rules.places.indices)
        self._is_strict = not (rules.int_float or rules.number_text or rules.null_absent)
        self._certain = self._whole = self._measured = True
        self._numbers: list[float] = []
        self._tolerance: float | None = None  # of the last of them

    def of(self, value: Any, state: Where, *, near: bool = False) -> Form:
        """The form of a value. `near`: numbers that have a tolerance are told apart coarsely."""
        if self.work > self._most:
            return _BEYOND
        self.work += FORM_WORK
        if state is None and self._is_strict:
            mark, size = _strict_mark(value)
            self.work += size // _BYTES_A_WORK
            return Form(mark, True)
        self._certain, self._numbers, self._whole, self._measured = True, [], True, True
        mark, size = _strict_mark(self._seen(value, state, near, MAX_DEPTH))
        self.work += size // _BYTES_A_WORK
        if not self._certain:
            self.work += FORM_WORK  # it is sorted, and looked at again
        is_measured = self._measured and not near and len(self._numbers) == 1
        tolerance = self._tolerance if is_measured else None
        return Form(mark, self._certain, tuple(self._numbers), self._whole, tolerance)

    def _seen(self, value: Any, state: Where, near: bool, depth: int) -> Any:
        """The value as the rules see it, of what orjson writes."""
        if state is None and self._is_strict:
            return value
        self.work += 1
        place = place_of(state.matches) if state is not None and state.matches else None
        if place is not None and place.ignored:
            return _IGNORED
        if depth == 0 or self.work > self._most:
            self._whole = False
            return self._uncertain("more")
        if isinstance(value, dict):
            return self._object(value, state, near, depth)
        if isinstance(value, list):
            return self._array(value, state, place, near, depth)
        if isinstance(value, Repeated):
            return self._uncertain("repeated")
        tolerance = place.tolerance if place is not None else None
        return self._scalar(value, tolerance, near)

    def _object(self, value: dict[str, Any], state: Where, near: bool, depth: int) -> Any:
        null_absent = self._rules.null_absent
        found = {}
        for key, each in value.items():
            if each is None and null_absent:
                continue
            below = state.key(key) if state is not None else None
            seen = self._seen(each, below, near, depth - 1)
            if seen is not _IGNORED:
                found[key] = seen
        return found

    def _array(
        self, value: list[Any], state: Where, place: Place | None, near: bool, depth: int
    ) -> Any:
        is_unordered = place is not None and place.unordered
        if state is not None and self._numbered and not is_unordered:
            return self._uncertain("numbered")  # which items are ignored depends on the other side
        below = state.item(-1) if state is not None else None
        items = [self._seen(each, below, near, depth - 1) for each in value]
        found = [each for each in items if each is not _IGNORED]
        if is_unordered:
            return sorted(strict_mark(each).hex() for each in found)
        return found

    def _scalar(self, value: Any, tolerance: float | None, near: bool) -> Any:
        rules = self._rules
        number = number_of(value) if rules.number_text else value
        if number.__class__ not in NUMBERS:
            return f"\0{value}" if value.__class__ is str and value[:1] == "\0" else value
        if tolerance is not None and not (near and tolerance == 0):
            self._certain = False
            self._numbers.append(_as_float(number))
            self._tolerance = tolerance
            self._measured = self._measured and not rules.number_text
            return f"\0near {_on_grid(number, tolerance)}" if near else "\0number"
        if rules.number_text:
            self._certain = self._measured = (
                False  # 1 and 1.0 may both be "1", and yet not each other
            )
            return f"\0{spelling(number)}"
        if rules.int_float:
            return f"\0{spelling(number)}"
        return 0.0 if number.__class__ is float and number == 0 else number

    def _uncertain(self, what: str) -> str:
        self._certain = self._measured = False
        return f"\0{what}"


_IGNORED: Final = "\0ignored"
_BEYOND: Final = Form(b"", False, whole=False)
FormOf = Callable[[Any], Form]


def _on_grid(number: Any, tolerance: float) -> str:
    place = _as_float(number) / (tolerance * _GRID)
    return str(math.floor(place)) if math.isfinite(place) else spelling(number)


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")
