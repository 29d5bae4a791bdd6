"""Renamed places: new's tree in legacy's spelling."""

from typing import Any

from comparators.paths import JsonPath, Wild

_NOTHING = object()


def renamed(tree: Any, renames: tuple[tuple[JsonPath, JsonPath], ...]) -> Any:
    """The tree with what stands in new's places moved to legacy's; the tree itself is left."""
    for old, new in renames:
        tree = _moved(tree, old, new)
    return tree


def _moved(tree: Any, old: JsonPath, new: JsonPath) -> Any:
    """One rename; what does not fit the path is left where it is."""
    common = 0
    while common < min(len(old), len(new)) - 1 and old[common] == new[common]:
        common += 1
    # The last array that both go through as one: below it there are keys alone, or arrays whose
    # items are moved one by one.
    return _at(tree, old[:common], lambda value: _carried(value, old[common:], new[common:]))


def _at(tree: Any, path: JsonPath, change: Any) -> Any:
    if not path:
        return change(tree)
    step, rest = path[0], path[1:]
    if step is Wild.ITEM:
        return [_at(each, rest, change) for each in tree] if isinstance(tree, list) else tree
    if isinstance(tree, dict) and step in tree:
        below = _at(tree[step], rest, change)
        return tree if below is tree[step] else {**tree, step: below}
    return tree


def _carried(value: Any, old: JsonPath, new: JsonPath) -> Any:
    """Take what stands at `new` below this value out, and put it at `old`."""
    value, taken = _taken(value, new)
    return value if taken is _NOTHING else _put(value, old, taken)


def _taken(value: Any, path: JsonPath) -> tuple[Any, Any]:
    """The value without what stands there, and that; a list of them through an array."""
    step, rest = path[0], path[1:]
    if step is Wild.ITEM:
        if not isinstance(value, list):
            return value, _NOTHING
        both = [_taken(each, rest) for each in value]
        if all(taken is _NOTHING for _, taken in both):
            return value, _NOTHING
        return [left for left, _ in both], [taken for _, taken in both]
    if not isinstance(value, dict) or step not in value:
        return value, _NOTHING
    if not rest:
        return {key: each for key, each in value.items() if key != step}, value[step]
    below, taken = _taken(value[step], rest)
    return (value, _NOTHING) if taken is _NOTHING else ({**value, step: below}, taken)


def _put(value: Any, path: JsonPath, taken: Any) -> Any:
    step, rest = path[0], path[1:]
    if step is Wild.ITEM:
        items = value if isinstance(value, list) else [{} for _ in taken]
        if len(items) != len(taken):
            return value
        return [
            each if one is _NOTHING else _put(each, rest, one)
            for each, one in zip(items, taken, strict=True)
        ]
    if not isinstance(value, dict):
        return value
    if not rest:
        return {**value, step: taken}
    is_array = rest[0] is Wild.ITEM
    below = value.get(step, [{} for _ in taken] if is_array and isinstance(taken, list) else {})
    return {**value, step: _put(below, rest, taken)}
