"""Renamed places: new's tree in legacy's spelling.

All renames happen at once, so that they can exchange places and go through each other: first all
that new has in its places is taken out, the innermost first, then put where legacy has it. What
has no room there, since new has something else in that place, stays where it was: nothing is lost.
"""

from typing import Any, Final

from comparators.paths import JsonPath, Wild

_NOTHING: Final = object()

Rename = tuple[JsonPath, JsonPath]  # legacy's place, new's place


def renamed(new: Any, legacy: Any, renames: tuple[Rename, ...]) -> Any:
    """New's tree with what stands in new's places moved to legacy's; the trees themselves are left.

    An object or an array that was moved out of as a whole is left out, unless legacy has it too.
    """
    tree = new
    taken: list[tuple[Rename, Any]] = []
    spelled = ((old, _in_new(path, renames, new)) for old, path in renames)
    for rename in sorted(spelled, key=lambda each: -len(each[1])):
        tree, found = _taken(tree, rename[1], 0, _standing(legacy, rename[1]))
        if found is not _NOTHING:
            taken.append((rename, found))
    left = []
    for rename, found in sorted(taken, key=lambda each: len(each[0][0])):
        tree, no_room = _put(tree, rename[0], found)
        if no_room is not _NOTHING:
            left.append((rename, no_room))
    for rename, found in sorted(left, key=lambda each: len(each[0][1])):
        tree, no_room = _put(tree, rename[1], found)
        if no_room is not _NOTHING:
            return new  # renames that exclude each other
    return tree


def _in_new(path: JsonPath, renames: tuple[Rename, ...], new: Any) -> JsonPath:
    """New's place as new spells it: the names around it may be written as legacy has them."""
    if _standing(new, path) < len(path):
        for old, place in sorted(renames, key=lambda each: -len(each[0])):
            if len(old) < len(path) and path[: len(old)] == old:
                return place + path[len(old) :]
    return path


def _standing(tree: Any, path: JsonPath) -> int:
    """How many steps of a path lead to something, in any of the items that it goes through."""
    if not path:
        return 0
    step, rest = path[0], path[1:]
    if step is Wild.ITEM:
        if not isinstance(tree, list):
            return 0
        return 1 + max((_standing(each, rest) for each in tree), default=0)
    if not isinstance(tree, dict) or step not in tree:
        return 0
    return 1 + _standing(tree[step], rest)


def _taken(value: Any, path: JsonPath, at: int, kept: int) -> tuple[Any, Any]:
    """The value without what stands there, and that: through an array, a list of them.

    Of a value that has nothing else in it, nothing, unless it stands at most `kept` steps deep.
    """
    if at == len(path):
        return _NOTHING, value
    step = path[at]
    if step is Wild.ITEM:
        if not isinstance(value, list) or (not value and at <= kept):
            return value, _NOTHING
        both = [_taken(each, path, at + 1, kept) for each in value]
        if value and all(taken is _NOTHING for _, taken in both):
            return value, _NOTHING
        is_kept = at <= kept or any(left is not _NOTHING for left, _ in both)
        left = [{} if left is _NOTHING else left for left, _ in both] if is_kept else _NOTHING
        return left, [taken for _, taken in both]
    if not isinstance(value, dict) or step not in value:
        return value, _NOTHING
    below, taken = _taken(value[step], path, at + 1, kept)
    if taken is _NOTHING:
        return value, _NOTHING
    if below is not _NOTHING:
        return {**value, step: below}, taken
    rest = {key: each for key, each in value.items() if key != step}
    return (rest if rest or at <= kept else _NOTHING), taken


def _put(value: Any, path: JsonPath, taken: Any) -> tuple[Any, Any]:
    """The value with that at its place, and what of it finds no room there."""
    if taken is _NOTHING:
        return value, _NOTHING
    if not path:
        return (taken, _NOTHING) if value is _NOTHING else (value, taken)
    step, rest = path[0], path[1:]
    if step is Wild.ITEM:
        items = [_NOTHING] * len(taken) if value is _NOTHING else value
        if not isinstance(items, list) or len(items) != len(taken):
            return value, taken
        both = [_put(each, rest, one) for each, one in zip(items, taken, strict=True)]
        no_room = [left for _, left in both]
        return (
            [{} if each is _NOTHING else each for each, _ in both],
            _NOTHING if all(left is _NOTHING for left in no_room) else no_room,
        )
    if value is _NOTHING:
        value = {}
    if not isinstance(value, dict):
        return value, taken
    below, no_room = _put(value.get(step, _NOTHING), rest, taken)
    return (value if below is _NOTHING else {**value, step: below}), no_room
