"""The same bytes are the same answer only where a client reads them in the same way."""

import gzip

import pytest

from comparators import Answer, Outcome, Rules, compare, compile_rules

PACKED = gzip.compress(b'{"a":1}', mtime=0)
PARTS = b"--b\r\nContent-Type: text/plain\r\n\r\nX\r\n--b--\r\n"
Headers = tuple[tuple[str, str], ...]
JSON: Headers = (("Content-Type", "application/json"),)


def coded(coding: str) -> Headers:
    return (*JSON, ("Content-Encoding", coding))


def of_type(kind: str) -> Headers:
    return (("Content-Type", kind),)


def places(one: Headers, other: Headers, body: bytes, **rules: object) -> list[tuple[str, str]]:
    compiled = compile_rules(Rules(**rules))  # type: ignore[arg-type]
    found = compare(Answer(200, one, body), Answer(200, other, body), compiled)
    assert (found.outcome is Outcome.DIVERGENT) == bool(found.differences)
    return [(each.path, each.kind.value) for each in found.differences]


UNREADABLE = {
    "a coding that is not told": (coded("gzip"), JSON, PACKED),
    "a coding that is none": (JSON, coded("gzip"), b'{"a":1}'),
    "a coding nobody knows": (JSON, coded("nonsense"), b'{"a":1}'),
    "another boundary": (
        of_type("multipart/mixed; boundary=b"), of_type("multipart/mixed; boundary=c"), PARTS),
    "no boundary": (of_type("multipart/mixed; boundary=b"), of_type("multipart/mixed"), PARTS),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_a_client_cannot_read_is_not_the_same(name: str) -> None:
    one, other, body = UNREADABLE[name]
    assert ("$", "coding") in places(one, other, body)
    assert ("$", "coding") in places(other, one, body)
    assert places(one, one, body) == []


def test_another_charset_over_the_same_bytes_is_another_text() -> None:
    one, other = of_type("text/plain; charset=utf-8"), of_type("text/plain; charset=latin-1")
    rules = {"ignore": ("header:content-type",)}
    assert places(one, other, "é".encode(), **rules) == [("$.line[1]", "text")]
    assert places(one, other, b"e", **rules) == []


@pytest.mark.parametrize("coding", ["identity", "", "Identity"])
def test_no_coding_may_be_said_in_words(coding: str) -> None:
    assert places(JSON, coded(coding), b'{"a":1}') == []


def test_a_part_that_is_no_text_does_not_hide_the_others() -> None:
    kind = of_type("multipart/mixed; boundary=b")

    def body(blob: bytes, word: bytes) -> bytes:
        blob = b"--b\r\nContent-Type: image/png\r\n\r\n" + blob
        return blob + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + word + b"\r\n--b--\r\n"

    legacy, new = body(b"\xff", b"x"), body(b"a\xff", b"y")
    found = compare(Answer(200, kind, legacy), Answer(200, kind, new), compile_rules(Rules()))
    assert [each.path for each in found.differences] == ["$.part.0", "$.part.1.line[1]"]
