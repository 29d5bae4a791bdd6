"""Text by its lines, anything that is no text by its bytes."""

import hashlib
import re
from itertools import zip_longest
from typing import Final

from comparators.model import ABSENT, MAX_DIFFERENCES, Difference, Kind
from comparators.rules import CompiledRules
from comparators.subsequence import common_subsequence
from comparators.values import Found

# Not all of Unicode's line ends: to most who read a text, those are characters.
LINE_END: Final = re.compile(r"\r\n|\r|\n")
_BLANK: Final = " \t\r\n"


def compare_text(legacy: str, new: str, rules: CompiledRules) -> Found:
    """Lines that differ; the path has the number of the line in legacy, from 1 on.

    How lines end, blanks at their ends and empty lines at the end of the text do not count. A line
    that new alone has is told by its number there.
    """
    one, other = _lines(legacy), _lines(new)
    if one == other:
        return Found()
    pairs, is_exact = common_subsequence(
        [line.encode("utf-8", "surrogatepass") for line in one],
        [line.encode("utf-8", "surrogatepass") for line in other],
    )
    found: list[Difference] = []
    detail = "" if is_exact else "too many lines to find what changed in them"
    at, to = 0, 0
    for next_at, next_to in [*pairs, (len(one), len(other))]:
        lines = zip_longest(one[at:next_at], other[to:next_to], fillvalue=ABSENT)
        for offset, (left, right) in enumerate(lines):
            number = 1 + offset + (to if left is ABSENT else at)
            if rules.ignores(("line", number)):
                continue
            if len(found) >= MAX_DIFFERENCES:
                return Found(tuple(found), True, f"more than {MAX_DIFFERENCES} lines differ")
            found.append(Difference(f"$.line[{number}]", _kind(left, right), left, right))
        at, to = next_at + 1, next_to + 1
    return Found(tuple(found), bool(detail), detail)


def compare_binary(legacy: bytes, new: bytes) -> Found:
    """One difference with length, hash and the first byte that is another one."""
    if legacy == new:
        return Found()
    at = _first_difference(legacy, new)
    return Found((Difference("$", Kind.BYTES, _digest(legacy, at), _digest(new, at)),))


def _first_difference(legacy: bytes, new: bytes) -> int:
    """Found by halves: comparing slices is a thousand times faster than comparing bytes."""
    one, other = memoryview(legacy), memoryview(new)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _digest(data: bytes, at: int) -> str:
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{len(data)} bytes, sha256 {digest}, first differing byte at {at}"


def _kind(left: object, right: object) -> Kind:
    if right is ABSENT:
        return Kind.MISSING
    return Kind.ADDED if left is ABSENT else Kind.TEXT


def _lines(text: str) -> list[str]:
    return [line.rstrip(_BLANK) for line in LINE_END.split(text.rstrip(_BLANK))]
