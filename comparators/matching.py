"""Pairing items that may be equal to several others: as many as can be.

Under a tolerance 1.5 equals 1 and 2, and those do not equal each other. So it takes augmenting
paths (Kuhn 1955); two items are compared only when it comes to them.
"""

import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Final

from comparators.sameness import Form, strict_mark

MAX_TRIES: Final = 300_000  # of pairs, for the items of one form

MAX_TRIES_AGAIN: Final = 10_000  # of pairs, where identical items may be partners of others
_FLOAT_ERROR: Final = 1e-12

Place = tuple[int, Any]  # an index and what stands there
Items = list[Place]
Equal = Callable[[Any, Any], bool]
Forms = Mapping[int, Form]


def without_pairs(
    one: Items, other: Items, forms: Forms, other_forms: Forms, equal: Equal
) -> tuple[Items, Items, bool]:
    """What is left when as many as possible are taken out in pairs; whether all were tried.

    `forms` are those of the items, by index; all have the same mark. With the sides exchanged the
    same is left.
    """
    one, other = _by_numbers(one, forms), _by_numbers(other, other_forms)
    if not one or not other:
        return one, other, True
    tolerance = _tolerance(one, forms)
    if tolerance and tolerance == _tolerance(other, other_forms):
        return *_without_near(one, other, forms, other_forms, tolerance, equal), True
    few, few_other = _without_identical(one, other)
    is_few = (len(one) + len(other)) * min(len(few), len(few_other)) <= MAX_TRIES_AGAIN
    left, left_other, is_whole = _without_equal(few, few_other, equal)
    if left and left_other and is_whole and is_few and len(few) < len(one):
        # What is identical may have to take another partner.
        return _without_equal(one, other, equal)
    return left, left_other, is_whole


def _tolerance(items: Items, forms: Forms) -> float | None:
    """That of the one number in each of them; None where more, or another thing, decides."""
    is_finite = all(map(math.isfinite, chain.from_iterable(forms[at].numbers for at, _ in items)))
    return forms[items[0][0]].tolerance if is_finite else None


def _by_numbers(items: Items, forms: Forms) -> Items:
    """What is within a tolerance is then near, on either side."""
    return sorted(items, key=lambda each: (forms[each[0]].numbers, strict_mark(each[1]), each[0]))


def _without_equal(one: Items, other: Items, equal: Equal) -> tuple[Items, Items, bool]:
    if is_in_order(one, other):
        return _Pairing(one, other, equal).left()
    other, one, is_whole = _Pairing(other, one, equal).left()
    return one, other, is_whole


def _without_near(
    one: Items, other: Items, forms: Forms, other_forms: Forms, tolerance: float, equal: Equal
) -> tuple[Items, Items]:
    """Where a single number decides: the least of both sides either are a pair, or the lesser has
    no partner. So as many pairs are found as there can be, in one go."""
    left: Items = []
    left_other: Items = []
    at = to = 0
    while at < len(one) and to < len(other):
        (less,), (more,) = forms[one[at][0]].numbers, other_forms[other[to][0]].numbers
        gap = abs(less - more)
        # Numbers count as they are written: where floats are too coarse to tell, they are compared.
        slack = _FLOAT_ERROR * max(abs(less), abs(more), tolerance)
        is_clear = abs(gap - tolerance) > slack
        if gap < tolerance if is_clear else equal(one[at][1], other[to][1]):
            at, to = at + 1, to + 1
        elif less < more:
            left.append(one[at])
            at += 1
        else:
            left_other.append(other[to])
            to += 1
    return [*left, *one[at:]], [*left_other, *other[to:]]


def by_mark(items: Items) -> Items:
    """In an order of their own, whatever side they are of."""
    return sorted(items, key=lambda each: (strict_mark(each[1]), each[0]))


def is_in_order(one: Items, other: Items) -> bool:
    """Which of the sides, sorted, comes first: for what does not treat them alike."""
    return [strict_mark(each) for _, each in one] <= [strict_mark(each) for _, each in other]


def _without_identical(one: Items, other: Items) -> tuple[Items, Items]:
    waiting: dict[bytes, Items] = {}
    for place in reversed(other):
        waiting.setdefault(strict_mark(place[1]), []).append(place)
    left = []
    for place in one:
        same = waiting.get(strict_mark(place[1]))
        if same:
            same.pop()
        else:
            left.append(place)
    kept = {at for same in waiting.values() for at, _ in same}
    return left, [place for place in other if place[0] in kept]


class _Pairing:
    def __init__(self, one: Items, other: Items, equal: Equal) -> None:
        self._one = one
        self._other = other
        self._equal = equal
        self._compared: dict[tuple[int, int], bool] = {}
        self._tries = 0
        self._partner: dict[int, int] = {}  # of one's items, and the other way round
        self._holder: dict[int, int] = {}
        self._lost: set[int] = set()  # what leads to no free partner any more

    def left(self) -> tuple[Items, Items, bool]:
        """What stays without a partner on each side; whether all were tried."""
        for at in range(len(self._one)):
            if self._tries <= MAX_TRIES:
                self._find(at)
        return (
            [each for at, each in enumerate(self._one) if at not in self._partner],
            [each for to, each in enumerate(self._other) if to not in self._holder],
            self._tries <= MAX_TRIES,
        )

    def _find(self, start: int) -> None:
        """A partner for this one, where others have to take another partner for it too."""
        came: dict[int, int] = {}  # from which of one's items
        reached = [start]
        for at in reached:
            # Sorted as they are, the partner is mostly at the same place or close behind.
            behind = range(at, len(self._other))
            for to in chain(behind, range(min(at, len(self._other)))):
                self._tries += 1
                if self._tries > MAX_TRIES:
                    return
                if to in came or to in self._lost or not self._are_equal(at, to):
                    continue
                came[to] = at
                if to not in self._holder:
                    self._take(to, came)
                    return
                reached.append(self._holder[to])
        self._lost |= came.keys()

    def _take(self, to: int, came: dict[int, int]) -> None:
        following: int | None = to
        while following is not None:
            at = came[following]
            before = self._partner.get(at)
            self._partner[at], self._holder[following] = following, at
            following = before

    def _are_equal(self, at: int, to: int) -> bool:
        known = self._compared.get((at, to))
        if known is None:
            known = self._equal(self._one[at][1], self._other[to][1])
            self._compared[at, to] = known
        return known
