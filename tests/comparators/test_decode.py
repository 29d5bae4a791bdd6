"""Content codings and charsets: undone in bounded time, or told."""

import codecs
import gzip
import time

import pytest
import zstandard

from comparators.decode import MAX_MEMBERS, decode_content, decode_text

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
    text = decode_text(f"text/plain; charset={charset}", b"a" * 900_000)
    assert time.process_time() - began < 1.0  # punycode takes 25 seconds
    assert (text.charset, text.problem) == ("latin-1", f"the charset {charset!r} is not known")


CHARSETS = (
    *("UTF-8", "utf8", "utf-16le", "us-ascii", "ISO-8859-1", "latin1", "iso-8859-15", "cp1252"),
    *("windows-1251", "koi8-r", "macintosh", "ibm437", "shift_jis", "sjis", "euc-jp", "gbk"),
    *("iso-2022-jp", "gb18030", "big5", "euc-kr", "ks_c_5601-1987", "tis-620", "ibm1140"),
)


@pytest.mark.parametrize("charset", CHARSETS)
def test_the_charsets_of_the_web_are_read(charset: str) -> None:
    body = "abc".encode(charset)
    text = decode_text(f"text/plain; charset={charset}", body)
    assert (text.text, text.problem) == ("abc", "")
    assert codecs.lookup(text.charset).name == codecs.lookup(charset).name
