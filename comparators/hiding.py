"""Hides secrets in texts: those of any form (`secrets`), and those that the text names (`named`).

A secret becomes `redacted:` and twelve digits of a keyed hash of it. What has been hidden stays as
it is, so that hiding twice is hiding once. Paths are hidden and cut here too: the keys of a body
are texts of whoever sent it.
"""

import re
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

from comparators.canonical import canonical
from comparators.named import named_spans
from comparators.paths import Deep, JsonPath, render
from comparators.secrets import HASHED, MARK, Span, is_secret_name, shape_spans

MOST_SEARCHED: Final = 256 << 10  # characters, about a quarter of a second
LONGEST_PATH: Final = 290  # characters, as it is shown and stored
_LONGEST_PART: Final = 120  # of the begin and the end of one that is longer
_LONGEST_PIECE: Final = 80
# A letter, a digit or what is in a name, a number or an address, escaped as JSON does.
_ESCAPED = re.compile(
    r"\\{1,15}u00(2[de0]|3[0-9ad]|40|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])",
    re.ASCII | re.IGNORECASE,
)
# Sixteen characters are a name and a value, or an address.
_BASE64 = re.compile(r"(?<![\w+/-])[\w+/-]{16,}+(?![\w+/-])", re.ASCII)
_URL_SAFE: Final = str.maketrans("-_", "+/")
_NUMBER = re.compile(r"[0-9]+")
# Of `{"sessions": {"f81d4fae7dec": ...}}`: no word that a field would have for a name.
_OPAQUE_KEY = re.compile(r"(?=[^0-9]*+[0-9]).{6,}|.{33,}", re.DOTALL)
_LINE = re.compile(r"[^\r\n]+")
_PIECE = re.compile(r"[^\s][^\r\n]*")

# What a terminal, a log or a page could take for something else: control characters, overrides of
# the direction of text, the separators of lines and paragraphs, lone surrogates.
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SHORTEST: Final = 6  # no shape is shorter, nor a name with a value
_LONGEST_KEPT: Final = 64  # characters of a text that is kept with what is shown of it


class Hider:
    """Hides with the key of an installation; `names` (folded) are secret beside the built-in ones.

    No method raises on any value.
    """

    def __init__(self, key: bytes, names: Collection[str] = ()) -> None:
        self._key = key[:64]
        self._names = frozenset(names)

    def text(self, text: str) -> str:
        """Any text, the secrets in it replaced."""
        if len(text) < _SHORTEST:
            return text
        if len(text) > _LONGEST_KEPT:
            return self._replaced(text, self._spans(text))
        return _hidden_in(self, text)

    def lines(self, text: str, wanted: Collection[str]) -> dict[str, str]:
        """Of the wanted lines of a text those that have secrets in them, as they may be shown.

        A text of more than MOST_SEARCHED characters takes too long: all of them may have.
        """
        if len(text) > MOST_SEARCHED:
            return {line: self.hashed(line) for line in wanted}
        spans = self._spans(text)
        ends = [end for _, end in spans]
        shown: dict[str, str] = {}
        for found in _LINE.finditer(text):
            # As they are compared: without blanks at their ends.
            line, start = found[0].rstrip(" \t"), found.start()
            if line not in wanted:
                continue
            inside = []
            at = bisect_right(ends, start)
            while at < len(spans) and spans[at][0] < start + len(line):
                begin, end = spans[at]
                inside.append((max(begin - start, 0), min(end - start, len(line))))
                at += 1
            if inside:
                made = self._replaced(line, inside)
                # Which of several is meant nobody knows.
                shown[line] = made if shown.get(line, made) == made else self.hashed(line)
        return shown

    def hashed(self, value: Any) -> str:
        """What stands for a secret value."""
        if isinstance(value, str) and HASHED.fullmatch(value):
            return value
        return MARK + blake2b(canonical(value), key=self._key, digest_size=6).hexdigest()

    def key(self, key: str, *, is_below: bool) -> str:
        """A key in a path. `is_below`: what is around it is a secret, so it may be one itself."""
        return self.hashed(key) if is_below and _OPAQUE_KEY.fullmatch(key) else self.text(key)

    def markup(self, text: str) -> str:
        """Markup whose elements have been looked at: what is left in it."""
        return self._replaced(text, self._spans(text, elements=False))

    def is_named(self, name: str) -> bool:
        """Whether what goes under this name is secret."""
        return is_secret_name(name) or self.is_ruled(name) or self.is_ruled(name.rpartition(".")[2])

    def is_ruled(self, name: str) -> bool:
        """Whether it is a name of the rules."""
        return bool(self._names) and folded(name) in self._names

    def rendered(self, steps: JsonPath) -> str:
        """A path into a body as it may be shown, of at most LONGEST_PATH characters."""
        pieces = [showable(piece) for piece in self._pieces(steps)]
        if sum(map(len, pieces)) < LONGEST_PATH:
            return "$" + "".join(pieces)
        pieces = [self.cut(piece, _LONGEST_PIECE) for piece in pieces]
        if sum(map(len, pieces)) < LONGEST_PATH:
            return "$" + "".join(pieces)
        # What lies in the middle is told by a hash: other places are other signatures.
        first, last = _fitting(pieces), _fitting(pieces[::-1])
        between = pieces[first : len(pieces) - last]
        more = f".\u2026({len(between)} more, {self._digits(''.join(between))})" if between else ""
        return f"${''.join(pieces[:first])}{more}{''.join(pieces[len(pieces) - last :])}"

    def cut(self, text: str, most: int) -> str:
        """The text, a hash in place of what is beyond `most` characters."""
        if len(text) <= most:
            return text
        end = "']" if text.endswith("']") else ""
        return f"{text[: most - 9]}\u2026{self._digits(text)}{end}"

    def _spans(self, text: str, *, elements: bool = True) -> list[Span]:
        """Where secrets stand in a text, in order, none overlapping."""
        spans = _merged(
            (
                *self._found(text, elements),
                *self._escaped(text, elements),
                *self._encoded(text, elements),
            )
        )
        if "\n" in text or "\r" in text:
            spans = [piece for span in spans for piece in _by_line(text, span)]
        return _without_hashed(text, spans) if MARK in text else spans

    def _found(self, text: str, elements: bool) -> list[Span]:
        return [*shape_spans(text), *named_spans(text, self.is_named, elements)]

    def _escaped(self, text: str, elements: bool) -> Iterator[Span]:
        """Where secrets stand in a text in which letters or digits are escaped (`\\u0077`)."""
        if "u00" not in text or not (escapes := list(_ESCAPED.finditer(text))):
            return
        pieces: list[str] = []
        ends: list[int] = []  # where the escapes end in the plain text
        removed = [0]  # how much is gone by then
        at = length = 0
        for found in escapes:
            pieces += (text[at : found.start()], chr(int(found[1], 16)))
            length += found.start() - at + 1
            at = found.end()
            ends.append(length)
            removed.append(at - length)
        for begin, end in self._found("".join((*pieces, text[at:])), elements):
            # What ends, or begins, inside an escape takes all of it.
            yield (
                begin + removed[bisect_right(ends, begin)],
                end + removed[bisect_right(ends, end)],
            )

    def _encoded(self, text: str, elements: bool) -> Iterator[Span]:
        """Where texts stand in base64 that have secrets in them."""
        for found in _BASE64.finditer(text):
            try:
                padded = found[0] + "=" * (-len(found[0]) % 4)
                plain = b64decode(padded.translate(_URL_SAFE), validate=True).decode("ascii")
            except ValueError:
                continue
            if plain.isprintable() and any(
                begin < end for begin, end in self._found(plain, elements)
            ):
                yield found.span()

    def _replaced(self, text: str, spans: list[Span]) -> str:
        pieces: list[str] = []
        at = 0
        for begin, end in spans:
            pieces += (text[at:begin], self.hashed(text[begin:end]))
            at = end
        return "".join((*pieces, text[at:]))

    def _pieces(self, steps: JsonPath) -> Iterator[str]:
        is_below = False  # something that is secret as a whole
        for step in steps:
            if isinstance(step, str) and not isinstance(step, Deep):
                key = self.key(step, is_below=is_below)
                is_below = is_below or self.is_named(step)
                yield render((key,))[1:]
            else:
                yield render((step,))[1:]

    def _digits(self, text: str) -> str:
        """Six digits that are the same for places that differ in numbers alone."""
        general = _NUMBER.sub("*", text).encode("utf-8", "replace")
        return blake2b(general, key=self._key, digest_size=3).hexdigest()


@lru_cache(maxsize=4096)
def _hidden_in(hider: Hider, text: str) -> str:
    """Names stand in each item of a list, and so do many values. One memory for all hiders."""
    return hider._replaced(text, hider._spans(text))


def showable(text: str) -> str:
    """The text without anything that steers a terminal or turns the direction of reading."""
    return _UNSHOWABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """A name without what is only its spelling: `full_name` and `fullName` are one."""
    return "".join(filter(str.isalnum, name.rpartition("}")[2].casefold()))


def _fitting(pieces: list[str]) -> int:
    """How many of them, from the first one on, fit into a part of a path."""
    return sum(1 for length in accumulate(map(len, pieces)) if length <= _LONGEST_PART)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that overlap as one."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if begin >= end:
            continue
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _by_line(text: str, span: Span) -> list[Span]:
    """A span over several lines as one in each of them: lines stay lines."""
    begin, end = span
    if _LINE.fullmatch(text, begin, end):
        return [span]
    pieces = _PIECE.finditer(text, begin, end)
    return [(each.start(), each.start() + len(each[0].rstrip())) for each in pieces]


def _without_hashed(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans but for what has been redacted in them, and what begins inside that."""
    left = []
    done = HASHED.finditer(text)
    found = next(done, None)
    for begin, end in spans:
        while found is not None and found.start() <= begin:
            begin = max(begin, found.end())
            found = next(done, None)
        if begin < end:
            left.append((begin, end))
    return left
