"""Keys that stand more than once in one object: all their values, where their value would be."""

from typing import Any


class Repeated:
    """The values of such a key, in their order.

    Equal to nothing but itself, and unknown to what writes JSON: whatever compares trees quickly
    finds them different, and has to look.
    """

    __slots__ = ("values",)

    def __init__(self, values: list[Any]) -> None:
        self.values = values


class Objects:
    """Makes objects of what a parser read."""

    def __init__(self) -> None:
        self.has_repeated = False

    def of(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object, with the values of each key that stands more than once as a `Repeated`."""
        made: dict[str, Any] = dict(pairs)
        if len(made) == len(pairs):
            return made
        self.has_repeated = True
        values: dict[str, list[Any]] = {}
        for key, value in pairs:
            values.setdefault(key, []).append(value)
        for key, each in values.items():
            if len(each) > 1:
                made[key] = Repeated(each)
        return made


def last_of_each(value: Any) -> Any:
    """The value as most readers have it, the last of each such key; the tree itself is changed."""
    value = _last(value)
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            for key, inner in each.items():
                each[key] = _last(inner)
            stack += each.values()
        elif isinstance(each, list):
            stack += each
    return value


def all_of_each(value: Any) -> Any:
    """The values of a key that stands more than once as a list; else the value."""
    if isinstance(value, Repeated):
        return [last_of_each(each) for each in value.values]
    return last_of_each(value)


def _last(value: Any) -> Any:
    while isinstance(value, Repeated):
        value = value.values[-1]
    return value
