"""The keys of the contract that are parsed and checked but not acted on yet.

One table: work that brings a feature deletes its row here, and the warning is gone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.findings import Finding
from proxy.config.places import Places
from proxy.config.schema import FileModel

# Key path: what does not happen yet.
NOT_ACTIVE: dict[tuple[str, ...], str] = {
    ("admin", "tokens_file"): "the admin API knows no tokens, keep it on loopback",
}


def inactive_keys(value: Mapping[str, Any], places: Places) -> Iterator[Finding]:
    """A warning for each key that is set away from its default and does nothing yet."""
    for path in NOT_ACTIVE:
        yield from _inactive(value, path, places)


def _inactive(value: Mapping[str, Any], path: tuple[str, ...], places: Places) -> Iterator[Finding]:
    here: Any = value
    for part in path:
        if not isinstance(here, dict) or part not in here:
            return
        here = here[part]
    # null is the feature switched off: nothing is missing then.
    if here is None or (here == _DEFAULTS[path] and type(here) is type(_DEFAULTS[path])):
        return
    yield places.finding("NOT_ACTIVE", path, f"is not acted on yet: {NOT_ACTIVE[path]}")


def _default(path: tuple[str, ...]) -> Any:
    """The default of a key, from the one list of keys."""
    node: Any = FileModel.model_json_schema()
    root = node
    for part in path:
        node = node["properties"][part]
        for each in (node, *node.get("anyOf", ())):
            if "$ref" in each:
                node = root["$defs"][each["$ref"].rpartition("/")[2]] | {"default": None}
    return node["default"]


_DEFAULTS = {path: _default(path) for path in NOT_ACTIVE}
