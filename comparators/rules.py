"""Rules, compiled: which places are ignored, unordered, tolerant or renamed, as automata."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from comparators.model import LENIENCIES, Rules
from comparators.paths import Automaton, JsonPath, Wild, parse_path

HEADER: Final = "header:"
COOKIE: Final = "cookie:"

_BY = re.compile(r"(?P<path>.*\S)\s+by\s+(?P<key>\S+)")


@dataclass(frozen=True, slots=True)
class Place:
    """What holds in a place, beyond that it is compared."""

    ignored: bool = False
    unordered: bool = False
    key: str | None = None  # by which the items of an unordered array are matched
    tolerance: float | None = None


@dataclass(frozen=True)
class CompiledRules:
    """Rules ready to use. `places` is walked in legacy's spelling."""

    rules: Rules
    places: Automaton[Place]
    renames: tuple[tuple[JsonPath, JsonPath], ...] = ()
    ignored_headers: frozenset[str] = frozenset()  # lower case
    ignored_cookies: frozenset[str] = frozenset()
    int_float: bool = False
    number_text: bool = False
    null_absent: bool = False
    headers: tuple[str, ...] = field(default=())  # compared ones, lower case

    def ignores(self, path: JsonPath) -> bool:
        """Whether a place, or anything around it, is ignored."""
        state = self.places.start
        for step in (None, *path):
            if isinstance(step, str):
                state = state.key(step) if state is not None else None
            elif isinstance(step, int):
                state = state.item(step) if state is not None else None
            if state is None:
                return False
            if any(place.ignored for place in state.matches):
                return True
        return False


def compile_rules(rules: Rules) -> CompiledRules:
    """The rules, ready to use. Raises ValueError, whose text names the entry."""
    entries: list[tuple[JsonPath, Place]] = []
    headers, cookies = set(), set()
    for text in rules.ignore:
        if text.startswith(HEADER):
            headers.add(text.removeprefix(HEADER).lower())
        elif text.startswith(COOKIE):
            cookies.add(text.removeprefix(COOKIE))
        else:
            entries.append((_path(text), Place(ignored=True)))
    for text in rules.unordered:
        path, key = split_key(text)
        entries.append((_array(_path(path)), Place(unordered=True, key=key)))
    for text, tolerance in rules.tolerance.items():
        entries.append((_path(text), Place(tolerance=tolerance)))
    for leniency in rules.lenient:
        if leniency not in LENIENCIES:
            raise ValueError(f"{leniency} is not legal; legal are {', '.join(LENIENCIES)}")
    return CompiledRules(
        rules=rules,
        places=Automaton(entries),
        renames=tuple(compile_rename(old, new) for old, new in rules.rename.items()),
        ignored_headers=frozenset(headers),
        ignored_cookies=frozenset(cookies),
        int_float="int-float" in rules.lenient,
        number_text="number-text" in rules.lenient,
        null_absent="null-absent" in rules.lenient,
        headers=tuple(dict.fromkeys(name.lower() for name in rules.headers)),
    )


def split_key(text: str) -> tuple[str, str | None]:
    """`"$.items by sku"` as its path and the key; None where none is named."""
    found = _BY.fullmatch(text)
    if found is None or _is_path(text):  # "$['sorted by name']" is a path
        return text, None
    return found["path"], found["key"]


def place_of(matches: tuple[Place, ...]) -> Place | None:
    """What holds where several rules match."""
    if not matches:
        return None
    if len(matches) == 1:
        return matches[0]
    tolerances = [each.tolerance for each in matches if each.tolerance is not None]
    return Place(
        ignored=any(each.ignored for each in matches),
        unordered=any(each.unordered for each in matches),
        key=next((each.key for each in matches if each.key), None),
        tolerance=max(tolerances, default=None),
    )


def parse_renamed(text: str) -> JsonPath:
    """A side of a rename: it names keys, and ends with one.

    Raises ValueError: the rest of a sentence that begins with the path.
    """
    path = parse_path(text)
    if not path or not all(type(step) is str or step is Wild.ITEM for step in path):
        raise ValueError("cannot be renamed; legal are names and [*], as in $.items[*].name")
    if path[-1] is Wild.ITEM:
        raise ValueError("cannot be renamed: it does not end with a name")
    return path


def compile_rename(old: str, new: str) -> tuple[JsonPath, JsonPath]:
    """A rename leads from a name to a name, through the same arrays. Raises ValueError."""
    paths = _path(old, parse_renamed), _path(new, parse_renamed)
    if paths[0].count(Wild.ITEM) != paths[1].count(Wild.ITEM):
        raise ValueError(f"{old} and {new} do not go through the same arrays")
    return paths


def _is_path(text: str) -> bool:
    try:
        parse_path(text)
    except ValueError:
        return False
    return True


def _path(text: str, parse: Callable[[str], JsonPath] = parse_path) -> JsonPath:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{text} {error}") from None


def _array(path: JsonPath) -> JsonPath:
    """`$.items[*]` names the same array as `$.items`, where its order is meant."""
    return path[:-1] if path and path[-1] is Wild.ITEM else path
