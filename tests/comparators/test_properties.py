"""Rules that hold for any answers: nothing real is missed, nothing allowed is told, nothing raises.

The extended ones are the same with 200,000 cases and more in all.
"""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comparators import Answer, Kind, Outcome, Rules, compare, compile_rules
from comparators.paths import render_step

KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
ENTRIES = st.sampled_from(
    ("$", "$.a", "$..a", "$[*]", "$.*", "$.a[0].b", "$['x y']", "header:x", "cookie:a")
)
PATHS = st.sampled_from(("$", "$.a", "$..b", "$[*]", "$.a[*]"))
ANY_RULES = st.builds(
    Rules,
    status=st.sampled_from(("exact", "class")),
    headers=st.lists(st.sampled_from(("content-type", "set-cookie", "x")), max_size=3).map(tuple),
    ignore=st.lists(ENTRIES, max_size=2).map(tuple),
    unordered=st.lists(PATHS, max_size=2).map(tuple),
    tolerance=st.dictionaries(PATHS, st.floats(0, 10), max_size=1),
    rename=st.sampled_from(({}, {"$.a": "$.b"}, {"$.l[*].a": "$.l[*].b"})),
    lenient=st.lists(st.sampled_from(("int-float", "number-text", "null-absent"))).map(tuple),
    with_=st.sampled_from(("auto", "json", "text", "xml", "form", "binary")),
)
TYPES = st.sampled_from(
    (
        *("application/json", "application/x-ndjson", "text/html", "text/xml; charset=utf-16"),
        *("text/plain; charset=latin-1", "application/x-www-form-urlencoded", "image/png", ""),
        *("multipart/mixed; boundary=b", "text/plain; charset=hex", "application/xml"),
    )
)
CODINGS = st.sampled_from(("", "", "", "gzip", "br", "zstd", "deflate", "gzip, br", "nonsense"))
PIECES = st.sampled_from(
    (
        *(b"{", b"}", b"[", b"]", b'"a":', b"1", b"1e9", b'"x"', b",", b" ", b"\n", b"<a>"),
        *(b"<!DOCTYPE a [", b"&b;", b"--b", b"\r\n\r\n", b"a=1&", b"\xff\xfe", b"\x1f\x8b\x08"),
        *(b"</a>", b"\\u"),
    )
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.lists(PIECES, max_size=14).map(b"".join),
    TREES.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
)
ANSWERS = st.builds(
    lambda status, kind, coding, cookie, body: Answer(
        status,
        (("Content-Type", kind), ("Content-Encoding", coding), ("Set-Cookie", cookie)),
        body,
    ),
    st.sampled_from((200, 201, 204, 404, 500)),
    TYPES,
    CODINGS,
    st.sampled_from(("a=1; Path=/", "a=2", "b", "", "a=1; Path")),
    BODIES,
)
STRICT = compile_rules(Rules())


def of(tree: Any) -> Answer:
    return Answer(200, (("Content-Type", "application/json"),), json.dumps(tree).encode())


def spots(tree: Any, path: str = "$") -> list[tuple[str, Any, Any]]:
    """Each place with its container and its key or index there."""
    found: list[tuple[str, Any, Any]] = []
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        here = path + render_step(key)
        found.append((here, tree, key))
        if isinstance(value, dict | list):
            found += spots(value, here)
    return found


def changed(value: Any, chance: random.Random) -> Any:
    """Another value, by as little as can be."""
    if value is None:
        return chance.choice([False, 0, "", "null"])
    if isinstance(value, bool):
        return chance.choice([not value, int(value), str(value)])
    if isinstance(value, int):
        return chance.choice([value + 1, -value or 1, str(value), [value]])
    if isinstance(value, float):
        return chance.choice([value * 2 or 0.5, str(value), None])
    if isinstance(value, str):
        return chance.choice([value + " ", value + "x", [value], None])
    return chance.choice([None, "changed", [value], {"changed": value}])


def shuffled(tree: Any, chance: random.Random) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(tree, dict):
        keys = list(tree)
        chance.shuffle(keys)
        return {key: shuffled(tree[key], chance) for key in keys}
    return [shuffled(each, chance) for each in tree] if isinstance(tree, list) else tree


def check_no_false_equality(tree: Any, seed: int) -> None:
    chance = random.Random(seed)
    other = [copy.deepcopy(tree)]
    path, container, key = chance.choice(spots(other))
    before = container[key]
    if chance.random() < 0.3 and container is not other:
        del container[key]
    else:
        container[key] = changed(before, chance)
        if json.dumps(container[key]) == json.dumps(before):
            return
    if not other or json.dumps(other[0], sort_keys=True) == json.dumps(tree, sort_keys=True):
        return
    found = compare(of(tree), of(other[0]), STRICT)
    assert found.outcome is Outcome.DIVERGENT, (path, tree, other[0])
    assert found.differences


def check_no_false_divergence(tree: Any, seed: int) -> None:
    chance = random.Random(seed)
    same = compare(of(tree), of(shuffled(tree, chance)), STRICT)
    assert (same.outcome, same.differences) == (Outcome.EQUAL, ()), tree
    other = {"root": copy.deepcopy(tree)}
    path, container, key = chance.choice(spots(other))
    container[key] = changed(container[key], chance)
    allowed = compile_rules(Rules(ignore=(path,)))
    found = compare(of({"root": tree}), of(other), allowed)
    assert found.outcome is Outcome.EQUAL, (path, tree, other)


MIRRORED = {Kind.MISSING: Kind.ADDED, Kind.ADDED: Kind.MISSING}


def check_any_answers(legacy: Answer, new: Answer, rules: Rules) -> None:
    compiled = compile_rules(rules)
    for method in ("GET", "HEAD"):
        found = compare(legacy, new, compiled, method)
        assert found.outcome in (Outcome.EQUAL, Outcome.DIVERGENT)
        assert (found.outcome is Outcome.DIVERGENT) == bool(found.differences)
        mirrored = compare(new, legacy, compiled, method)
        if not rules.rename:
            assert mirrored.outcome is found.outcome, (found, mirrored)
    itself = compare(legacy, Answer(legacy.status, legacy.headers, bytes(legacy.body)), compiled)
    assert itself.outcome is Outcome.EQUAL


def check_symmetric(one: Any, other: Any) -> None:
    found = compare(of(one), of(other), STRICT)
    mirrored = compare(of(other), of(one), STRICT)
    assert found.outcome is mirrored.outcome
    if not _has_arrays(one) and not found.truncated:
        wanted = {
            (each.path, MIRRORED.get(each.kind, each.kind), repr(each.new), repr(each.legacy))
            for each in found.differences
        }
        got = {
            (each.path, each.kind, repr(each.legacy), repr(each.new))
            for each in mirrored.differences
        }
        assert got == wanted


def _has_arrays(tree: Any) -> bool:
    if isinstance(tree, dict):
        return any(_has_arrays(each) for each in tree.values())
    return isinstance(tree, list)


SEEDS = st.integers(0, 2**32)
LONG = settings(
    max_examples=60_000, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@given(TREES, SEEDS)
def test_any_change_is_found(tree: Any, seed: int) -> None:
    check_no_false_equality(tree, seed)


@given(TREES, SEEDS)
def test_nothing_is_found_that_the_rules_allow(tree: Any, seed: int) -> None:
    check_no_false_divergence(tree, seed)


@given(TREES, TREES)
def test_the_sides_can_be_exchanged(one: Any, other: Any) -> None:
    check_symmetric(one, other)


@given(ANSWERS, ANSWERS, ANY_RULES)
def test_no_bytes_and_no_rules_make_it_raise(legacy: Answer, new: Answer, rules: Rules) -> None:
    check_any_answers(legacy, new, rules)


@pytest.mark.extended
@pytest.mark.timeout(1800)
@given(TREES, SEEDS)
@LONG
def test_any_change_is_found_at_length(tree: Any, seed: int) -> None:
    check_no_false_equality(tree, seed)


@pytest.mark.extended
@pytest.mark.timeout(1800)
@given(TREES, SEEDS)
@LONG
def test_nothing_is_found_that_the_rules_allow_at_length(tree: Any, seed: int) -> None:
    check_no_false_divergence(tree, seed)


@pytest.mark.extended
@pytest.mark.timeout(1800)
@given(TREES, TREES)
@LONG
def test_the_sides_can_be_exchanged_at_length(one: Any, other: Any) -> None:
    check_symmetric(one, other)


@pytest.mark.extended
@pytest.mark.timeout(1800)
@given(ANSWERS, ANSWERS, ANY_RULES)
@LONG
def test_no_bytes_and_no_rules_make_it_raise_at_length(
    legacy: Answer, new: Answer, rules: Rules
) -> None:
    check_any_answers(legacy, new, rules)
