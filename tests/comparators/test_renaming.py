"""What new calls otherwise: moved to legacy's place, and nothing lost on the way."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.model import Rules
from comparators.renaming import renamed
from comparators.rules import compile_rename, compile_rules
from comparators.values import compare_values

ITEMS = {"$.items": "$.data", "$.items[*].a": "$.data[*].b"}
EQUAL: list[tuple[dict[str, str], Any, Any]] = [
    ({"$.a": "$.b"}, {"a": 1}, {"b": 1}),
    ({"$.a": "$.b"}, {"a": 1}, {"a": 1}),
    ({"$.a": "$.b"}, {}, {}),
    ({"$.a": "$.b", "$.b": "$.a"}, {"a": 1, "b": 2}, {"b": 1, "a": 2}),
    ({"$.a": "$.b", "$.b": "$.c"}, {"a": 1, "b": 2}, {"b": 1, "c": 2}),
    ({"$.a": "$.b", "$.b": "$.c"}, {"b": 2}, {"c": 2}),
    ({"$.b": "$.c", "$.a": "$.b"}, {"a": 1, "b": 2}, {"b": 1, "c": 2}),
    # Arrays: themselves, what is in them, both, in any order of the rules.
    ({"$.items": "$.data"}, {"items": [{"a": 1}]}, {"data": [{"a": 1}]}),
    ({"$.items[*].a": "$.items[*].b"}, {"items": [{"a": 1}, {}]}, {"items": [{"b": 1}, {}]}),
    ({"$[*].a": "$[*].b"}, [{"a": 1}, {"a": 2}], [{"b": 1}, {"a": 2}]),
    (ITEMS, {"items": [{"a": 1, "c": 2}]}, {"data": [{"b": 1, "c": 2}]}),
    (dict(reversed(ITEMS.items())), {"items": [{"a": 1}]}, {"data": [{"b": 1}]}),
    ({"$.items": "$.data", "$.items[*].a": "$.items[*].b"},
     {"items": [{"a": 1}]}, {"data": [{"b": 1}]}),
    ({"$.items[*].a": "$.data[*].b"}, {"items": [{"a": 1}, {"a": 2}]},
     {"data": [{"b": 1}, {"b": 2}]}),
    ({"$.items[*].a": "$.data[*].b"}, {"items": []}, {"data": []}),
    ({"$.items[*].a": "$.data[*].b", "$.items[*].c": "$.data[*].d"},
     {"items": [{"a": 1, "c": 2}]}, {"data": [{"b": 1, "d": 2}]}),
    ({"$.l[*].m[*].a": "$.l[*].m[*].b"}, {"l": [{"m": [{"a": 1}]}, {"m": []}]},
     {"l": [{"m": [{"b": 1}]}, {"m": []}]}),
    # Into objects and out of them.
    ({"$.y": "$.n.x"}, {"y": 1}, {"n": {"x": 1}}),
    ({"$.y": "$.n.x"}, {"y": 1, "n": {}}, {"n": {"x": 1}}),
    ({"$.y": "$.n.x"}, {"y": 1, "n": {"z": 2}}, {"n": {"x": 1, "z": 2}}),
    ({"$.n.x": "$.y"}, {"n": {"x": 1}}, {"y": 1}),
    ({"$.n.x": "$.y"}, {"n": {"x": 1, "z": 2}}, {"y": 1, "n": {"z": 2}}),
    ({"$.l[*].y": "$.l[*].n.x"}, {"l": [{"y": 1}]}, {"l": [{"n": {"x": 1}}]}),
]  # fmt: skip


def differing(renames: dict[str, str], legacy: Any, new: Any) -> list[tuple[str, str]]:
    kept = copy.deepcopy((legacy, new))
    found = compare_values(legacy, new, compile_rules(Rules(rename=renames)))
    assert (legacy, new) == kept
    return [(each.path, each.kind.value) for each in found.differences]


@pytest.mark.parametrize(("renames", "legacy", "new"), EQUAL)
def test_what_is_renamed_is_equal(renames: dict[str, str], legacy: Any, new: Any) -> None:
    assert differing(renames, legacy, new) == []


DIFFERENT: list[tuple[dict[str, str], Any, Any, list[tuple[str, str]]]] = [
    # New has something in legacy's place as well.
    ({"$.fullName": "$.name"}, {"fullName": "Ann"}, {"fullName": "WRONG", "name": "Ann"},
     [("$.fullName", "value"), ("$.name", "added")]),
    ({"$.fullName": "$.name"}, {"fullName": "Ann"}, {"fullName": "Ann", "name": "Ann"},
     [("$.name", "added")]),
    ({"$[*].a": "$[*].b"}, [{"a": 1}, {"a": 2}], [{"a": 9, "b": 1}, {"b": 2}],
     [("$[0].b", "added"), ("$[0].a", "value")]),
    # No room: what legacy has an object for is none in new, or the arrays are not as long.
    ({"$.a.x": "$.y"}, {"a": 5}, {"a": 5, "y": 1}, [("$.y", "added")]),
    ({"$.i[*].a": "$.d[*].b"}, {"i": [{"a": 1}]}, {"i": [{"a": 1}], "d": [{"b": 1}, {"b": 2}]},
     [("$.d", "added")]),
    ({"$.a": "$.b"}, {"a": 1}, {"b": 2}, [("$.a", "value")]),
    ({"$.items[*].a": "$.data[*].b"}, {"items": [{"a": 1}]}, {"data": [{"b": 1, "c": 2}]},
     [("$.data", "added")]),
    ({"$.a": "$.b", "$.a.x": "$.b"}, {"a": 1}, {"b": 1}, []),
]  # fmt: skip


@pytest.mark.parametrize(("renames", "legacy", "new", "found"), DIFFERENT)
def test_what_has_no_room_stays_where_it_was(
    renames: dict[str, str], legacy: Any, new: Any, found: list[tuple[str, str]]
) -> None:
    assert sorted(differing(renames, legacy, new)) == sorted(found)


NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.integers(0, 99)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(NAMES, inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)
PATHS = ["$.a", "$.b", "$.c", "$.a.b", "$.b.a", "$.c.a", "$.a.b.c"]
THROUGH = ["$.a[*].b", "$.b[*].a", "$.b[*].c", "$.c[*].a.b", "$[*].a", "$[*].b"]
RENAMES = st.lists(
    st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS))
    | st.tuples(st.sampled_from(THROUGH), st.sampled_from(THROUGH)),
    max_size=4,
)


def leaves(tree: Any) -> list[int]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    return sorted(leaf for each in tree for leaf in leaves(each)) if type(tree) is list else [tree]


@given(TREES, TREES, RENAMES)
def test_nothing_is_lost(new: Any, legacy: Any, renames: list[tuple[str, str]]) -> None:
    compiled = tuple(compile_rename(old, to) for old, to in renames)
    moved = renamed(new, legacy, compiled)
    assert leaves(moved) == leaves(new)
