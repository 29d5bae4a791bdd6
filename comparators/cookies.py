"""Cookies that are set, compared as browsers keep them (RFC 6265): by name, domain and path."""

import re
from itertools import zip_longest
from typing import Final, TypeAlias

from comparators.model import ABSENT, Difference, Kind

VALUE: Final = "="  # no attribute has this name

# What is told, and what it means, of the value and of each attribute by its lower-case name.
Cookie: TypeAlias = dict[str, tuple[str, str]]
# The cookies of one name by domain and path, each "" where none is said.
Cookies: TypeAlias = dict[tuple[str, str], Cookie]
# Year, month, day, hour, minute, second.
Moment: TypeAlias = tuple[int, int, int, int, int, int]

# Where no answer says when it was made: what lies before this was always meant to be over.
LONG_AGO: Final[Moment] = (2025, 1, 1, 0, 0, 0)

_FLAGS: Final = frozenset(("secure", "httponly", "partitioned"))
_DELIMITERS = re.compile(r"[\t -/;-@\[-`{-~]+")
_TIME = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D.*)?", re.ASCII)
_DAY = re.compile(r"(\d{1,2})(?:\D.*)?", re.ASCII)
_YEAR = re.compile(r"(\d{2,4})(?:\D.*)?", re.ASCII)
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905


def compare_cookies(
    legacy: list[str],
    new: list[str],
    ignored: frozenset[str],
    dates: tuple[str, str] = ("", ""),
) -> list[Difference]:
    """The differences between the values of Set-Cookie, by the names of the cookies.

    `ignored` are names, and names with an attribute (`theme.path`). `dates` are the values of Date.
    """
    moments = [moment(date) for date in dates]
    known = [each or moments[0] or moments[1] or LONG_AGO for each in moments]
    one, other = _kept(legacy, known[0]), _kept(new, known[1])
    found: list[Difference] = []
    for name in dict.fromkeys([*one, *other]):
        if name in ignored:
            continue
        path = f"cookie:{name}"
        for before, after in _pairs(one.get(name, {}), other.get(name, {})):
            if after is None:
                found.append(Difference(path, Kind.MISSING, _shown(before, VALUE), ABSENT))
            elif before is None:
                found.append(Difference(path, Kind.ADDED, ABSENT, _shown(after, VALUE)))
            else:
                found += _differences(name, before, after, ignored)
    return found


def moment(text: str) -> Moment | None:
    """A date as browsers read it (RFC 6265 §5.1.1); None where it is none."""
    time = day = month = year = None
    for token in _DELIMITERS.split(text):
        if time is None and (read := _TIME.fullmatch(token)):
            time = int(read[1]), int(read[2]), int(read[3])
        elif day is None and (read := _DAY.fullmatch(token)):
            day = int(read[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (read := _YEAR.fullmatch(token)):
            year = int(read[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    hour, minute, second = time
    is_one = 1 <= day <= 31 and year >= 1601 and hour < 24 and minute < 60 and second < 60
    return (year, month, day, hour, minute, second) if is_one else None


def _pairs(one: Cookies, other: Cookies) -> list[tuple[Cookie | None, Cookie | None]]:
    """Those of the same domain and path, then the others of the name in their order."""
    pairs: list[tuple[Cookie | None, Cookie | None]] = [
        (cookie, other[place]) for place, cookie in one.items() if place in other
    ]
    pairs += zip_longest(
        (cookie for place, cookie in one.items() if place not in other),
        (cookie for place, cookie in other.items() if place not in one),
    )
    return pairs


def _differences(
    name: str, one: Cookie, other: Cookie, ignored: frozenset[str]
) -> list[Difference]:
    found = []
    for attribute in sorted(one.keys() | other.keys()):
        before, after = one.get(attribute), other.get(attribute)
        is_same = before is not None and after is not None and before[1] == after[1]
        full = name if attribute == VALUE else f"{name}.{attribute}"
        if not is_same and full not in ignored:
            values = _shown(one, attribute), _shown(other, attribute)
            found.append(Difference(f"cookie:{full}", Kind.COOKIE, *values))
    return found


def _shown(cookie: Cookie | None, attribute: str) -> object:
    return cookie[attribute][0] if cookie is not None and attribute in cookie else ABSENT


def _kept(values: list[str], now: Moment) -> dict[str, Cookies]:
    """By name; the last one of a name, domain and path counts (RFC 6265 §5.3)."""
    found: dict[str, Cookies] = {}
    for value in values:
        pair, *attributes = value.split(";")
        # Without a sign of equality it is the value of a cookie without a name, as in browsers.
        name, _, content = pair.partition("=") if "=" in pair else ("", "", pair)
        cookie = {VALUE: (content.strip(), content.strip())}
        for attribute in attributes:
            key, _, given = attribute.partition("=")
            key, given = key.strip().lower(), given.strip()
            meaning = _meaning(key, given, now)
            if key and meaning is not None:
                cookie[key] = (given if key == "path" else given.lower()), meaning
        domain, path = (cookie[key][1] if key in cookie else "" for key in ("domain", "path"))
        found.setdefault(name.strip(), {})[domain, path] = cookie
    return found


def _meaning(attribute: str, given: str, now: Moment) -> str | None:
    """What an attribute comes to; None where a browser does not heed it."""
    if attribute == "path":
        return given if given.startswith("/") else None
    if attribute == "domain":
        return given.lower().removeprefix(".") or None
    if attribute == "expires":
        # One that is set a second later expires later; what counts is whether it is deleted.
        until = moment(given)
        return None if until is None else ("over" if until <= now else "later")
    return "" if attribute in _FLAGS else given.lower()
