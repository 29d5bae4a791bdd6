"""Headers that the rules name, and cookies that are set, compared by what they mean.

Names have no case; values are compared as the field defines them: media types by type and
parameters, lists without regard to spaces, Set-Cookie by the name of the cookie and attribute by
attribute. What follows from the coding or the moment (Date, Content-Length ...) is compared only
where it is named.
"""

import re
from collections.abc import Iterable
from typing import Final

from comparators.model import ABSENT, Difference, Kind
from comparators.rules import CompiledRules

SET_COOKIE: Final = "set-cookie"
# Fields that are sets: the order of their members does not matter.
_SETS: Final = frozenset(
    ("allow", "vary", "access-control-allow-headers", "access-control-allow-methods", "connection")
)
_MEDIA_TYPE: Final = frozenset(("content-type",))
_PARAMETER = re.compile(r';\s*([^=;\s]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_LIST_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')
# Both are moments; a cookie that is set twice a second apart has another one each time.
_MOMENTS: Final = frozenset(("expires",))

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
            found += _cookies(before or [], after or [], rules.ignored_cookies)
        elif before is None:
            found.append(Difference(f"header:{name}", Kind.ADDED, ABSENT, ", ".join(after or ())))
        elif after is None:
            found.append(Difference(f"header:{name}", Kind.MISSING, ", ".join(before), ABSENT))
        elif _normal(name, before) != _normal(name, after):
            values = ", ".join(before), ", ".join(after)
            found.append(Difference(f"header:{name}", Kind.HEADER, *values))
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


def _normal(name: str, values: list[str]) -> object:
    if name in _MEDIA_TYPE:
        return [_media_type(value) for value in values]
    members = [member.strip() for value in values for member in _LIST_MEMBER.findall(value)]
    if name in _SETS:
        return sorted({member.lower() for member in members})
    return members


def _media_type(value: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    kind, _, _ = value.partition(";")
    parameters = []
    for name, given in _PARAMETER.findall(value):
        text = _unquoted(given.strip())
        # A charset has no case; the boundary of a multipart body means nothing by itself.
        if name.lower() == "charset":
            text = text.lower()
        if name.lower() != "boundary":
            parameters.append((name.lower(), text))
    return kind.strip().lower(), tuple(sorted(parameters))


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _cookies(legacy: list[str], new: list[str], ignored: frozenset[str]) -> list[Difference]:
    one, other = _parsed(legacy), _parsed(new)
    found: list[Difference] = []
    for name in dict.fromkeys([*one, *other]):
        if name in ignored:
            continue
        path = f"cookie:{name}"
        if name not in other:
            found.append(Difference(path, Kind.MISSING, one[name]["="], ABSENT))
        elif name not in one:
            found.append(Difference(path, Kind.ADDED, ABSENT, other[name]["="]))
        else:
            found += _cookie(path, one[name], other[name])
    return found


def _cookie(path: str, one: dict[str, str], other: dict[str, str]) -> list[Difference]:
    found = []
    if one["="] != other["="]:
        found.append(Difference(path, Kind.COOKIE, one["="], other["="]))
    for attribute in sorted((one.keys() | other.keys()) - {"="}):
        before, after = one.get(attribute, ABSENT), other.get(attribute, ABSENT)
        is_moment = attribute in _MOMENTS and ABSENT not in (before, after)
        if before != after and not is_moment:
            found.append(Difference(f"{path}.{attribute}", Kind.COOKIE, before, after))
    return found


def _parsed(values: list[str]) -> dict[str, dict[str, str]]:
    """Each cookie by name: its value under "=", its attributes by their lower-case names.

    The last one of a name counts, as in a browser (RFC 6265 §5.3).
    """
    found = {}
    for value in values:
        pair, *attributes = value.split(";")
        name, _, content = pair.partition("=")
        cookie = {"=": content.strip()}
        for attribute in attributes:
            key, _, given = attribute.partition("=")
            key = key.strip().lower()
            if key:
                # But for paths, these are names without case.
                cookie[key] = given.strip() if key == "path" else given.strip().lower()
        found[name.strip()] = cookie
    return found
