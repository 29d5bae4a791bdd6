"""Text by its lines, anything that is no text by its bytes."""

import hashlib
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from comparators.model import ABSENT, MAX_DIFFERENCES, Difference, Kind
from comparators.values import Found

# Finding the shortest way from one list of lines to another is quadratic.
MAX_ALIGNED_LINES: Final = 2000


def compare_text(legacy: str, new: str) -> Found:
    """Lines that differ; the path has the number of the line in legacy, from 1 on.

    Line ends and white space at the end of lines do not count.
    """
    one, other = _lines(legacy), _lines(new)
    if one == other:
        return Found()
    found: list[Difference] = []
    detail = ""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    before, after = one[start : len(one) - end], other[start : len(other) - end]
    if max(len(before), len(after)) > MAX_ALIGNED_LINES:
        detail = f"more than {MAX_ALIGNED_LINES} lines between the first and the last difference"
        codes = [("replace", 0, len(before), 0, len(after))]
    else:
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        codes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    for _, from_one, to_one, from_other, to_other in codes:
        lines = zip_longest(before[from_one:to_one], after[from_other:to_other], fillvalue=ABSENT)
        for offset, (left, right) in enumerate(lines):
            path = f"$.line[{start + from_one + offset + 1}]"
            found.append(Difference(path, _kind(left, right), left, right))
            if len(found) >= MAX_DIFFERENCES:
                return Found(tuple(found), True, f"more than {MAX_DIFFERENCES} lines differ")
    return Found(tuple(found), bool(detail), detail)


def compare_binary(legacy: bytes, new: bytes) -> Found:
    """One difference with length, hash and the first byte that is another one."""
    if legacy == new:
        return Found()
    at = next(
        (at for at, (one, other) in enumerate(zip(legacy, new, strict=False)) if one != other),
        min(len(legacy), len(new)),
    )
    return Found((Difference("$", Kind.BYTES, _digest(legacy, at), _digest(new, at)),))


def _digest(data: bytes, at: int) -> str:
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{len(data)} bytes, sha256 {digest}, first differing byte at {at}"


def _kind(left: object, right: object) -> Kind:
    if right is ABSENT:
        return Kind.MISSING
    return Kind.ADDED if left is ABSENT else Kind.TEXT


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]
