"""The longest common subsequence of two sequences: what a text or an array kept, in its order.

Found exactly by Hyyrö's bit-parallel algorithm ("Bit-parallel LCS-length computation revisited",
2004): one long integer holds a row of the table, so that a row costs a few additions. Its rows are
kept to walk back through, which is what bounds the size. Beyond that the patience method is used:
only what occurs once on both sides is matched.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeVar

MAX_BITS: Final = 64 << 20  # of the table: 8 MiB
_ROW_BITS: Final = 300  # that a row takes beyond its own

Pairs = list[tuple[int, int]]
T = TypeVar("T", bytes, int)


def common_subsequence(one: Sequence[T], other: Sequence[T]) -> tuple[Pairs, bool]:
    """Pairs of indices of what is the same, rising on both sides; whether they are the most.

    With the sides exchanged the pairs are the same, exchanged.
    """
    if (len(one), list(one)) > (len(other), list(other)):
        pairs, is_exact = _common(other, one)
        return [(i, j) for j, i in pairs], is_exact
    return _common(one, other)


def _common(one: Sequence[T], other: Sequence[T]) -> tuple[Pairs, bool]:
    shortest = min(len(one), len(other))
    start: int = 0
    while start < shortest and one[start] == other[start]:
        start += 1
    end: int = 0
    while end < shortest - start and one[-1 - end] == other[-1 - end]:
        end += 1
    middle, other_middle = one[start : len(one) - end], other[start : len(other) - end]
    is_exact = (len(middle) + _ROW_BITS) * len(other_middle) <= MAX_BITS
    inside: Pairs = (_longest if is_exact else _patient)(middle, other_middle)
    return [
        *((at, at) for at in range(start)),
        *((start + i, start + j) for i, j in inside),
        *((len(one) - at, len(other) - at) for at in range(end, 0, -1)),
    ], is_exact


def _longest(one: Sequence[T], other: Sequence[T]) -> Pairs:
    places: dict[T, int] = {}
    for at, each in enumerate(one):
        places[each] = places.get(each, 0) | 1 << at
    full = (1 << len(one)) - 1
    rows = [full]
    for each in other:
        row = rows[-1]
        same = row & places.get(each, 0)
        rows.append(((row + same) | (row - same)) & full)
    # In row j, a zero at i: one's first i + 1 have a longer subsequence than its first i.
    pairs: Pairs = []
    i, j = len(one) - 1, len(other) - 1
    while i >= 0 and j >= 0:
        if one[i] == other[j]:
            pairs.append((i, j))
            i -= 1
            j -= 1
        elif rows[j + 1] >> i & 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _patient(one: Sequence[T], other: Sequence[T]) -> Pairs:
    counts, other_counts = Counter(one), Counter(other)
    places = {each: at for at, each in enumerate(other) if other_counts[each] == 1}
    unique = [
        (at, places[each]) for at, each in enumerate(one) if counts[each] == 1 and each in places
    ]
    # The longest rising run of other's places: the smallest end of a run of each length.
    ends: list[int] = []
    holders: list[int] = []
    before: list[int] = []
    for at, (_, place) in enumerate(unique):
        length = bisect_left(ends, place)
        before.append(holders[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            holders.append(at)
        else:
            ends[length], holders[length] = place, at
    pairs: Pairs = []
    at = holders[-1] if holders else -1
    while at >= 0:
        pairs.append(unique[at])
        at = before[at]
    return pairs[::-1]
