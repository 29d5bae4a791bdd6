"""JSONPaths: the places that rules speak of, and the places where answers differ.

The grammar is the part of RFC 9535 that names places without computing anything: `$`, `.name`,
`['name']` or `["name"]`, `[3]`, `[*]` (any item), `.*` (any key) and `..name` (a key at any depth).
Many patterns are compiled into one automaton, whose states are walked beside the tree: a subtree
in which no pattern can match has no state, and costs nothing.
"""

import enum
import re
from collections.abc import Iterable
from typing import Final, Generic, TypeAlias, TypeVar

MAX_STEPS: Final = 64

T = TypeVar("T")


class Wild(enum.Enum):
    """A step that is not a certain key or index."""

    ITEM = "[*]"
    KEY = ".*"


class Deep(str):
    """A key at any depth: the step `..name`."""

    __slots__ = ()


# A key, an index, any of either, or a key at any depth.
Step: TypeAlias = str | int | Wild | Deep
JsonPath: TypeAlias = tuple[Step, ...]

_STEP = re.compile(
    r"""
      \.\.(?P<deep>[^.\[\]'"\s*]+)
    | \.(?P<any_key>\*)
    | \.(?P<name>[^.\[\]'"\s*]+)
    | \[(?P<any_item>\*)\]
    | \[(?P<index>0|[1-9][0-9]{0,8})\]
    | \['(?P<single>(?:[^'\\]|\\.)*)'\]
    | \["(?P<double>(?:[^"\\]|\\.)*)"\]
    """,
    re.VERBOSE,
)
_PLAIN_NAME = re.compile(r"[^\W\d][\w-]*|\d[\w-]*")


def parse_path(text: str, most: int = MAX_STEPS) -> JsonPath:
    """The steps of a JSONPath, at most `most`.

    Raises ValueError: the rest of a sentence that begins with it.
    """
    if not text.startswith("$"):
        raise ValueError('does not begin with $; legal is one such as "$.items[*].etag"')
    steps: list[Step] = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(_what_is_wrong(text, at))
        steps.append(_step(found))
        at = found.end()
    if len(steps) > most:
        raise ValueError(f"has more than {most} steps")
    return tuple(steps)


def render_step(step: str | int) -> str:
    """A step as it stands in a path: `.name`, `['odd key']` or `[3]`."""
    if isinstance(step, int):
        return f"[{step}]"
    if _PLAIN_NAME.fullmatch(step):
        return f".{step}"
    escaped = step.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def render(path: JsonPath) -> str:
    """The text of a path."""
    parts = ["$"]
    for step in path:
        if isinstance(step, Wild):
            parts.append(step.value)
        elif isinstance(step, Deep):
            parts.append(f"..{step}")
        else:
            parts.append(render_step(step))
    return "".join(parts)


class State(Generic[T]):
    """Where a walk stands: what matches exactly here, and where each step leads.

    `key` and `item` give None where no pattern can match below. `is_open`: a pattern has begun
    here or above, and names something below.
    """

    __slots__ = ("_automaton", "_items", "_keys", "_positions", "is_open", "matches")

    def __init__(self, automaton: "Automaton[T]", positions: frozenset[tuple[int, int]]) -> None:
        self._automaton = automaton
        self._positions = positions
        self._keys: dict[str, State[T] | None] = {}
        self._items: dict[int, State[T] | None] = {}
        self.matches: tuple[T, ...] = tuple(
            automaton.values[number]
            for number, at in sorted(positions)
            if at == len(automaton.paths[number])
        )
        self.is_open = any(
            at < len(path) and (at > 0 or not isinstance(path[0], Deep))
            for path, at in ((automaton.paths[number], at) for number, at in positions)
        )

    def key(self, name: str) -> "State[T] | None":
        """Where this key leads."""
        if name not in self._automaton.names:
            name = ""  # all keys that no pattern names lead to the same place
        try:
            return self._keys[name]
        except KeyError:
            state = self._keys[name] = self._next(name)
            return state

    def item(self, index: int) -> "State[T] | None":
        """Where this item leads."""
        if index not in self._automaton.indices:
            index = -1
        try:
            return self._items[index]
        except KeyError:
            state = self._items[index] = self._next(index)
            return state

    def _next(self, taken: str | int) -> "State[T] | None":
        automaton = self._automaton
        positions = set()
        for number, at in self._positions:
            path = automaton.paths[number]
            if at == len(path):
                continue
            step = path[at]
            if isinstance(step, Deep):
                positions.add((number, at))
                if step == taken:
                    positions.add((number, at + 1))
            elif isinstance(step, Wild):
                if (step is Wild.KEY) == isinstance(taken, str):
                    positions.add((number, at + 1))
            elif step == taken and type(step) is type(taken):
                positions.add((number, at + 1))
            if automaton.is_loose and not isinstance(step, Deep):
                positions |= _around(path, number, at, taken)
        return automaton.state(frozenset(positions)) if positions else None


class Automaton(Generic[T]):
    """Many paths, each with a value, ready to be walked from `start`.

    A loose one also matches where an object stands in place of an array, or an array in place of
    an object: `$.a[*].b` in `{"a": {"b": 1}}`, and `$.a.b` in `{"a": [{"b": 1}]}`.
    """

    def __init__(self, entries: Iterable[tuple[JsonPath, T]], *, is_loose: bool = False) -> None:
        listed = list(entries)
        self.is_loose = is_loose
        self.paths = [path for path, _ in listed]
        self.values = [value for _, value in listed]
        self.names = {step + "" for path in self.paths for step in path if isinstance(step, str)}
        self.indices = {step for path in self.paths for step in path if isinstance(step, int)}
        self._states: dict[frozenset[tuple[int, int]], State[T]] = {}
        self.start: State[T] | None = (
            self.state(frozenset((number, 0) for number in range(len(listed)))) if listed else None
        )

    def state(self, positions: frozenset[tuple[int, int]]) -> State[T]:
        """The one state of these positions."""
        state = self._states.get(positions)
        if state is None:
            state = self._states[positions] = State(self, positions)
        return state


def _around(path: JsonPath, number: int, at: int, taken: str | int) -> set[tuple[int, int]]:
    """Where else a step leads in a loose automaton: it is of the other kind than the path's."""
    is_item = isinstance(path[at], int) or path[at] is Wild.ITEM
    if isinstance(taken, int):
        return set() if is_item else {(number, at)}
    if not is_item:
        return set()
    # The key stands for the item, or the object for the array that has the item.
    further = {(number, at), (number, at + 1)}
    if at + 1 < len(path):
        following = path[at + 1]
        if isinstance(following, int) or following is Wild.ITEM:
            further |= _around(path, number, at + 1, taken)
        elif following in (taken, Wild.KEY):
            further.add((number, at + 2))
    return further


def _step(found: re.Match[str]) -> Step:
    kind = found.lastgroup
    text = found[kind] if kind else ""
    match kind:
        case "deep":
            return Deep(text)
        case "any_key":
            return Wild.KEY
        case "any_item":
            return Wild.ITEM
        case "index":
            return int(text)
        case "single" | "double":
            return re.sub(r"\\(.)", r"\1", text)
    return text


def _what_is_wrong(text: str, at: int) -> str:
    rest = text[at:]
    if rest.startswith("["):
        if "]" not in rest:
            return f"has an unclosed [ at character {at + 1}"
        inside = rest[1 : rest.index("]")]
        if re.fullmatch(r"[A-Za-z_][\w-]*", inside):
            return f"has [{inside}]; legal is ['{inside}'], or .{inside}"
        return f"has [{inside}]; legal is a number, * or a name in quotes"
    if rest.startswith("."):
        return f"has no name after the dot at character {at}"
    return f"has {rest[:10]!r} at character {at + 1}; a step begins with . or ["
