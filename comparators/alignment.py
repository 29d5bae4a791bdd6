"""Which items of two arrays belong together: by a key, by being equal, or by their place.

Equal items are matched first, by their canonical bytes, in linear time. DeepDiff sees only what is
left, and only while that is small: finding the nearest partner of each is quadratic. Beyond that
bound items are paired in their order, and the result says so.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final

import orjson
from deepdiff import DeepDiff

KEYS: Final = ("id", "key", "uuid", "name")  # by which items are matched if nothing else is said
MAX_NEAREST: Final = 12  # items left on each side
MAX_NEAREST_BYTES: Final = 16 << 10
MAX_ALIGNED: Final = 1000

Items = list[tuple[int, Any]]


@dataclass(slots=True)
class Matched:
    """Pairs with legacy's index, and what has no partner. `detail`: a bound that was reached."""

    pairs: list[tuple[int, Any, Any]] = field(default_factory=list)
    missing: Items = field(default_factory=list)
    added: Items = field(default_factory=list)
    detail: str = ""


def match_by_key(legacy: list[Any], new: list[Any], key: str | None) -> Matched | None:
    """Items with the same value under a key, where every item has it, each only once."""
    for name in (key,) if key is not None else KEYS:
        one, other = _by_key(legacy, name), _by_key(new, name)
        if one is not None and other is not None:
            return Matched(
                [
                    (at, each, other[value][1])
                    for value, (at, each) in one.items()
                    if value in other
                ],
                [place for value, place in one.items() if value not in other],
                [place for value, place in other.items() if value not in one],
            )
    return None


def match_equal(legacy: list[Any], new: list[Any], equal: Callable[[Any, Any], bool]) -> Matched:
    """Items in any order: equal ones first, then those that `equal` accepts, then the nearest."""
    one, other = _without_same(legacy, new)
    detail = ""
    if len(one) * len(other) <= MAX_ALIGNED * 10:
        one, other = _without_equal(one, other, equal)
    elif one and other:
        detail = "an array without a key is too long to be matched under the rules"
    pairs, one, other, kept_order = _nearest(one, other)
    if kept_order:
        detail = detail or "an array without a key is too long to find what changed in it"
    return Matched(pairs, one, other, detail)


def align(legacy: list[Any], new: list[Any]) -> Matched:
    """Arrays in order, of different lengths: the fewest items missing or added."""
    one, other = [_canonical(each) for each in legacy], [_canonical(each) for each in new]
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    matched = Matched()
    middle = slice(start, len(one) - end), slice(start, len(other) - end)
    if max(len(one), len(other)) - start - end > MAX_ALIGNED:
        blocks = [("replace", 0, len(one) - start - end, 0, len(other) - start - end)]
    else:
        matcher = SequenceMatcher(None, one[middle[0]], other[middle[1]], autojunk=False)
        blocks = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    for _, from_one, to_one, from_other, to_other in blocks:
        common = min(to_one - from_one, to_other - from_other)
        for offset in range(common):
            at = start + from_one + offset
            matched.pairs.append((at, legacy[at], new[start + from_other + offset]))
        left = range(start + from_one + common, start + to_one)
        matched.missing += [(at, legacy[at]) for at in left]
        left = range(start + from_other + common, start + to_other)
        matched.added += [(at, new[at]) for at in left]
    return matched


def _by_key(items: list[Any], key: str) -> dict[Any, tuple[int, Any]] | None:
    found: dict[Any, tuple[int, Any]] = {}
    for at, each in enumerate(items):
        value = each.get(key) if isinstance(each, dict) else None
        if value is None or isinstance(value, dict | list):
            return None
        marked = (value.__class__, value)  # 1, 1.0 and true are three keys
        if marked in found:
            return None
        found[marked] = (at, each)
    return found


def _without_same(legacy: list[Any], new: list[Any]) -> tuple[Items, Items]:
    """What is left when items of the same canonical bytes are taken out in pairs."""
    places: defaultdict[Hashable, deque[int]] = defaultdict(deque)
    for at, each in enumerate(new):
        places[_canonical(each)].append(at)
    left: Items = []
    taken = set()
    for at, each in enumerate(legacy):
        same = places.get(_canonical(each))
        if same:
            taken.add(same.popleft())
        else:
            left.append((at, each))
    return left, [(at, each) for at, each in enumerate(new) if at not in taken]


def _without_equal(
    one: Items, other: Items, equal: Callable[[Any, Any], bool]
) -> tuple[Items, Items]:
    left = []
    for place in one:
        at = next((at for at, each in enumerate(other) if equal(place[1], each[1])), None)
        if at is None:
            left.append(place)
        else:
            other = other[:at] + other[at + 1 :]
    return left, other


def _nearest(one: Items, other: Items) -> tuple[list[tuple[int, Any, Any]], Items, Items, bool]:
    """Pairs of what is left, the most alike first; whether it was too much for that."""
    if not one or not other:
        return [], one, other, False
    size = sum(len(repr(each)) for _, each in (*one, *other)) if len(one) <= MAX_NEAREST else 0
    if len(one) > MAX_NEAREST or len(other) > MAX_NEAREST or size > MAX_NEAREST_BYTES:
        common = min(len(one), len(other))
        pairs = [(at, each, other[i][1]) for i, (at, each) in enumerate(one[:common])]
        return pairs, one[common:], other[common:], True
    distances = sorted(
        (_distance(one[i][1], other[j][1]), i, j)
        for i in range(len(one))
        for j in range(len(other))
    )
    pairs, left_one, left_other = [], set(range(len(one))), set(range(len(other)))
    for distance, i, j in distances:
        if i in left_one and j in left_other and distance < 1.0:
            left_one.discard(i)
            left_other.discard(j)
            pairs.append((one[i][0], one[i][1], other[j][1]))
    return (
        sorted(pairs, key=lambda pair: pair[0]),
        [one[i] for i in sorted(left_one)],
        [other[j] for j in sorted(left_other)],
        False,
    )


def _distance(one: Any, other: Any) -> float:
    """0 to 1, by DeepDiff; 1 where two values have nothing in common."""
    if isinstance(one, dict | list) != isinstance(other, dict | list):
        return 1.0
    if not isinstance(one, dict | list):
        return 0.5
    found = DeepDiff(one, other, ignore_order=True, get_deep_distance=True, max_passes=2)
    return float(found.get("deep_distance", 0.0))


def _canonical(value: Any) -> Hashable:
    """What is the same for two values only if they are the same, down to the types of numbers."""
    if value.__class__ is str or value is None:
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError):
        return _Same(value)


class _Same:
    """A value that orjson cannot write (a large number, great depth): alike by itself alone."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value.__class__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or self.value.__class__ is not other.value.__class__:
            return False
        if isinstance(self.value, dict | list):
            return self.value is other.value
        return bool(self.value == other.value)
