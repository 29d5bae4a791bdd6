"""Which items of two arrays belong together: by a key, by being equal, or by their place.

Items of the same form (`comparators.sameness`) are matched first, in linear time. Where forms are
not certain, items are compared under the rules, as many as the walk allows. DeepDiff sees only what
is left, and only while that is small: finding the nearest partner of each is quadratic. Beyond
these bounds items are paired in their order, and the result says so. With the sides exchanged the
same items belong together.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from deepdiff import DeepDiff

from comparators.matching import Equal, Items, Place, by_mark, is_in_order, without_pairs
from comparators.numeric import NUMBERS, number_of, spelling
from comparators.repeated import Repeated
from comparators.rules import CompiledRules, place_of
from comparators.sameness import Form, FormOf, Where, strictly_equal
from comparators.subsequence import common_subsequence

KEYS: Final = ("id", "key", "uuid", "name")  # by which items are matched if nothing else is said
TOO_LONG: Final = "an array is too long, or too deep, to find what changed in it"
TOO_MUCH: Final = "an array has too much in it to be matched under the rules"
MAX_NEAREST: Final = 12  # items left on each side
MAX_NEAREST_DEPTH: Final = 32
# What DeepDiff takes grows with the square of what the items take as text, and with the pairs of
# them. So much for all arrays of a comparison: half a second.
MAX_NEAREST_WORK: Final = (8 << 10) ** 2
_PAIR_WORK: Final = 200**2

Pair = tuple[Place, Place]


@dataclass(slots=True)
class Matched:
    """Pairs with legacy's index, and what has no partner. `detail`: a bound that was reached."""

    pairs: Iterable[tuple[int, Any, Any]] = ()
    missing: Items = field(default_factory=list)
    added: Items = field(default_factory=list)
    detail: str = ""
    nearest_work: int = 0  # of MAX_NEAREST_WORK


def match_by_key(
    legacy: list[Any], new: list[Any], key: str | None, state: Where, rules: CompiledRules
) -> Matched | None:
    """Items with the same value under a key, where every item has it, each only once.

    `state` is that of an item. A key that is ignored, or has a tolerance, tells no item apart.
    """
    for name in (key,) if key is not None else KEYS:
        below = state.key(name) if state is not None else None
        place = place_of(below.matches) if below is not None else None
        if place is not None and (place.ignored or place.tolerance is not None):
            continue
        one, other = _by_key(legacy, name, rules), _by_key(new, name, rules)
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


def match_equal(
    legacy: list[Any], new: list[Any], form: FormOf, equal: Equal, most_nearest_work: int
) -> Matched:
    """Items in any order: those that are equal under the rules first, then the nearest.

    `equal` compares two items; it is asked only where their forms are the same and not certain.
    """
    one, other, is_whole = _without_same(legacy, new, form, equal)
    detail = "" if is_whole else TOO_MUCH
    work = _nearest_work(one, other)
    if work <= most_nearest_work:
        pairs, missing, added = _nearest(one, other)
    else:
        pairs, missing, added = _in_order(one, other)
        work = 0
        detail = detail or "an array without a key is too long to find what changed in it"
    by_place = sorted(pairs, key=lambda pair: pair[0][0])
    return Matched(
        [(at, each, partner) for (at, each), (_, partner) in by_place],
        sorted(missing, key=_index),
        sorted(added, key=_index),
        detail,
        work,
    )


def align(legacy: list[Any], new: list[Any], form: FormOf, most: int) -> Matched:
    """Arrays in order, of different lengths: the fewest items missing or added.

    Where there are more than `most` items between the same ends, they belong together by place.
    """
    start, end = _same_ends(legacy, new)
    one, other = legacy[start : len(legacy) - end], new[start : len(new) - end]
    if len(one) + len(other) > most:
        return by_place(one, other, start)
    # Small numbers for the forms: an array can have a million items.
    numbers: dict[bytes, int] = {}
    forms, other_forms = [form(each) for each in one], [form(each) for each in other]
    same, is_exact = common_subsequence(
        [numbers.setdefault(each.mark, len(numbers)) for each in forms],
        [numbers.setdefault(each.mark, len(numbers)) for each in other_forms],
    )
    pairs: list[tuple[int, Any, Any]] = []
    matched = Matched(pairs, detail="" if is_exact else TOO_LONG)
    at, to = 0, 0
    for next_at, next_to in [*same, (len(one), len(other))]:
        common = min(next_at - at, next_to - to)
        pairs += [
            (start + at + offset, one[at + offset], other[to + offset]) for offset in range(common)
        ]
        matched.missing += [(start + left, one[left]) for left in range(at + common, next_at)]
        matched.added += [(start + left, other[left]) for left in range(to + common, next_to)]
        is_end = next_at == len(one)
        if not is_end and not (forms[next_at].certain and other_forms[next_to].certain):
            pairs.append((start + next_at, one[next_at], other[next_to]))
        at, to = next_at + 1, next_to + 1
    return matched


def by_place(one: list[Any], other: list[Any], start: int = 0) -> Matched:
    """Items by their place alone; the first is at `start`."""
    common = min(len(one), len(other))
    return Matched(
        zip(range(start, start + common), one, other, strict=False),
        [(start + at, one[at]) for at in range(common, len(one))],
        [(start + at, other[at]) for at in range(common, len(other))],
        TOO_LONG,
    )


def _same_ends(legacy: list[Any], new: list[Any]) -> tuple[int, int]:
    """How many items are the same at the start of both, and how many at the end."""
    shortest = min(len(legacy), len(new))
    start, end = 0, 0
    try:
        while start < shortest and _is_same(legacy[start], new[start]):
            start += 1
        while end < shortest - start and _is_same(legacy[-1 - end], new[-1 - end]):
            end += 1
    except RecursionError:
        pass  # too deep for that: what is left is looked at more closely
    return start, end


def _is_same(one: Any, other: Any) -> bool:
    return one is other or strictly_equal(one, other)


def _by_key(items: list[Any], key: str, rules: CompiledRules) -> dict[Any, Place] | None:
    found: dict[Any, Place] = {}
    for at, each in enumerate(items):
        value = each.get(key) if isinstance(each, dict) else None
        if value is None or isinstance(value, dict | list | Repeated):
            return None
        marked = _key_mark(value, rules)
        if marked in found:
            return None
        found[marked] = (at, each)
    return found


def _key_mark(value: Any, rules: CompiledRules) -> tuple[Any, Any]:
    """What is the same for keys that are: 1, 1.0, "1" and true are four, unless the rules say."""
    number = number_of(value) if rules.number_text else value
    if (rules.number_text or rules.int_float) and number.__class__ in NUMBERS:
        return (None, spelling(number))
    return (value.__class__, value)


def _without_same(
    legacy: list[Any], new: list[Any], form: FormOf, equal: Equal
) -> tuple[Items, Items, bool]:
    """What is left when equal items are taken out in pairs; whether all of it was looked at."""
    groups, forms, left = _by_form(legacy, form)
    other_groups, other_forms, other_left = _by_form(new, form)
    is_whole = not left and not other_left
    for mark, one in groups.items():
        other = other_groups.pop(mark, [])
        if other and one[0][0] not in forms:  # nor the others: certain is the mark
            common = min(len(one), len(other))
            one, other = one[common:], other[common:]
        elif other:
            one, other, is_done = without_pairs(one, other, forms, other_forms, equal)
            is_whole = is_whole and is_done
        left += one
        other_left += other
    for other in other_groups.values():
        other_left += other
    return left, other_left, is_whole


def _by_form(items: list[Any], form: FormOf) -> tuple[dict[bytes, Items], dict[int, Form], Items]:
    """Items by the marks of their forms; the forms that are not certain; what has no whole one."""
    groups: dict[bytes, Items] = {}
    uncertain: dict[int, Form] = {}
    rest: Items = []
    for at, each in enumerate(items):
        found = form(each)
        if not found.whole:
            rest.append((at, each))
            continue
        groups.setdefault(found.mark, []).append((at, each))
        if not found.certain:
            uncertain[at] = found
    return groups, uncertain, rest


def _in_order(one: Items, other: Items) -> tuple[list[Pair], Items, Items]:
    """Pairs of what is left, as it stands there."""
    one, other = sorted(one, key=_index), sorted(other, key=_index)
    common = min(len(one), len(other))
    return list(zip(one[:common], other[:common], strict=True)), one[common:], other[common:]


def _nearest(one: Items, other: Items) -> tuple[list[Pair], Items, Items]:
    """Pairs of what is left, the most alike first."""
    one, other = by_mark(one), by_mark(other)
    if is_in_order(one, other):
        return _nearest_of(one, other)
    pairs, other, one = _nearest_of(other, one)
    return [(each, partner) for partner, each in pairs], one, other


def _nearest_of(one: Items, other: Items) -> tuple[list[Pair], Items, Items]:
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
    return found, [one[i] for i in left_one], [other[j] for j in left_other]


def _nearest_work(one: Items, other: Items) -> int:
    """What it would take to find the most alike of them; none where there is nothing to choose."""
    if not one or not other:
        return 0
    # Depth and number before the text: what is very deep has no repr.
    if max(len(one), len(other)) > MAX_NEAREST or _is_much([each for _, each in one + other]):
        return MAX_NEAREST_WORK + 1
    size = sum(len(repr(each)) for _, each in one + other)
    return size**2 + len(one) * len(other) * _PAIR_WORK


def _is_much(level: list[Any]) -> bool:
    """Whether values nest deeper, or are more, than DeepDiff can be asked about."""
    most = math.isqrt(MAX_NEAREST_WORK)
    for _ in range(MAX_NEAREST_DEPTH):
        most -= len(level)
        if most < 0:
            return True
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
    try:
        found = DeepDiff(one, other, ignore_order=True, get_deep_distance=True, max_passes=2)
        return float(found.get("deep_distance", 0.0))
    except Exception:
        return 0.5  # a lone surrogate, and whatever else it cannot hash


def _index(place: Place) -> int:
    return place[0]
