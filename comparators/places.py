"""The places that entries of `redact` and `rename` speak of, as redaction asks for them."""

from typing import Any

from comparators.hiding import folded
from comparators.naming import is_naming
from comparators.paths import Deep, JsonPath, Wild
from comparators.secrets import is_secret_name


def last_name(path: JsonPath) -> str:
    """The name that a path ends with, folded; empty where it ends with a certain item."""
    if path[-1:] == ("#text",):
        # Elements are items, so the item is no certain one.
        path = tuple(step for step in path[:-1] if isinstance(step, str))
    while path and isinstance(path[-1], Wild):
        path = path[:-1]
    return folded(path[-1]) if path and isinstance(path[-1], str) else ""


def leads_to_lines(path: JsonPath) -> bool:
    """Whether a place is a line of a text, or all of them."""
    if len(path) > 2 and path[0] == "part":
        path = path[2:]
    return path[:1] == ("line",) and len(path) <= 2 and not isinstance(path[-1], str | Deep)


def begins_in(path: JsonPath, tree: dict[str, Any], parts: int, *, is_html: bool) -> bool:
    """Whether the first step of a place can be followed into a tree, inside so many parts."""
    if path and isinstance(path[0], Deep):
        # Elements of any name are in XML; in a page those of HTML, and attributes of any.
        return not is_html or path[0].startswith(("@", "#"))
    path = path[2 * parts :] if path[:1] == ("part",) else path
    return not path or path[0] is Wild.KEY or path[0] in tree


def renamed_places(paths: list[JsonPath], legacy: JsonPath, new: JsonPath) -> list[JsonPath]:
    """The places of new in which it has what is secret in legacy."""
    found = []
    for path in paths:
        shared = min(len(path), len(legacy))
        if any(isinstance(step, Deep) for step in path):
            if any(step in legacy for step in path if isinstance(step, Deep)):
                found.append(new)
        elif path[:shared] == legacy[:shared]:
            found.append(new + path[shared:])
    return found


def is_secret_place(path: JsonPath) -> bool:
    """Whether a place is secret by its name, or that of anything around it."""
    return any(isinstance(step, str) and is_secret_name(step) for step in path)


def renamed_names(legacy: JsonPath, new: JsonPath) -> dict[str, str]:
    """How legacy calls, folded, what new calls otherwise, where that may name a value."""
    before, after = last_name(legacy), last_name(new)
    return {after: before} if before != after and is_naming(before) else {}
