"""Which items of two arrays belong together: by a key, by being equal, or by their place.

Equal items are matched first, by their canonical bytes, in linear time. DeepDiff sees only what is
left, and only while that is small: finding the nearest partner of each is quadratic. Beyond that
bound items are paired in their order, and the result says so. With the sides exchanged the same
items belong together.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from deepdiff import DeepDiff

from comparators.canonical import canonical
from comparators.subsequence import common_subsequence

KEYS: Final = ("id", "key", "uuid", "name")  # by which items are matched if nothing else is said
MAX_NEAREST: Final = 12  # items left on each side
MAX_NEAREST_BYTES: Final = 16 << 10
MAX_NEAREST_DEPTH: Final = 32
MAX_UNDER_RULES: Final = 10_000  # pairs of items that are compared to find those that are equal

Place = tuple[int, Any]
Items = list[Place]
Pair = tuple[Place, Place]


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
    # In an order of their own, whichever side they are of.
    is_swapped = [key for key, _, _ in one] > [key for key, _, _ in other]
    if is_swapped:
        one, other = other, one
    left = [(at, each) for _, at, each in one], [(at, each) for _, at, each in other]
    detail = ""
    if len(one) * len(other) <= MAX_UNDER_RULES:
        left = _without_equal(*left, equal)
    elif one and other:
        detail = "an array without a key is too long to be matched under the rules"
    pairs, *left_over, kept_order = _nearest(*left)
    if kept_order:
        detail = detail or "an array without a key is too long to find what changed in it"
    if is_swapped:
        left_over.reverse()
        pairs = [(new_one, legacy_one) for legacy_one, new_one in pairs]
    missing, added = (sorted(each, key=_index) for each in left_over)
    by_place = sorted(pairs, key=lambda pair: pair[0][0])
    return Matched(
        [(at, each, partner) for (at, each), (_, partner) in by_place], missing, added, detail
    )


def align(legacy: list[Any], new: list[Any]) -> Matched:
    """Arrays in order, of different lengths: the fewest items missing or added."""
    matched = Matched()
    same, is_exact = common_subsequence(
        [_canonical(each) for each in legacy], [_canonical(each) for each in new]
    )
    if not is_exact:
        matched.detail = "an array is too long to find what changed in it"
    at, to = 0, 0
    for next_at, next_to in [*same, (len(legacy), len(new))]:
        common = min(next_at - at, next_to - to)
        matched.pairs += [
            (at + offset, legacy[at + offset], new[to + offset]) for offset in range(common)
        ]
        matched.missing += [(left, legacy[left]) for left in range(at + common, next_at)]
        matched.added += [(left, new[left]) for left in range(to + common, next_to)]
        at, to = next_at + 1, next_to + 1
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


def _without_same(
    legacy: list[Any], new: list[Any]
) -> tuple[list[tuple[bytes, int, Any]], list[tuple[bytes, int, Any]]]:
    """What is left when items of the same canonical bytes are taken out in pairs."""
    places: defaultdict[bytes, deque[tuple[int, Any]]] = defaultdict(deque)
    for at, each in enumerate(new):
        places[_canonical(each)].append((at, each))
    left = []
    for at, each in enumerate(legacy):
        key = _canonical(each)
        if places.get(key):
            places[key].popleft()
        else:
            left.append((key, at, each))
    added = [(key, at, each) for key, same in places.items() for at, each in same]
    return sorted(left, key=_key_and_index), sorted(added, key=_key_and_index)


def _without_equal(
    one: Items, other: Items, equal: Callable[[Any, Any], bool]
) -> tuple[Items, Items]:
    """What is left when as many as possible are matched that are equal under the rules.

    Those are not all equal to each other (a tolerance), so it takes Kuhn's augmenting paths.
    """
    partners = [
        [j for j, (_, partner) in enumerate(other) if equal(each, partner)] for _, each in one
    ]
    held: dict[int, int] = {}

    def find(i: int, seen: set[int]) -> bool:
        for j in partners[i]:
            if j not in seen:
                seen.add(j)
                if j not in held or find(held[j], seen):
                    held[j] = i
                    return True
        return False

    unmatched = [each for i, each in enumerate(one) if not find(i, set())]
    return unmatched, [each for j, each in enumerate(other) if j not in held]


def _nearest(one: Items, other: Items) -> tuple[list[Pair], Items, Items, bool]:
    """Pairs of what is left, the most alike first; whether it was too much for that."""
    if not one or not other:
        return [], one, other, False
    if max(len(one), len(other)) > MAX_NEAREST or _is_too_much([*one, *other]):
        one, other = sorted(one, key=_index), sorted(other, key=_index)
        common = min(len(one), len(other))
        pairs = list(zip(one[:common], other[:common], strict=True))
        return pairs, one[common:], other[common:], True
    distances = sorted(
        (_distance(one[i][1], other[j][1]), i, j)
        for i in range(len(one))
        for j in range(len(other))
    )
    found, left_one, left_other = [], set(range(len(one))), set(range(len(other)))
    for distance, i, j in distances:
        if i in left_one and j in left_other and distance < 1.0:
            left_one.discard(i)
            left_other.discard(j)
            found.append((one[i], other[j]))
    return found, [one[i] for i in left_one], [other[j] for j in left_other], False


def _is_too_much(items: Items) -> bool:
    """Whether it would take DeepDiff too long to find the most alike of them."""
    # The depth first: what is very deep has no repr.
    return (
        any(_is_deep(each) for _, each in items)
        or sum(len(repr(each)) for _, each in items) > MAX_NEAREST_BYTES
    )


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NEAREST_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _distance(one: Any, other: Any) -> float:
    """0 to 1, by DeepDiff; 1 where two values have nothing in common."""
    if isinstance(one, dict | list) != isinstance(other, dict | list):
        return 1.0
    if not isinstance(one, dict | list):
        return 0.5
    found = DeepDiff(one, other, ignore_order=True, get_deep_distance=True, max_passes=2)
    return float(found.get("deep_distance", 0.0))


def _canonical(value: Any) -> bytes:
    """What is the same for two values only if they are the same, down to the types of numbers."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError):
        return canonical(value)  # a number that no float holds, great depth


def _index(place: Place) -> int:
    return place[0]


def _key_and_index(each: tuple[bytes, int, Any]) -> tuple[bytes, int]:
    return each[:2]
