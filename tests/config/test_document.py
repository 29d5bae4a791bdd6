"""YAML 1.2 as values: scalars, bounds, duplicates, and what is said of a syntax error."""

import math
import time
from typing import Any

import pytest

from proxy.config.document import MAX_DEPTH, Document, MalformedError
from proxy.config.findings import Position


def value_of(text: str, **env: str) -> Any:
    document = Document(text, env)
    assert not document.problems, document.problems[0].text
    return document.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("on", "off", "yes", "no", "On", "y", "1:30", "12:30:45")),
        *(
            (word, word)
            for word in ("2001-12-14", "2001-12-14t21:59:43.10-05:00", "0b101", "1_000")
        ),
        *((word, word) for word in ("=", "<<", "1e", "0x", "e3", "1.2.3", "nUll", "tRue")),
        *(("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None)),
        *(("true", True), ("False", False), ("FALSE", False)),
        *(("12", 12), ("-3", -3), ("+7", 7), ("0o17", 15), ("0x1F", 31), ("017", 17)),
        *(("1e-6", 1e-6), ("1.5", 1.5), (".5", 0.5), ("-1.", -1.0), ("1E3", 1000.0)),
        *((".inf", math.inf), ("-.INF", -math.inf)),
        *(("'12'", "12"), ('"true"', "true"), ("''", "")),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    got = value_of(f"a: {text}\n")["a"]
    assert got == value
    assert type(got) is type(value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(value_of("a: .nan")["a"])


def test_a_number_of_very_many_digits_is_no_trouble() -> None:
    assert value_of("a: " + "9" * 10_000)["a"] == math.inf


def test_keys_are_text() -> None:
    assert value_of("{1: a, true: b, null: c, 1e3: d}") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "1e3": "d",
    }


def test_anchors_and_aliases_work() -> None:
    assert value_of("a: &x {b: [1]}\nc: *x") == {"a": {"b": [1]}, "c": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "code", "key_path", "words"),
    [
        ("a: 1\nb: 2\na: 3", "DUPLICATE_KEY", ("a",), "first in line 1"),
        ("a: {b: 1, b: 2}", "DUPLICATE_KEY", ("a", "b"), "twice"),
        ("a: !!int 3", "TAG", ("a",), "!!int"),
        ("a: !!python/object:os.system x", "TAG", ("a",), "not used"),
        ("<<: {a: 1}", "BAD_KEY", ("<<",), "defaults"),
        ("? [a]\n: 1", "BAD_KEY", (), "quotes"),
        ("a: ${NOPE}", "ENVIRONMENT", ("a",), "NOPE is not set"),
    ],
)
def test_a_problem_with_one_value_leaves_the_rest_readable(
    text: str, code: str, key_path: tuple[str, ...], words: str
) -> None:
    document = Document(text, {})
    assert isinstance(document.value, dict)
    [problem] = document.problems
    assert (problem.code, problem.loc) == (code, key_path)
    assert words in problem.text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 100_000, "TOO_DEEP"),
        ("a:\n" + "".join(" " * i + "- \n" + " " * i + " a:\n" for i in range(1, 99)), "TOO_DEEP"),
        ("a: &x [*x]", "TOO_DEEP"),
        ("a: &x {b: *x}", "TOO_DEEP"),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)),
            "TOO_MANY_NODES",
        ),
        ("[" + "a," * 600_000 + "]", "TOO_MANY_NODES"),
    ],
    ids=["flow", "block", "list in itself", "mapping in itself", "alias bomb", "wide"],
)
def test_a_file_that_would_blow_up_is_refused_in_time(text: str, code: str) -> None:
    began = time.process_time()
    with pytest.raises(MalformedError) as refused:
        Document(text, {})
    assert refused.value.code == code
    assert time.process_time() - began < 10


def test_nesting_up_to_the_bound_is_legal() -> None:
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert Document(deep, {}).value


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a:\n\t- b", 2, 1, "a tab indents this line"),
        ("a:\n  b: 1\n \tc: 2", 3, 2, "a tab indents this line"),
        ("a: *", 1, 4, 'in quotes: "*"'),
        ("a: *.example.com", 1, 4, 'in quotes: "*.example.com"'),
        ("r:\n  *: legacy-only", 2, 3, 'put the key in quotes: "*": legacy-only'),
        ("a: @x # c", 1, 4, 'in quotes: "@x"'),
        ("a: %x", 1, 4, 'in quotes: "%x"'),
        ("a: `x", 1, 4, 'in quotes: "`x"'),
        ("a: &", 1, 4, 'in quotes: "&"'),
        ("a: |x", 1, 5, 'in quotes: a: "|x"'),
        ("rewrite: {id}/x", 1, 14, 'in quotes: rewrite: "{id}/x"'),
        ("a:\n  rewrite: {id}/x\n  b: 1", 2, 16, 'in quotes: rewrite: "{id}/x"'),
        ("/x: {phase: 1%, rewrite: /x/{id}}", 1, 29, 'in quotes: "/x/{id}"'),
        ("a: [${HOST}]", 1, 6, 'in quotes: "${HOST}"'),
        ("a: b: c", 1, 5, 'in quotes: a: "b: c"'),
        ("a: 1\n   b: 2", 2, 5, "line above"),
        ("a: 'x\nb: 1", 1, 4, "quotes that open here are not closed"),
        ("a: [1, 2", 1, 4, "opens here is not closed"),
        ("a: {b: 1\n", 1, 4, "opens here is not closed"),
        ("a: 1\n---\nb: 2", 2, 1, "second document"),
        ("a: 1\nb 2\nc: 3", 2, 1, "colons"),
        ("r:\n  /a: x\n  /b/*:x", 3, 3, "a space is missing behind /b/*:"),
        ("r:\n  /a: x\n  /b/*:x\n  /c: x", 3, 3, "a space is missing behind /b/*:"),
        ("r:\n  GET /b:x\n\n  /c: x", 2, 3, "a space is missing behind GET /b:"),
        ("r:\n  b:http://h:1\n  /c: x", 2, 3, "a space is missing behind b:"),
        ("r:\n- b:x\n  c: x", 2, 3, "a space is missing behind b:"),
        ("r:\n  - a\n  -b\nc: x", 3, 3, "a space is missing behind the dash"),
        ("r:\n  /a: x\n  http://h\n  /c: x", 3, 3, "colons"),
        ("a: {sticky: cookie: x}", 1, 19, 'in quotes: sticky: "cookie:x"'),
        ("a: {b: c: d, e: f}", 1, 9, 'in quotes: b: "c: d"'),
        ("a: [b: c: d, e]", 1, 9, 'text in quotes: "b: c: d"'),
        ("a: {secret: c: d, e: f}", 1, 14, 'in quotes: secret: "..."'),
        ("secret: c: d", 1, 10, 'in quotes: secret: "..."'),
        ("a: \x01", 1, 4, "control characters"),
        ("%YAML 3.0\n---\na: 1", 1, 1, "incompatible"),
    ],
)
def test_a_syntax_error_says_where_and_what_to_write(
    text: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(MalformedError) as refused:
        Document(text, {})
    assert refused.value.code == "SYNTAX"
    assert words in refused.value.text
    assert refused.value.position == Position(line, column)


@pytest.mark.parametrize("text", ["a: 1\nsecret:hush\nb: 2", "secret:hush\nb: 2"])
def test_a_value_without_its_space_is_not_told(text: str) -> None:
    """Errors are logged, and sent to webhooks."""
    with pytest.raises(MalformedError) as refused:
        Document(text, {})
    assert "behind secret:" in refused.value.text
    assert "hush" not in refused.value.text


def test_a_syntax_error_in_a_very_long_line_is_found_in_time() -> None:
    began = time.process_time()
    with pytest.raises(MalformedError):
        Document("a: [" + "x" * 3_000_000 + "{", {})
    assert time.process_time() - began < 10


def test_positions_of_values_keys_and_what_is_not_there() -> None:
    document = Document("a:\n  b: [x, y]\n  c:\n    d: 1\n", {})
    assert document.position(("a", "b", 1)) == Position(2, 10)
    assert document.position(("a", "b"), of_key=True) == Position(2, 3)
    assert document.position(("a", "c")) == Position(3, 3)
    assert document.position(("a", "c", "missing")) == Position(3, 3)
    assert document.existing(("a", "<tag>", "b", 0)) == ("a", "b", 0)


def test_variables_are_filled_in_after_parsing() -> None:
    document = Document(
        "a: ${X}\nb: 'p${X}'\n${K}: $${X}\nc: ${N}", {"X": "1: [", "K": "k", "N": "3"}
    )
    assert document.value == {"a": "1: [", "b": "p1: [", "k": "${X}", "c": 3}
    assert document.taken == {"X": "1: [", "K": "k", "N": "3"}
    assert document.position(("k",), of_key=True) == Position(3, 1)


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A-B}", "${A:-b}"])
def test_a_reference_that_names_no_variable_is_said(text: str) -> None:
    [problem] = Document(f'a: "{text}"', {"A": "x"}).problems
    assert problem.code == "ENVIRONMENT"
    assert "names no environment variable" in problem.text


def test_a_missing_variable_names_the_nearest() -> None:
    [problem] = Document("a: ${LEGACY_ULR}", {"LEGACY_URL": "secret"}).problems
    assert "did you mean LEGACY_URL?" in problem.text
    assert "secret" not in problem.text
