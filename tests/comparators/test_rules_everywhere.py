"""Rules hold in every kind of body, and what is secret in one spelling is so in the other."""

import json
import math

import pytest

from comparators import Answer, Kind, Outcome, Rules, compare, compile_rules
from comparators.model import Difference
from comparators.redaction import Redactor

REDACTOR_KEY = b"k" * 32


def answer(body: bytes, kind: str) -> Answer:
    return Answer(200, (("Content-Type", kind),), body)


def paths(kind: str, legacy: bytes, new: bytes, **rules: object) -> list[str]:
    compiled = compile_rules(Rules(**rules))  # type: ignore[arg-type]
    found = compare(answer(legacy, kind), answer(new, kind), compiled)
    return [each.path for each in found.differences]


def test_lines_of_text_are_ignored_by_their_number() -> None:
    legacy, new = b"a\nb\nc\n", b"a\nX\nY\n"
    assert paths("text/plain", legacy, new) == ["$.line[2]", "$.line[3]"]
    assert paths("text/plain", legacy, new, ignore=("$.line[2]",)) == ["$.line[3]"]
    assert paths("text/plain", legacy, new, ignore=("$",)) == []


def test_a_line_that_new_alone_has_is_told_once() -> None:
    lines = [b"line %d" % number for number in range(500)]
    more = [*lines[:100], b"new", *lines[100:]]
    found = paths("text/plain", b"\n".join(lines), b"\n".join(more))
    assert found == ["$.line[101]"]


def test_rules_hold_for_ndjson() -> None:
    kind = "application/x-ndjson"
    legacy, new = b'{"a":1,"t":1}\n{"a":2,"t":2}\n', b'{"a":1,"t":5}\n{"a":3,"t":6}\n'
    assert paths(kind, legacy, new, ignore=("$[*].t",)) == ["$[1].a"]
    assert paths(kind, legacy, new, tolerance={"$[*].a": 1.0, "$[*].t": 9.0}) == []


def test_duplicate_keys_are_seen_in_ndjson() -> None:
    kind = "application/x-ndjson"
    assert paths(kind, b'{"a":1,"a":2}\n', b'{"a":2}\n') != []


def test_a_record_separator_begins_a_text_and_is_in_none() -> None:
    kind = "application/json-seq"
    assert paths(kind, b'\x1e{"a":1}\n\x1e2\n', b'{"a": 1}\n2\n') == []
    assert paths(kind, b'\x1e"a\x1eb"\n', b'\x1e"ab"\n') == ["$"]


def part(name: str, body: bytes, kind: str) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    return b"--b\r\n" + head.encode() + body + b"\r\n"


def test_rules_hold_inside_the_parts_of_multipart() -> None:
    kind = "multipart/form-data; boundary=b"
    legacy = part("meta", b'{"a":1,"t":1}', "application/json") + b"--b--\r\n"
    new = part("meta", b'{"a":1,"t":2}', "application/json") + b"--b--\r\n"
    assert paths(kind, legacy, new) == ["$.part.meta.t"]
    assert paths(kind, legacy, new, ignore=("$.part.meta.t",)) == []
    assert paths(kind, legacy, new, ignore=("$..t",)) == []
    assert paths(kind, legacy, new, tolerance={"$.part.meta.t": 1.0}) == []
    assert paths(kind, legacy, new, ignore=("$.part.other.t",)) == ["$.part.meta.t"]


def test_a_boundary_may_begin_with_another_one() -> None:
    kind = "multipart/mixed; boundary=b"
    inside = b"--bc\r\nnot a boundary of ours\r\n"
    body = part("x", inside, "text/plain") + b"--b--\r\n"
    other = part("x", inside + b"more", "text/plain") + b"--b--\r\n"
    assert paths(kind, body, body + b"epilogue") == []
    assert paths(kind, body, other) == ["$.part.x.line[3]"]


def test_as_many_unordered_items_are_matched_as_can_be() -> None:
    # 1.5 is within the tolerance of both 1 and 2, 0.2 of 1 alone.
    legacy, new = json.dumps([1.5, 0.2]).encode(), json.dumps([1, 2]).encode()
    rules = {"unordered": ("$",), "tolerance": {"$[*]": 0.9}, "lenient": ("int-float",)}
    assert paths("application/json", legacy, new, **rules) == []
    assert paths("application/json", new, legacy, **rules) == []


@pytest.mark.parametrize(("one", "other"), [("[NaN]", "[null]"), ("[1, NaN]", "[null, 1]")])
def test_nan_is_not_null_in_any_order(one: str, other: str) -> None:
    found = paths("application/json", one.encode(), other.encode(), unordered=("$",))
    assert found != []
    assert paths("application/json", one.encode(), one.encode() + b" ", unordered=("$",)) == []


def test_an_element_that_is_never_closed_costs_no_quadratic_time() -> None:
    body = b"<div>" * 200_000
    compiled = compile_rules(Rules())
    found = compare(answer(body, "text/html"), answer(body + b"<p>", "text/html"), compiled)
    assert found.outcome is Outcome.DIVERGENT


# Redaction


def shown(redactor: Redactor, path: str, value: object) -> str | None:
    return redactor.show(Difference(path, Kind.VALUE, value, "other")).legacy


def test_what_is_secret_in_legacy_is_so_under_the_name_that_new_has() -> None:
    redactor = Redactor(REDACTOR_KEY, ("$.user.nick",), {"$.user": "$.person"})
    for path in ("$.user.nick", "$.person.nick"):
        told = shown(redactor, path, "Zoe")
        assert told is not None
        assert told.startswith("redacted:")


def test_a_value_is_secret_by_the_name_beside_it() -> None:
    redactor = Redactor(REDACTOR_KEY)
    kept = redactor.document(
        [{"name": "password", "value": "hunter2"}, {"name": "x", "value": "y"}]
    )
    assert "hunter2" not in json.dumps(kept)
    assert kept[1] == {"name": "x", "value": "y"}


@pytest.mark.parametrize(
    "text",
    [
        "<login><password>hunter2</password></login>",
        "<password><![CDATA[hunter2]]></password>",
        "<ns:apiKey>hunter2</ns:apiKey>",
        "<user password='hunter2'/>",
        '<input type="hidden" name="csrf_token" value="hunter2">',
        '<meta name="csrf-token" content="hunter2">',
        "<secret><deep>hunter2</deep></secret>",
        "<password>hunter2",
    ],
)
def test_no_secret_of_markup_is_kept(text: str) -> None:
    redactor = Redactor(REDACTOR_KEY)
    for kind in ("xml", "html"):
        kept = redactor.body(text, kind)
        assert kept is None or "hunter2" not in kept


ODD = (math.nan, 10**400, -(10**5000), object(), b"\xff", {1: 2}, [()])


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_nothing_makes_redaction_raise(value: object) -> None:
    redactor = Redactor(REDACTOR_KEY, ("$..a",))
    assert isinstance(redactor.hashed(value), str)
    redactor.document(value)
    redactor.show(Difference("$.x", Kind.VALUE, value, value))
