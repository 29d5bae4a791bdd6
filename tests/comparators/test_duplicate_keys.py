"""Keys that stand more than once in an object: found where they are, and silenced there."""

import time
from typing import Any

import pytest

from comparators import Answer, Comparison, Kind, Outcome, Rules, compare, compile_rules
from comparators.json import Json, load_json
from comparators.redaction import Redactor


def compared(legacy: str, new: str, kind: str = "application/json", **rules: Any) -> Comparison:
    one, other = (Answer(200, (("Content-Type", kind),), each.encode()) for each in (legacy, new))
    return compare(one, other, compile_rules(Rules(**rules)))


def places(found: Comparison) -> list[tuple[str, str]]:
    return [(each.path, each.kind.value) for each in found.differences]


DUPLICATE = "duplicate-key"
FOUND = [
    ('{"a":1,"a":2}', '{"a":2}', [("$.a", DUPLICATE)]),
    ('{"a":1,"a":2}', '{"a":1,"a":3}', [("$.a", DUPLICATE)]),
    ('{"a":1,"a":2}', '{"a":1,"a":2.0}', [("$.a", DUPLICATE)]),
    ('{"a":1,"a":2}', '{"a":1,"a":1,"a":2}', [("$.a", DUPLICATE)]),
    ('{"a":1,"a":2}', '{ "a":1,"a":2}', []),
    ('{"a":{"x":1},"a":{"y":[1]}}', '{ "a":{"x":1},"a":{"y":[1]}}', []),
    ('{"a":1,"a":2}', '{"a":[1,2]}', [("$.a", DUPLICATE)]),
    ('{"a":1,"a":2}', "{}", [("$.a", "missing")]),
    ('{"o":{"p":{"a":1,"a":2}}}', '{"o":{"p":{"a":2}}}', [("$.o.p.a", DUPLICATE)]),
    ('{"a b":1,"a b":2}', '{"a b":2}', [("$['a b']", DUPLICATE)]),
    # What has another object of the same keys beside it.
    ('{"x":{"a":1,"a":2},"y":{"a":2}}', '{"x":{"a":2},"y":{"a":1,"a":2}}',
     [("$.x.a", DUPLICATE), ("$.y.a", DUPLICATE)]),
    ('[{"a":1,"a":1}]', '[{"a":1}]', [("$[0].a", DUPLICATE)]),
    ('[{"a":1,"a":1},5]', '[{"a":1}]', [("$[1]", "missing"), ("$[0].a", DUPLICATE)]),
    # A quote or a colon that is written by its number, where one counts quotes and colons.
    (r'{"a":1,"a":2,"s":"\u0022:"}', r'{"a":2,"s":"\u0022:"}', [("$.a", DUPLICATE)]),
    (r'{"a":1,"a":2,"s":"\"\u0020:"}', r'{"a":2,"s":"\"\u0020:"}', [("$.a", DUPLICATE)]),
    (r'{"a":1,"a":2,"s":"\" :"}', r'{"a":2,"s":"\" :"}', [("$.a", DUPLICATE)]),
    ('{"a" \n:1,"a"\t : 2}', '{"a" :2}', [("$.a", DUPLICATE)]),
    (r'{"a":1,"a":2,"s":"\"\u003a"}', r'{"a":2,"s":"\"\u003a"}', [("$.a", DUPLICATE)]),
    (r'{"a":1,"a":2,"s":"\"\u003A"}', r'{"a":2,"s":"\"\u003A"}', [("$.a", DUPLICATE)]),
]  # fmt: skip


@pytest.mark.parametrize(("legacy", "new", "wanted"), FOUND)
def test_a_key_that_stands_twice_is_found_in_its_object(
    legacy: str, new: str, wanted: list[tuple[str, str]]
) -> None:
    assert places(compared(legacy, new)) == wanted
    mirrored = {"missing": "added"}
    assert sorted(places(compared(new, legacy))) == sorted(
        (path, mirrored.get(kind, kind)) for path, kind in wanted
    )


@pytest.mark.parametrize("ignored", ["$.o.a", "$.o", "$..a", "$.*.a"])
def test_it_is_silenced_by_its_path_or_one_around_it(ignored: str) -> None:
    found = compared('{"o":{"a":1,"a":2},"b":1}', '{"o":{"a":2},"b":1}', ignore=(ignored,))
    assert found.outcome is Outcome.EQUAL


def test_rules_hold_for_each_of_the_values() -> None:
    legacy, new = '{"t":{"at":1,"v":1},"t":{"at":2,"v":2}}', '{"t":{"at":3,"v":1},"t":{"v":2}}'
    assert places(compared(legacy, new)) == [("$.t", DUPLICATE)]
    assert places(compared(legacy, new, ignore=("$.t.at",))) == []


def test_it_is_found_in_any_order_and_beside_a_rename() -> None:
    legacy, new = '[{"a":1,"a":2},{"b":1}]', '[{"b":1},{"a":2}]'
    assert places(compared(legacy, new, unordered=("$",))) == [("$[0].a", DUPLICATE)]
    assert places(compared(legacy, new, unordered=("$",), ignore=("$[*].a",))) == []
    same = compared(legacy, '[{"b":1},{"a":1,"a":2}]', unordered=("$",))
    assert same.outcome is Outcome.EQUAL
    moved = compared('{"a":1,"a":2}', '{"z":1,"z":2}', rename={"$.a": "$.z"})
    assert moved.outcome is Outcome.EQUAL


def test_it_is_found_in_ndjson() -> None:
    found = compared('{"a":1,"a":2}\n{}\n', '{"a":2}\n{}\n', "application/x-ndjson")
    assert places(found) == [("$[0].a", DUPLICATE)]


def test_what_is_shown_of_it_is_of_json_and_no_secret() -> None:
    legacy = '{"o":{"password":"hunter2","password":"hunter3"},"p":{"a":{"k":[1]},"a":2}}'
    found = compared(legacy, '{"p":{"a":2}}')
    values = {each.path: (each.legacy, each.kind) for each in found.differences}
    assert values["$.o"][0] == {"password": "hunter3"}
    assert values["$.p.a"] == ([{"k": [1]}, 2], Kind.DUPLICATE_KEY)
    redactor = Redactor(b"k" * 32)
    shown = [redactor.show(each) for each in found.differences]
    assert "hunter" not in repr(shown)


def test_most_readers_take_the_last_value() -> None:
    assert load_json(b'{"a":{"b":1,"b":{"c":1,"c":2}},"a":{"b":1,"b":{"c":3,"c":4}}}') == Json(
        {"a": {"b": {"c": 4}}}
    )


@pytest.mark.parametrize("new", ["{}", "same", "other"])
def test_many_of_them_cost_no_quadratic_time(new: str) -> None:
    legacy = "{" + ",".join(f'"a{at}":1,"a{at}":2' for at in range(20_000)) + "}"
    other = {"same": f" {legacy}", "other": legacy.replace(":2", ":3")}.get(new, new)
    began = time.process_time()
    found = compared(legacy, other)
    assert time.process_time() - began < 3.0  # it took twenty seconds
    assert (found.outcome is Outcome.EQUAL) == (new == "same")


def test_one_key_many_times_costs_no_quadratic_time() -> None:
    began = time.process_time()
    one, other = ("{" + ",".join([f'"a":{value}'] * 50_000) + "}" for value in (1, 2))
    found = compared(one, other)
    assert time.process_time() - began < 3.0
    assert places(found) == [("$.a", DUPLICATE)]
