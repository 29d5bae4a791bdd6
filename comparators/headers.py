"""Headers that the rules name, compared by what they mean.

Names have no case; values are compared as the field defines them: media types by type and
parameters, addresses to the letter, lists without regard to spaces, Set-Cookie by its cookies
(`comparators.cookies`). What follows from the coding or the moment (Date, Content-Length ...) is
compared only where it is named.
"""

import re
from collections.abc import Iterable
from typing import Final

from comparators import content
from comparators.cookies import compare_cookies
from comparators.model import ABSENT, Difference, Kind
from comparators.paths import render_step
from comparators.rules import CompiledRules

SET_COOKIE: Final = "set-cookie"
TRANSFER_ENCODING: Final = "content-transfer-encoding"  # of parts of a multipart body
# Fields that are sets: the order of their members does not matter.
_SETS: Final = frozenset(
    ("allow", "vary", "access-control-allow-headers", "access-control-allow-methods", "connection")
)
# Fields that are one value, in which a comma and a quote are characters like any other.
_SINGLE: Final = frozenset(("location", "content-location", "refresh", "etag", "sourcemap"))
_WITH_PARAMETERS: Final = frozenset(("content-type", "content-disposition"))
# Of a part: what follows from its coding, which is undone.
_OF_THE_CODING: Final = frozenset(("content-length", "content-encoding"))
# Transfer encodings that leave the bytes as they are.
_NO_ENCODING: Final = frozenset(("7bit", "8bit", "binary"))
_PARAMETER = re.compile(r';\s*([^=;\s]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
# What is quoted and never closed goes on to the end.
_PIECE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|,|[^",]++')

Pairs = Iterable[tuple[str, str]]


def compare_headers(legacy: Pairs, new: Pairs, rules: CompiledRules) -> list[Difference]:
    """The differences in the headers that the rules name, in the order of the rules."""
    one, other = _by_name(legacy), _by_name(new)
    found: list[Difference] = []
    for name in rules.headers:
        if name in rules.ignored_headers:
            continue
        before, after = one.get(name), other.get(name)
        if before == after:
            continue
        if name == SET_COOKIE:
            dates = one.get("date", [""])[0], other.get("date", [""])[0]
            found += compare_cookies(before or [], after or [], rules.ignored_cookies, dates)
        else:
            found += _compare_header(f"header:{name}", name, before, after)
    return found


def compare_part_headers(
    legacy: Pairs, new: Pairs, rules: CompiledRules, path: str
) -> list[Difference]:
    """The differences in the headers of a part of a multipart body, under `path` as `@name`.

    The rules are those of the part. Its name is no matter of its headers.
    """
    one, other = _by_name(legacy), _by_name(new)
    for headers in (one, other):
        if headers.get(TRANSFER_ENCODING, [""])[0].lower() in _NO_ENCODING:
            del headers[TRANSFER_ENCODING]
    found: list[Difference] = []
    for name in dict.fromkeys([*one, *other]):
        step = f"@{name}"
        if name not in _OF_THE_CODING and not rules.ignores((step,)):
            before, after = one.get(name), other.get(name)
            found += _compare_header(path + render_step(step), name, before, after)
    return found


def first(headers: Pairs, name: str) -> str:
    """The first value of a header, or nothing."""
    return next((value for key, value in headers if key.lower() == name), "")


def all_of(headers: Pairs, name: str) -> str:
    """All values of a list field, as one list."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def _by_name(headers: Pairs) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def parameters(value: str) -> list[tuple[str, str]]:
    """The parameters behind the first value of a field, names in lower case, quotes undone."""
    return [(name.lower(), _unquoted(text.strip())) for name, text in _PARAMETER.findall(value)]


def media_type(value: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A type as it is compared: parameters count, but for those that mean nothing by themselves.

    These are the boundary of a multipart body, and the charset of JSON (RFC 8259 §11): what either
    does to the body is seen in the body. A part of a form is told by its name.
    """
    # What is no parameter stays with the type.
    kind = _PARAMETER.sub("", value).rstrip("; \t").lower()
    is_json = content.comparator_for(kind, b"") in (content.JSON, content.NDJSON)
    without = "charset" if is_json else "name" if kind == "form-data" else ""
    if kind.startswith("multipart/"):
        without = "boundary"
    counting = [
        (name, text.lower() if name == "charset" else text)
        for name, text in parameters(value)
        if name != without
    ]
    return kind, tuple(sorted(counting))


def _compare_header(
    path: str, name: str, before: list[str] | None, after: list[str] | None
) -> list[Difference]:
    if before is None or after is None:
        if before is after:
            return []
        kind = Kind.ADDED if before is None else Kind.MISSING
    elif _normal(name, before) == _normal(name, after):
        return []
    else:
        kind = Kind.HEADER
    values = (ABSENT if each is None else ", ".join(each) for each in (before, after))
    return [Difference(path, kind, *values)]


def _normal(name: str, values: list[str]) -> object:
    if name in _SINGLE:
        return values
    if name in _WITH_PARAMETERS:
        return [media_type(value) for value in values]
    members = [member for value in values for member in _members(value)]
    if name in _SETS:
        return sorted({member.lower() for member in members if member})
    return members


def _members(value: str) -> list[str]:
    members: list[list[str]] = [[]]
    for piece in _PIECE.findall(value):
        if piece == ",":
            members.append([])
        else:
            members[-1].append(piece)
    return ["".join(pieces).strip() for pieces in members]


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
