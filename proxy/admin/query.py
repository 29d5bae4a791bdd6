"""The query of a call, read strictly: what is unknown or cannot be meant is refused in words."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches

DEFAULT_LIMIT = 50
MAX_LIMIT = 500

_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?P<unit>ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class QueryError(ValueError):
    """A parameter is wrong; the text says which, and what it may be."""


def read_query(
    given: Iterable[tuple[str, str]], parsers: Mapping[str, Callable[[str], object]]
) -> dict[str, object]:
    """Each parameter through the parser of its name. Raises QueryError."""
    found: dict[str, object] = {}
    for name, text in given:
        if name not in parsers:
            near = get_close_matches(name, parsers, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(parsers)}."
            raise QueryError(f"There is no parameter {name!r}; {hint}")
        if name in found:
            raise QueryError(f"The parameter {name!r} is given more than once.")
        found[name] = parsers[name](text)
    return found


def limit(text: str) -> int:
    """How many of a page."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise QueryError(f"limit is a whole number from 1 to {MAX_LIMIT}, not {text!r}.")
    return int(text)


def since(now: float) -> Callable[[str], float]:
    """Parses a moment, or how long ago: in seconds since the epoch."""

    def parse(text: str) -> float:
        if found := _DURATION.fullmatch(text):
            return now - float(found["number"]) * _SECONDS[found["unit"]]
        try:
            # A + that was not percent-encoded has become a space.
            moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return moment.timestamp()
        except (ValueError, OverflowError):
            raise QueryError(
                f"since is a moment like 2026-01-31T12:00:00Z or a time ago like 30m, 2h or 7d, "
                f"not {text!r}."
            ) from None

    return parse
