"""Content codings and charsets: undone in bounded time, or told."""

import codecs
import gzip
import time
import zlib

import pytest
import zstandard

from comparators import Answer, Kind, Outcome, compare, compile_rules, content
from comparators.decode import MAX_MEMBERS, decode_content, decode_text
from comparators.model import Rules

MEMBERS = {"gzip": gzip.compress(b"", mtime=0), "zstd": zstandard.compress(b"")}
SKIPPED = b"\x50\x2a\x4d\x18\0\0\0\0"  # a frame of zstd with nothing for the reader


@pytest.mark.parametrize("coding", MEMBERS)
def test_a_content_may_have_some_members_but_not_any_number(coding: str) -> None:
    few = decode_content(coding, MEMBERS[coding] * (MAX_MEMBERS - 1))
    assert (few.data, few.problem) == (b"", "")
    began = time.process_time()
    many = decode_content(coding, MEMBERS[coding] * (1_000_000 // len(MEMBERS[coding])))
    assert time.process_time() - began < 1.0  # up to eight seconds
    assert f"more than {MAX_MEMBERS}" in many.problem
    assert f"more than {MAX_MEMBERS}" in decode_content("zstd", SKIPPED * 100_000).problem


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "utf-7", "hex", "rot13"])
def test_a_codec_that_is_none_of_the_web_is_not_known(charset: str) -> None:
    began = time.process_time()
    text = decode_text(f"text/plain; charset={charset}", b"a" * 900_000, content.TEXT)
    assert time.process_time() - began < 1.0  # punycode takes 25 seconds
    name = codecs.lookup(charset).name
    assert (text.charset, text.problem) == ("latin-1", f"the charset {name} is not known")


def test_what_is_no_name_of_a_coding_or_charset_is_not_repeated() -> None:
    for coding, told in (
        ("hunter2", "a content coding that is not known"),
        ("gzip, hunter2", "a content coding that is not known"),
        ("compress", "the content coding compress is not known"),
    ):
        assert decode_content(coding, b"x").problem == told
    text = decode_text("text/plain; charset=hunter2", b"x", content.TEXT)
    assert text.problem == "a charset that is not known"


CHARSETS = (
    *("UTF-8", "utf8", "utf-16le", "us-ascii", "ISO-8859-1", "latin1", "iso-8859-15", "cp1252"),
    *("windows-1251", "koi8-r", "macintosh", "ibm437", "shift_jis", "sjis", "euc-jp", "gbk"),
    *("iso-2022-jp", "gb18030", "big5", "euc-kr", "ks_c_5601-1987", "tis-620", "ibm1140"),
)


@pytest.mark.parametrize("charset", CHARSETS)
def test_the_charsets_of_the_web_are_read(charset: str) -> None:
    body = "abc".encode(charset)
    text = decode_text(f"text/plain; charset={charset}", body, content.TEXT)
    assert (text.text, text.problem) == ("abc", "")
    assert codecs.lookup(text.charset).name == codecs.lookup(charset).name


META = b"<meta charset=koi8-r>"
DECLARED = [
    ("text/html", META, "koi8-r"),
    ("text/html", b'<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
    ("text/xml", b'<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
    ("text/xml", b"<a>" + META, "utf-8"),
    ("application/json", b'["' + META, "utf-8"),
    ("application/x-ndjson", b'"' + META, "utf-8"),
    ("text/plain", META, "utf-8"),
    ("application/x-www-form-urlencoded", b"a=" + META, "utf-8"),
]


@pytest.mark.parametrize(("kind", "data", "charset"), DECLARED)
def test_only_markup_declares_its_charset(kind: str, data: bytes, charset: str) -> None:
    name = content.comparator_for(kind, data)
    assert decode_text(kind, data, name).charset == charset
    assert decode_text(f"{kind}; charset=latin-1", data, name).charset == "iso8859-1"


def json_answer(body: bytes) -> Answer:
    return Answer(200, (("Content-Type", "application/json"),), body)


def test_json_that_no_client_can_read_is_no_parity() -> None:
    unreadable = json_answer(b'["<meta charset=latin-1>\xe9"]')
    readable = json_answer(rb'["<meta charset=latin-1>\u00e9"]')
    found = compare(unreadable, readable, compile_rules(Rules()))
    assert [each.kind for each in found.differences] == [Kind.CODING]


@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-1", "nobody-knows"])
def test_what_a_string_of_json_says_of_charsets_is_text(charset: str) -> None:
    legacy = json_answer(f'["<meta charset={charset}>","é"]'.encode())
    new = json_answer(f'["<meta charset={charset}>", "\\u00e9"]'.encode())
    assert compare(legacy, new, compile_rules(Rules())).outcome is Outcome.EQUAL


BOM = b"\xef\xbb\xbf"


def test_one_byte_order_mark_is_none_of_the_text_and_a_second_one_is() -> None:
    equal = compare(json_answer(BOM + b"[1]"), json_answer(b"[1]"), compile_rules(Rules()))
    assert equal.outcome is Outcome.EQUAL
    found = compare(json_answer(BOM + BOM + b"[1]"), json_answer(b"[1]"), compile_rules(Rules()))
    assert [each.kind for each in found.differences] == [Kind.CODING]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (BOM + b"1\n2\n", Outcome.EQUAL),
        (BOM + BOM + b"1\n2\n", Outcome.DIVERGENT),
        (b"1\n" + BOM + b"2\n", Outcome.DIVERGENT),
    ],
)
def test_a_line_of_its_own_has_no_byte_order_mark(body: bytes, outcome: Outcome) -> None:
    headers = (("Content-Type", "application/x-ndjson"),)
    one, other = Answer(200, headers, body), Answer(200, headers, b"1\n2\n")
    assert compare(one, other, compile_rules(Rules())).outcome is outcome


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_stands_behind_a_stream_counts_but_for_padding(coding: str) -> None:
    stream = gzip.compress(b"[1]", mtime=0) if coding == "gzip" else zlib.compress(b"[1]")

    def outcome(behind: bytes, other: bytes) -> Outcome:
        headers = (("Content-Type", "application/json"), ("Content-Encoding", coding))
        one, new = (Answer(200, headers, stream + each) for each in (behind, other))
        return compare(one, new, compile_rules(Rules())).outcome

    assert outcome(b"", b"\0" * 8) is Outcome.EQUAL
    assert outcome(b"", b"x") is Outcome.DIVERGENT
    assert outcome(b"x", b"y") is Outcome.DIVERGENT
