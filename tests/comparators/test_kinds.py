"""Each kind of difference: found without rules, and silenced by the rule that is for it."""

import gzip
import json
import time
import zlib
from typing import Any

import brotli  # type: ignore[import-untyped]  # it has no types
import pytest
import zstandard

from comparators import Answer, Comparison, Kind, Outcome, Rules, compare, compile_rules
from comparators.decode import MAX_BYTES, decode_content
from comparators.json import Json, NotJson, load_json
from comparators.model import MAX_DIFFERENCES
from comparators.redaction import Redactor

JSON = (("Content-Type", "application/json"),)


def typed(
    body: bytes | str, content_type: str = "application/json", *more: tuple[str, str]
) -> Answer:
    data = body.encode() if isinstance(body, str) else body
    return Answer(200, (("Content-Type", content_type), *more), data)


def of(value: Any) -> Answer:
    return typed(json.dumps(value))


def compared(legacy: Answer, new: Answer, method: str = "GET", **rules: Any) -> Comparison:
    return compare(legacy, new, compile_rules(Rules(**rules)), method)


def places(found: Comparison) -> list[tuple[str, str]]:
    return [(each.path, each.kind.value) for each in found.differences]


VALUES: list[tuple[Any, Any, list[tuple[str, str]], dict[str, Any]]] = [
    ({"a": 1}, {"a": 2}, [("$.a", "value")], {"ignore": ("$.a",)}),
    ({"a": [{"b": 1, "c": 1}]}, {"a": [{"b": 2, "c": 1}]}, [("$.a[0].b", "value")],
     {"ignore": ("$.a[*].b",)}),
    ({"a": {"b": {"t": 1}}}, {"a": {"b": {"t": 2}}}, [("$.a.b.t", "value")], {"ignore": ("$..t",)}),
    ({"a": {"x y": 1}}, {"a": {"x y": 2}}, [("$.a['x y']", "value")], {"ignore": ("$.a['x y']",)}),
    ({"a": {"q": 1}}, {"a": {"q": 2}}, [("$.a.q", "value")], {"ignore": ("$.a.*",)}),
    ({"price": 1.001}, {"price": 1.002}, [("$.price", "value")], {"tolerance": {"$.price": 0.01}}),
    ({"n": 10}, {"n": 11.5}, [("$.n", "type")], {"tolerance": {"$.n": 2}}),
    ({"a": 1}, {"a": 1.0}, [("$.a", "type")], {"lenient": ("int-float",)}),
    ({"a": 1}, {"a": "1"}, [("$.a", "type")], {"lenient": ("number-text",)}),
    ({"a": "2.50"}, {"a": 2.5}, [("$.a", "type")], {"lenient": ("number-text",)}),
    ({"a": None, "b": 1}, {"b": 1}, [("$.a", "missing")], {"lenient": ("null-absent",)}),
    ({"b": 1}, {"a": None, "b": 1}, [("$.a", "added")], {"lenient": ("null-absent",)}),
    ({"b": 1, "c": 2}, {"b": 1}, [("$.c", "missing")], {"ignore": ("$.c",)}),
    ({"fullName": "x"}, {"name": "x"}, [("$.fullName", "missing"), ("$.name", "added")],
     {"rename": {"$.fullName": "$.name"}}),
    ({"u": [{"a": 1}, {"a": 2}]}, {"u": [{"b": 1}, {"b": 2}]},
     [("$.u[0].a", "missing"), ("$.u[0].b", "added"), ("$.u[1].a", "missing"),
      ("$.u[1].b", "added")], {"rename": {"$.u[*].a": "$.u[*].b"}}),
    ({"t": [1, 2, 3]}, {"t": [3, 1, 2]},
     [("$.t[0]", "value"), ("$.t[1]", "value"), ("$.t[2]", "value")], {"unordered": ("$.t",)}),
    ({"t": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]},
     {"t": [{"sku": "b", "n": 2}, {"sku": "a", "n": 1}]},
     [("$.t[0].sku", "value"), ("$.t[0].n", "value"), ("$.t[1].sku", "value"),
      ("$.t[1].n", "value")], {"unordered": ("$.t by sku",)}),
    ({"t": []}, {"t": {}}, [("$.t", "type")], {"ignore": ("$.t",)}),
    ({"t": True}, {"t": 1}, [("$.t", "type")], {"ignore": ("$.t",)}),
    ([1, 2, 3], [1, 3], [("$[1]", "missing")], {"ignore": ("$[1]",)}),
    ([1, 3], [1, 2, 3], [("$[1]", "added")], {"ignore": ("$[*]",)}),
]  # fmt: skip


@pytest.mark.parametrize(("legacy", "new", "found", "rule"), VALUES)
def test_a_difference_of_values_is_found_and_its_rule_silences_it(
    legacy: Any, new: Any, found: list[tuple[str, str]], rule: dict[str, Any]
) -> None:
    assert sorted(places(compared(of(legacy), of(new)))) == sorted(found)
    silenced = compared(of(legacy), of(new), **rule)
    assert (silenced.outcome, silenced.differences) == (Outcome.EQUAL, ())


def test_a_rule_silences_its_own_place_alone() -> None:
    found = compared(of({"a": 1, "b": 1}), of({"a": 2, "b": 2}), ignore=("$.a",))
    assert places(found) == [("$.b", "value")]


def test_a_keyed_array_shows_what_changed_in_the_item_with_that_key() -> None:
    legacy = {"t": [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3}]}
    new = {"t": [{"id": 3, "n": 3}, {"id": 4, "n": 4}, {"id": 1, "n": 9}]}
    found = compared(of(legacy), of(new), unordered=("$.t",))
    assert sorted(places(found)) == [
        ("$.t[0].n", "value"),
        ("$.t[1]", "added"),
        ("$.t[1]", "missing"),
    ]


def test_an_array_without_a_key_pairs_what_is_most_alike() -> None:
    legacy = {"t": [{"a": 1, "b": 2, "c": 3}, {"x": "long", "y": "text"}]}
    new = {"t": [{"x": "long", "y": "other"}, {"a": 1, "b": 2, "c": 3}]}
    assert places(compared(of(legacy), of(new), unordered=("$.t",))) == [("$.t[1].y", "value")]


def test_key_order_white_space_and_escapes_mean_nothing() -> None:
    legacy = typed('{"a": 1, "b": "\\u00e9", "c": 1.10}')
    new = typed(b'\xef\xbb\xbf{"c":1.1,\n "b":"\xc3\xa9","a":1}')
    assert compared(legacy, new).outcome is Outcome.EQUAL


SUBTLE = [
    ('{"a":1,"a":2}', '{"a":2}', False),
    ('{"a":1,"a":2}', '{"a":3,"a":2}', False),
    ('{"a" :1,"a":2,"b":3}', '{"a":2,"b":3}', False),
    ('{"a":1,"a":2}', '{"a":1, "a":2}', True),
    ("0.1", "0.10000000000000001", False),
    ("0.1", "0.1000000000000000055511151231257827021181583404541015625", False),
    ("1.10", "1.1", True),
    ("1e2", "100.0", True),
    ("1e400", "1e401", False),
    ("1e400", "1E+400", True),
    ("[1e9999999999999999999]", "[1e9999999999999999998]", False),
    ("[1e-9999999999999999999]", "[0.0]", False),
    ("9007199254740993", "9007199254740992", False),
    ("12345678901234567890", "12345678901234567891", False),
    ("[NaN]", "[NaN ]", True),
    ("[NaN]", "[null]", False),
    ("[Infinity]", "[-Infinity]", False),
    ("[0]", "[-0]", True),
    ("[0.0]", "[-0.0]", True),
    ('["5e3-a"]', '[ "5e3-a"]', True),
    ('["\\ud800"]', '[ "\\ud800"]', True),
    ('["\\ud800"]', '["\\ud801"]', False),
    ('{"x":"a\\":b"}', '{"x": "a\\":b"}', True),
]


@pytest.mark.parametrize(("one", "other", "same"), SUBTLE)
def test_what_json_distinguishes_is_distinguished(one: str, other: str, same: bool) -> None:
    for legacy, new in ((one, other), (other, one)):
        found = compared(typed(legacy), typed(new))
        assert (found.outcome is Outcome.EQUAL) == same, found


# Each side of what orjson writes (254) and reads (1024), of the stack (1000), and far beyond.
DEPTHS = [127, 128, 200, 254, 255, 512, 990, 1000, 1023, 1024, 1025, 10_000]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_any_depth_is_compared(opening: str, closing: str, depth: int) -> None:
    def deep(core: str) -> Answer:
        return typed(opening * depth + core + closing * depth)

    assert compared(deep("1"), deep(" 1")).outcome is Outcome.EQUAL
    found = compared(deep("1"), deep("2"))
    assert [each.kind for each in found.differences] == [Kind.VALUE]
    assert found.outcome is Outcome.DIVERGENT
    assert isinstance(load_json(opening.encode() * depth), NotJson)
    assert Redactor(b"k" * 32).body(opening * depth + "1" + closing * depth, "json")


def test_deep_items_in_any_order_are_paired_without_looking_for_the_nearest() -> None:
    def items(core: str) -> Answer:
        inner = (f"{'[' * 400}{core}{n}{']' * 400}" for n in range(10))
        return typed(f"[{','.join(inner)}]")

    began = time.process_time()
    found = compared(items("1"), items("2"), unordered=("$",))
    assert time.process_time() - began < 1.0  # it took ten seconds
    assert found.outcome is Outcome.DIVERGENT
    assert found.truncated
    assert compared(items("1"), items("1"), unordered=("$",)).outcome is Outcome.EQUAL


@pytest.mark.parametrize("number", ["1e999999999", "-1e-999999999", "9" * 5000, "1.5e400"])
def test_a_number_beyond_all_measure_is_compared_and_kept(number: str) -> None:
    found = compared(typed(f"[{number}]"), typed("[1]"))
    assert found.outcome is Outcome.DIVERGENT
    assert Redactor(b"k" * 32).body(f"[{number}]", "json")
    assert Redactor(b"k" * 32).show(found.differences[0]).legacy


@pytest.mark.parametrize("body", [b"{", b"nope", b"[1,]", b'{"a"}', b"\xff", b'["\x01"', b"1 2"])
def test_what_is_not_json_is_told(body: bytes) -> None:
    assert isinstance(load_json(body), NotJson)
    assert places(compared(typed(body), typed("1"))) == [("$", "coding")]
    assert compared(typed(body), typed(body)).outcome is Outcome.EQUAL
    assert isinstance(load_json(b"1"), Json)


def test_a_pair_that_differs_everywhere_is_cut_and_still_divergent() -> None:
    legacy, new = of([[n] for n in range(5000)]), of([[-n - 1] for n in range(5000)])
    found = compared(legacy, new)
    assert (found.outcome, found.truncated) == (Outcome.DIVERGENT, True)
    assert len(found.differences) == MAX_DIFFERENCES


# Status, headers, cookies


def test_status_exactly_or_by_class() -> None:
    legacy, new = Answer(200), Answer(201)
    assert places(compared(legacy, new)) == [("status", "status")]
    assert compared(legacy, new, status="class").outcome is Outcome.EQUAL
    assert places(compared(legacy, Answer(404), status="class")) == [("status", "status")]


UTF8 = "text/html; charset=UTF-8"
HEADERS = [
    (("Content-Type", UTF8), ("content-type", 'text/html;charset="utf-8"'), True),
    (("Content-Type", "text/html"), ("Content-Type", "text/plain"), False),
    (("Location", "/a"), ("Location", "/A"), False),
    (("Vary", "Accept, Cookie"), ("Vary", "cookie,accept"), True),
    (("X-List", "a, b"), ("X-List", "a,b"), True),
    (("X-List", "a, b"), ("X-List", "b, a"), False),
]  # fmt: skip
NAMED = ("content-type", "location", "vary", "x-list", "set-cookie")


@pytest.mark.parametrize(("one", "other", "same"), HEADERS)
def test_headers_are_compared_by_what_they_mean(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    found = compared(Answer(200, (one,)), Answer(200, (other,)), headers=NAMED)
    name = one[0].lower()
    assert places(found) == ([] if same else [(f"header:{name}", "header")])
    ignored = compared(
        Answer(200, (one,)), Answer(200, (other,)), headers=NAMED, ignore=(f"header:{name}",)
    )
    assert ignored.outcome is Outcome.EQUAL


def test_a_header_that_one_side_lacks_and_one_that_nobody_named() -> None:
    with_it, without = Answer(200, (("Location", "/"), ("X-Y", "1"))), Answer(200)
    assert places(compared(with_it, without)) == [("header:location", "missing")]
    assert places(compared(without, with_it)) == [("header:location", "added")]


def test_cookies_are_compared_by_name_and_attribute() -> None:
    def answer(*cookies: str) -> Answer:
        return Answer(200, tuple(("Set-Cookie", cookie) for cookie in cookies))

    def differing(one: Answer, other: Answer, **rules: Any) -> list[tuple[str, str]]:
        return places(compared(one, other, headers=("set-cookie",), **rules))

    assert (
        differing(answer("a=1; Path=/; Secure", "b=2"), answer("b=2", "a=1; secure; path=/")) == []
    )
    assert differing(answer("a=1"), answer("a=2")) == [("cookie:a", "cookie")]
    assert differing(answer("a=1"), answer("a=2"), ignore=("cookie:a",)) == []
    assert differing(answer("a=1; HttpOnly"), answer("a=1")) == [("cookie:a.httponly", "cookie")]
    assert differing(answer("a=1; Expires=Thu, 01 Jan 2026"), answer("a=1; Expires=Fri")) == []
    assert differing(answer("a=1"), answer()) == [("cookie:a", "missing")]


# Other bodies


BODIES: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    ("text/plain", "a\nb\nc", "a \r\nB\nc\n", [("$.line[2]", "text")]),
    ("text/plain", "a\nb", "a\nx\nb", [("$.line[2]", "added")]),
    ("application/x-ndjson", '{"a":1}\n{"a":2}\n', '{"a":1}\n\n{"a":3}', [("$[1].a", "value")]),
    ("application/x-www-form-urlencoded", "a=1&b=2", "b=2&a=3", [("$.a", "value")]),
    ("application/xml", '<r><i a="1" b="2">x</i></r>', "<r>\n <i b='2' a='3'> x </i></r>",
     [("$.r[0].i[0].@a", "value")]),
    ("application/xml", '<p:r xmlns:p="u"><p:i/></p:r>', '<r xmlns="u"><i/><i/></r>',
     [("$.r[0].#order", "added"), ("$.r[0].i[1]", "added")]),
    ("text/html", '<p class="b a" id=x>Hi <b>you</b></p>', '<P id="x" class="a b">Hi\n<b>me</b>',
     [("$.p[0].b[0]['#text']", "value")]),
    ("text/html", "<p>a<b>x</b>c</p>", "<p>a c<b>x</b></p>",
     [("$.p[0].#order[2]", "missing"), ("$.p[0].#text", "type")]),
    ("application/octet-stream", "abc", "abd", [("$", "bytes")]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "legacy", "new", "found"), BODIES)
def test_each_kind_of_body_is_compared_by_what_it_says(
    kind: str, legacy: str, new: str, found: list[tuple[str, str]]
) -> None:
    result = compared(typed(legacy, kind), typed(new, kind))
    shown = [(path.replace("['#text']", ".#text"), what) for path, what in places(result)]
    wanted = {(path.replace("['#text']", ".#text"), what) for path, what in found}
    got = {(path.replace("['#order']", ".#order").replace("['@a']", ".@a"), what)
           for path, what in shown}  # fmt: skip
    assert {path for path, _ in wanted} <= {path for path, _ in got}, got
    assert compared(typed(legacy, kind), typed(legacy + "\n", kind)).outcome is (
        Outcome.DIVERGENT if kind == "application/octet-stream" else Outcome.EQUAL
    )


def test_parts_of_a_multipart_body_are_compared_by_their_own_types() -> None:
    def body(mark: str, value: str) -> Answer:
        text = (
            f'--{mark}\r\nContent-Disposition: form-data; name="meta"\r\n'
            f"Content-Type: application/json\r\n\r\n{value}\r\n--{mark}--\r\n"
        )
        return typed(text, f"multipart/form-data; boundary={mark}")

    assert compared(body("x", '{"a":1}'), body("yy", '{ "a":1}')).outcome is Outcome.EQUAL
    assert places(compared(body("x", '{"a":1}'), body("yy", '{"a":2}'))) == [
        ("$.part.meta.a", "value")
    ]


BOMBS = {
    "laughs": '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><r>&b;</r>',
    "external": '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r>&a;</r>',
}


@pytest.mark.parametrize("name", BOMBS)
def test_entities_are_neither_expanded_nor_fetched(name: str) -> None:
    found = compared(typed(BOMBS[name], "application/xml"), typed("<r/>", "application/xml"))
    assert found.outcome is Outcome.DIVERGENT
    assert "root:" not in repr(found)


PLAIN = b'{"a": 1, "b": [1, 2, 3]}' * 1
CODINGS = {
    "gzip": gzip.compress(PLAIN),
    "deflate": zlib.compress(PLAIN),
    "br": brotli.compress(PLAIN),
    "zstd": zstandard.compress(PLAIN),
    "gzip, br": brotli.compress(gzip.compress(PLAIN)),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_content_coding_is_undone_first(coding: str) -> None:
    coded = typed(CODINGS[coding], "application/json", ("Content-Encoding", coding))
    assert compared(coded, typed(PLAIN)).outcome is Outcome.EQUAL
    for cut in (1, len(CODINGS[coding]) // 2, len(CODINGS[coding]) - 1):
        torn = typed(CODINGS[coding][:cut], "application/json", ("Content-Encoding", coding))
        assert places(compared(coded, torn)) == [("$", "coding")], cut


def bomb(coding: str) -> bytes:
    zeros = bytes(1 << 20)
    if coding == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    if coding == "br":
        brotli_packer = brotli.Compressor(quality=1)
        packed = b"".join(brotli_packer.process(zeros) for _ in range(200))
        return packed + bytes(brotli_packer.finish())
    zstd_packer = zstandard.ZstdCompressor().compressobj()
    return b"".join(zstd_packer.compress(zeros) for _ in range(200)) + zstd_packer.flush()


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_bomb_is_not_blown_up(coding: str) -> None:
    decoded = decode_content(coding, bomb(coding))
    assert f"larger than {MAX_BYTES} bytes" in decoded.problem
    assert len(decoded.data) < MAX_BYTES


def test_charsets_are_undone_and_unknown_ones_told() -> None:
    latin = typed("é".encode("latin-1"), "text/plain; charset=iso-8859-1")
    utf8 = typed("é".encode(), "text/plain; charset=utf-8")
    headers: tuple[str, ...] = ()
    assert compared(latin, utf8, headers=headers).outcome is Outcome.EQUAL
    odd = typed("ä".encode(), "text/plain; charset=no-such")
    assert ("$", "coding") in places(compared(utf8, odd, headers=headers))


def test_a_head_and_an_empty_answer_have_no_body() -> None:
    assert compared(typed("1"), typed("2"), method="HEAD").outcome is Outcome.EQUAL
