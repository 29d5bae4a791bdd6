"""What two sequences have in common: the most there is, and the same seen from either side."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators import subsequence
from comparators.subsequence import common_subsequence

SEQUENCES = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=12)


def slowest(one: list[bytes], other: list[bytes]) -> int:
    """The length of the longest common subsequence, by the table of the textbooks."""
    rows = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            both = rows[i][j] + 1 if left == right else 0
            rows[i + 1][j + 1] = max(both, rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


def check(one: list[bytes], other: list[bytes], pairs: list[tuple[int, int]]) -> None:
    assert all(one[i] == other[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


@given(SEQUENCES, SEQUENCES)
def test_it_is_the_longest(one: list[bytes], other: list[bytes]) -> None:
    pairs, is_exact = common_subsequence(one, other)
    assert is_exact
    check(one, other, pairs)
    assert len(pairs) == slowest(one, other)


@given(SEQUENCES, SEQUENCES)
def test_it_is_the_same_from_either_side(one: list[bytes], other: list[bytes]) -> None:
    pairs, _ = common_subsequence(one, other)
    assert common_subsequence(other, one)[0] == [(j, i) for i, j in pairs]


@given(SEQUENCES, SEQUENCES)
def test_beyond_the_bound_it_is_still_right(one: list[bytes], other: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsequence, "MAX_BITS", 0)
        pairs, is_exact = common_subsequence(one, other)
        assert common_subsequence(other, one)[0] == [(j, i) for i, j in pairs]
    check(one, other, pairs)
    assert not is_exact or len(pairs) == slowest(one, other)


def test_large_ones_take_no_time() -> None:
    chance = random.Random(1)
    one = [b"%d" % chance.randrange(10**6) for _ in range(60_000)]
    other = one[:100] + one[200:30_000] + [b"new"] + one[30_000:]
    pairs, is_exact = common_subsequence(one, other)
    assert not is_exact
    assert len(pairs) > 0.9 * len(one)
