"""Pairing items that may be equal to several others: as many as can be.

Under a tolerance 1.5 equals 1 and 2, and those do not equal each other. So it takes augmenting
paths (Kuhn 1955); two items are compared only when it comes to them.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from comparators.sameness import FormOf, strict_mark

MAX_TRIES: Final = 300_000  # of pairs, for the items of one form

Place = tuple[int, Any]  # an index and what stands there
Items = list[Place]
Equal = Callable[[Any, Any], bool]


def without_pairs(
    one: Items, other: Items, form: FormOf, equal: Equal
) -> tuple[Items, Items, bool]:
    """What is left when as many as possible are taken out in pairs; whether all were tried.

    With the sides exchanged the same is left.
    """

    def by_numbers(place: Place) -> tuple[Any, ...]:
        # What is within a tolerance is then near, on either side.
        return form(place[1]).numbers, strict_mark(place[1]), place[0]

    one, other = _without_identical(sorted(one, key=by_numbers), sorted(other, key=by_numbers))
    if is_in_order(one, other):
        return _Pairing(one, other, equal).left()
    other, one, is_whole = _Pairing(other, one, equal).left()
    return one, other, is_whole


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
