"""Arrays: which items belong together, under the rules, and at a bounded price."""

import json
import random
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators import Answer, Comparison, Outcome, Rules, compare, compile_rules, matching
from comparators.matching import without_pairs
from comparators.sameness import Form, strict_mark
from tests.harness.taking import least_cpu_s


def of(value: Any) -> Answer:
    text = value if isinstance(value, str) else json.dumps(value)
    return Answer(200, (("Content-Type", "application/json"),), text.encode())


def compared(legacy: Any, new: Any, **rules: Any) -> Comparison:
    return compare(of(legacy), of(new), compile_rules(Rules(**rules)))


def places(found: Comparison) -> list[tuple[str, str]]:
    return [(each.path, each.kind.value) for each in found.differences]


# In a process with less memory than a comparer may have; 40,000 items took 371 MB of it.
MANY = """
import resource
from comparators import Answer, Rules, compare, compile_rules
resource.setrlimit(resource.RLIMIT_DATA, (1500 << 20, 1500 << 20))
for item, more in (("1", "2"), ('{"a":1}', '{"a":2}')):
    many = (1 << 20) // (len(item) + 1) - 2
    legacy = "[" + f"{item}," * many + item + "]"
    new = "[" + f"{item}," * many + f"{item},{more}]"
    front = f"[{more}," + f"{item}," * many + item + "]"
    for body in (new, front):
        found = compare(
            Answer(200, (), legacy.encode()), Answer(200, (), body.encode()), compile_rules(Rules())
        )
        print([(each.path.strip("$[]"), each.kind.value) for each in found.differences])
"""


def test_a_long_list_with_one_item_more_is_one_difference_and_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    many, objects = (1 << 20) // 2 - 1, (1 << 20) // 8 - 1
    assert done.stdout.splitlines() == [
        str([(str(many), "added")]),
        str([("0", "added")]),
        str([(str(objects), "added")]),
        str([("0", "added")]),
    ]


def timed(legacy: Any, new: Any, **rules: Any) -> tuple[Comparison, float]:
    one, other, compiled = of(legacy), of(new), compile_rules(Rules(**rules))
    began = time.process_time()
    found = compare(one, other, compiled)
    return found, time.process_time() - began


def long_items(first: int) -> list[Any]:
    return [{"v": [1] * 2500 + [first + at]} for at in range(100)]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"ignore": ("$..at",)},
        {"lenient": ("number-text",)},
        {"tolerance": {"$[*].v[*]": 0.5}},
        {"unordered": ("$", "$[*].v"), "tolerance": {"$[*].v[*]": 0.5}},
    ],
)
def test_a_wholly_different_list_is_a_divergence_soon(rules: dict[str, Any]) -> None:
    found, took = timed(long_items(0), long_items(1000), **{"unordered": ("$",), **rules})
    assert found.outcome is Outcome.DIVERGENT
    assert found.truncated
    assert took < 8.0  # it took 14 to 28 seconds; now one to three, as the machine is


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[1,", "]"), ("[", "]")])
def test_depth_costs_no_quadratic_time(opening: str, closing: str) -> None:
    def compare_at(depth: int) -> None:
        legacy, new = (f"{opening * depth}{core}{closing * depth}" for core in ("1", "2"))
        kinds = [each.kind.value for each in compared(legacy, new).differences]
        assert kinds == ["value"]

    # 36 times as deep: 60 to 100 times as long, and not 1,300 times.
    assert least_cpu_s(lambda: compare_at(90_000), 1) < 400 * least_cpu_s(lambda: compare_at(2500))


@pytest.mark.parametrize("depth", [10, 40, 300, 5000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [('{"x":[1.0,', "]}"), ('{"p":1,"x":[{"p":3},', "]}"), ('{"a":1,"a":', "}")],
)
def test_what_asks_for_equal_items_inside_each_other_is_bounded(
    opening: str, closing: str, depth: int
) -> None:
    rules = {"unordered": ("$..x",), "tolerance": {"$..x": 0.5, "$..p": 0.5}}
    legacy, new = (f"{opening * depth}{core}{closing * depth}" for core in ("1", "2"))
    found, took = timed(legacy, new, **rules)
    assert found.outcome is Outcome.DIVERGENT
    assert took < 3.0  # it took for ever, or more stack than there is
    if depth == 10:
        assert compared(legacy, f" {legacy}", **rules).outcome is Outcome.EQUAL


LISTS = {
    "numbers": [json.dumps(list(range(60_000))), json.dumps(list(range(60_000))[::-1])],
    "more": [f"[{'1,' * 200_000}2,3]", f"[4,{'1,' * 200_000}2]"],
    "near": [
        json.dumps([at + 0.1 for at in range(50_000)]),
        json.dumps([at + 0.2 for at in range(50_000)][::-1]),
    ],
    "far": [
        json.dumps([{"p": at, "q": 1} for at in range(5000)]),
        json.dumps([{"p": -at - 2, "q": 1} for at in range(5000)]),
    ],
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "rules",
    [{}, {"tolerance": {"$[*]": 0.5, "$[*].p": 0.5}}, {"lenient": ("number-text", "int-float")}],
)
def test_long_lists_in_any_order_take_bounded_time(name: str, rules: dict[str, Any]) -> None:
    legacy, new = LISTS[name]
    found, took = timed(legacy, new, unordered=("$",), **rules)
    assert took < 6.0  # it took minutes, or all of the memory
    if name == "numbers":
        assert found.outcome is Outcome.EQUAL


@pytest.mark.parametrize("number", ["1e999999999", "-1e-999999999", "9" * 4500, "NaN", "-Infinity"])
@pytest.mark.parametrize(
    "rules",
    [
        {"tolerance": {"$[*]": 1e-300}},
        {"tolerance": {"$[*]": 5}, "lenient": ("number-text",)},
        {"lenient": ("int-float",)},
        {},
    ],
)
def test_numbers_beyond_all_measure_are_matched(number: str, rules: dict[str, Any]) -> None:
    legacy, new = f"[{number},1,2]", f"[2,{number},1]"
    assert compared(legacy, new, unordered=("$",), **rules).outcome is Outcome.EQUAL
    assert places(compared(legacy, f"[0,{number},1,2]", **rules)) == [("$[0]", "added")]
    found, took = timed(legacy, f"[{number[:-1]}8,1,2,3]", **rules)
    assert found.outcome is Outcome.DIVERGENT
    assert took < 1.0


def test_many_small_arrays_in_any_order_take_bounded_time() -> None:
    def arrays(first: int) -> Any:
        return [
            {"t": [{"a": first + 7 * at, "b": [at, at + first]} for at in range(12)]}
            for _ in range(300)
        ]

    found, took = timed(arrays(0), arrays(1000), unordered=("$[*].t",))
    assert found.outcome is Outcome.DIVERGENT
    assert took < 3.0
    # Differences in few of them leave time to find what belongs together.
    legacy, new = arrays(0), arrays(0)
    new[7]["t"] = [*new[7]["t"][:3], {"a": 21, "b": [3, 4]}, *reversed(new[7]["t"][4:])]
    assert places(compared(legacy, new, unordered=("$[*].t",))) == [("$[7].t[3].b[1]", "value")]


IGNORED = {"unordered": ("$.i",), "ignore": ("$.i[*].id",)}
MATCHED = [
    # An ignored key tells no item apart, in whatever order.
    ([{"id": "r1", "v": 1}, {"id": "r2", "v": 2}], [{"id": "q1", "v": 2}, {"id": "q2", "v": 1}],
     IGNORED, []),
    ([{"id": "r1", "v": 1}, {"id": "r2", "v": 2}], [{"id": "q1", "v": 1}, {"id": "q2", "v": 2}],
     IGNORED, []),
    ([{"id": "r1", "v": 1}, {"id": "r2", "v": 2}], [{"id": "q1", "v": 2}, {"id": "q2", "v": 1}],
     {"unordered": ("$.i by id",), "ignore": ("$..id",)}, []),
    ([{"id": "r1", "v": 1}, {"id": "r2", "v": 2}], [{"id": "q1", "v": 2}, {"id": "q2", "v": 9}],
     IGNORED, [("$.i[0].v", "value")]),
    # A key is the same where the rules say so.
    ([{"id": 1, "v": 1}, {"id": 2, "v": 2}], [{"id": "2", "v": 2}, {"id": "1", "v": 1}],
     {"unordered": ("$.i by id",), "lenient": ("number-text",)}, []),
    ([{"id": 1, "v": 1}, {"id": 2, "v": 2}], [{"id": "2", "v": 2}, {"id": "1", "v": 9}],
     {"unordered": ("$.i by id",), "lenient": ("number-text",)}, [("$.i[0].v", "value")]),
    ([{"id": 1, "v": 1}, {"id": 2, "v": 2}], [{"id": 2.0, "v": 2}, {"id": 1.0, "v": 9}],
     {"unordered": ("$.i",), "lenient": ("int-float",)}, [("$.i[0].v", "value")]),
    ([{"id": 1.0, "v": 1}, {"id": 2.0, "v": 2}], [{"id": 2.001, "v": 2}, {"id": 1.001, "v": 1}],
     {"unordered": ("$.i by id",), "tolerance": {"$.i[*].id": 0.01}}, []),
    ([{"id": 1, "v": 1}], [{"id": "1", "v": 1}], {"unordered": ("$.i by id",)},
     [("$.i[0]", "missing"), ("$.i[0]", "added")]),
    # Items that are equal only under the rules.
    ([{"a": 1, "b": None}, {"a": 2}], [{"a": 2, "b": None}, {"a": 1}],
     {"unordered": ("$.i",), "lenient": ("null-absent",)}, []),
    ([{"t": ["x", "y"], "n": 1}, {"t": ["x", "z"], "n": 1}],
     [{"t": ["z", "x"], "n": 1}, {"t": ["y", "x"], "n": 1}],
     {"unordered": ("$.i", "$.i[*].t")}, []),
    ([{"t": [1, 2], "n": 1}], [{"t": [1, 3], "n": 1}], {"unordered": ("$.i", "$.i[*].t")},
     [("$.i[0].t[1]", "value")]),
    (["1.0", 1, 5], [5, "1", "1.0"], {"unordered": ("$.i",), "lenient": ("number-text",)}, []),
    (["1.0"], ["1.00"], {"unordered": ("$.i",), "lenient": ("number-text",)},
     [("$.i[0]", "value")]),
    ([0.0, 7], [7, -0.0], {"unordered": ("$.i",)}, []),
    (["\0number"], [1], {"unordered": ("$.i",), "tolerance": {"$.i[*]": 1}}, [("$.i[0]", "type")]),
]  # fmt: skip


@pytest.mark.parametrize(("legacy", "new", "rules", "wanted"), MATCHED, ids=range(len(MATCHED)))
def test_items_belong_together_as_the_rules_say(
    legacy: list[Any], new: list[Any], rules: dict[str, Any], wanted: list[tuple[str, str]]
) -> None:
    assert places(compared({"i": legacy}, {"i": new}, **rules)) == wanted
    mirrored = compared({"i": new}, {"i": legacy}, **rules)
    assert (mirrored.outcome is Outcome.EQUAL) == (wanted == [])


def test_what_has_no_utf8_is_matched_as_well() -> None:
    legacy = r'[{"a":"\ud800","b":1},{"a":"x","b":2}]'
    new = r'[{"a":"x","b":2},{"a":"\ud800","b":3}]'
    assert places(compared(legacy, new, unordered=("$",))) == [("$[0].b", "value")]


def test_many_items_without_a_key_are_found_again_beside_ignored_timestamps() -> None:
    legacy: list[Any] = [{"a": at, "ts": at} for at in range(150)]
    new: list[Any] = [{"a": at, "ts": at + 1000} for at in reversed(range(150))]
    rules = {"unordered": ("$",), "ignore": ("$[*].ts",)}
    assert places(compared(legacy, new, **rules)) == []
    new[3]["a"] = "changed"
    found = compared(legacy, new, **rules)
    assert places(found) == [("$[146].a", "type")]
    assert not found.truncated


ALIGNED = [
    # An item at the front, beside a timestamp in each that is ignored.
    ([{"n": at, "ts": at} for at in range(5)],
     [{"n": 9, "ts": 99}, *({"n": at, "ts": at + 50} for at in range(5))],
     {"ignore": ("$[*].ts",)}, [("$[0]", "added")]),
    ([1, 2, 3], [0, 1.0, 2.0, 3.0], {"lenient": ("int-float",)}, [("$[0]", "added")]),
    ([1.0, 2.0, 3.0], [2.001, 3.001], {"tolerance": {"$[*]": 0.01}}, [("$[0]", "missing")]),
    ([{"p": 1.0}, {"p": 2.0}, {"p": 3.0}], [{"p": 2.001}, {"p": 3.9}],
     {"tolerance": {"$[*].p": 0.01}}, [("$[0]", "missing"), ("$[2].p", "value")]),
    (["a", None], ["a"], {"lenient": ("null-absent",)}, [("$[1]", "missing")]),
    ([[1, 2], [3]], [[9], [2, 1], [3]], {"unordered": ("$[*][*]",)}, [("$[0]", "added")]),
]  # fmt: skip


@pytest.mark.parametrize(("legacy", "new", "rules", "wanted"), ALIGNED, ids=range(len(ALIGNED)))
def test_arrays_in_order_are_aligned_under_the_rules(
    legacy: list[Any], new: list[Any], rules: dict[str, Any], wanted: list[tuple[str, str]]
) -> None:
    assert places(compared(legacy, new, **rules)) == wanted


NUMBERED = [
    ([1, 2, 3], [2, 3, 9], {"ignore": ("$[0]",)}, [("$[0]", "value")]),
    ([1, 2, 3], [3, 1, 2], {"ignore": ("$[0]",)}, []),
    ([1, 2], [2], {"ignore": ("$[0]",)}, [("$[0]", "missing")]),
    ([{"id": 1, "v": 1}, {"id": 2, "v": 2}], [{"id": 2, "v": 2}, {"id": 1, "v": 9}],
     {"ignore": ("$[0].v",)}, [("$[0].v", "value")]),
    ([{"v": 1.0}], [{"v": 1.25}], {"tolerance": {"$[0].v": 1}}, [("$[0].v", "value")]),
    ([[3, 1], [2]], [[2], [1, 3]],
     {"ignore": ("$[0][0]", "$[*][1]"), "unordered": ("$", "$[*][*]")}, []),
]  # fmt: skip


@pytest.mark.parametrize(("legacy", "new", "rules", "wanted"), NUMBERED, ids=range(len(NUMBERED)))
def test_rules_for_a_certain_item_do_not_hold_in_an_unordered_array(
    legacy: list[Any], new: list[Any], rules: dict[str, Any], wanted: list[tuple[str, str]]
) -> None:
    rules = {"unordered": ("$",), **rules}
    assert places(compared(legacy, new, **rules)) == wanted
    # It does not matter which side is the legacy one.
    assert len(compared(new, legacy, **rules).differences) == len(wanted)


ITEMS = st.recursive(
    st.sampled_from([0, 1, 1.0, 1.25, 2, "1", "1.0", "x", None, True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)
RULES = st.fixed_dictionaries(
    {
        "ignore": st.sampled_from([(), ("$[*].a",), ("$..b",), ("$[*].id",), ("$[*].a[0]",)]),
        "unordered": st.sampled_from([("$",), ("$", "$[*].a"), ("$ by id", "$[*][*]"), ()]),
        "tolerance": st.sampled_from([{}, {"$[*]": 0.3}, {"$[*].a": 0.3, "$[*].id": 0.3}]),
        "lenient": st.lists(st.sampled_from(["int-float", "number-text", "null-absent"])),
    }
)


@given(st.lists(ITEMS, max_size=5), st.lists(ITEMS, max_size=5), RULES, st.integers())
def test_what_is_called_equal_is_equal_item_by_item(
    legacy: list[Any], new: list[Any], rules: dict[str, Any], seed: int
) -> None:
    """Items in any order are equal if and only if there is an order in which they are."""
    rules = {**rules, "lenient": tuple(rules["lenient"])}
    if random.Random(seed).random() < 0.7:
        new = random.Random(seed).sample(legacy, len(legacy))
    found = compared(legacy, new, **rules).outcome is Outcome.EQUAL
    if not any(each.split()[0] == "$" for each in rules["unordered"]):
        return
    one_by_one = {**rules, "unordered": tuple(rules["unordered"][1:])}

    def are_equal(one: Any, other: Any) -> bool:
        return compared([one], [other], **one_by_one).outcome is Outcome.EQUAL

    def fits(left: list[Any], others: list[Any]) -> bool:
        if not left or not others:
            return not left and not others
        return any(
            are_equal(left[0], other) and fits(left[1:], others[:at] + others[at + 1 :])
            for at, other in enumerate(others)
        )

    assert found == fits(legacy, new)


NUMBERS = st.lists(st.integers(0, 12), max_size=7)


def near(one: Any, other: Any) -> bool:
    return bool(abs(one - other) <= 1)


def paired(one: list[Any], other: list[Any]) -> tuple[list[Any], list[Any], bool]:
    forms, other_forms = (
        {at: Form(b"", False, (value,)) for at, value in enumerate(side)} for side in (one, other)
    )
    return without_pairs([*enumerate(one)], [*enumerate(other)], forms, other_forms, near)


def most(one: list[int], other: list[int]) -> int:
    if not one:
        return 0
    with_it = [
        1 + most(one[1:], other[:at] + other[at + 1 :])
        for at, each in enumerate(other)
        if near(one[0], each)
    ]
    return max([most(one[1:], other), *with_it])


@given(NUMBERS, NUMBERS)
def test_pairs_are_as_many_as_can_be(one: list[int], other: list[int]) -> None:
    left, other_left, is_whole = paired(one, other)
    assert is_whole
    assert len(one) - len(left) == len(other) - len(other_left) == most(one, other)
    assert paired(other, one) == (other_left, left, True)


def test_pairing_ends_where_it_may_not_try_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MAX_TRIES", 20)
    one, other = list(range(9)), list(range(100, 109))
    assert paired(one, other) == ([*enumerate(one)], [*enumerate(other)], False)


def test_marks_differ_as_values_do() -> None:
    values = [1, 1.0, True, "1", None, "None", [], {}, [1], ["1"], "#", '"', 2**80, "a" * 40]
    assert len({strict_mark(each) for each in values}) == len(values)
    assert max(len(strict_mark("a" * at)) for at in range(100)) <= 40
