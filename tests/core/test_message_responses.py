"""Response heads: a backend that does not speak clean HTTP/1 is refused with 502."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.message import (
    CHUNKED,
    UNTIL_CLOSE,
    Refusal,
    ResponseHead,
    parse_response_head,
)

OK = b"HTTP/1.1 200 OK\r\n"
REFUSED: list[tuple[str, bytes, str]] = [
    ("no version", b"200 OK\r\n\r\n", "bad_response"),
    ("HTTP/0.9", b"<html>hello</html>\r\n\r\n", "bad_response"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\n\r\n", "bad_response"),
    ("HTTP/2", b"HTTP/2 200\r\n\r\n", "bad_response"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n", "bad_response"),
    ("lower-case version", b"http/1.1 200 OK\r\n\r\n", "bad_response"),
    ("ICY", b"ICY 200 OK\r\n\r\n", "bad_response"),
    ("two digits", b"HTTP/1.1 20 OK\r\n\r\n", "bad_response"),
    ("four digits", b"HTTP/1.1 2000 OK\r\n\r\n", "bad_response"),
    ("status 099", b"HTTP/1.1 099 OK\r\n\r\n", "bad_response"),
    ("status with a sign", b"HTTP/1.1 +20 OK\r\n\r\n", "bad_response"),
    ("status of letters", b"HTTP/1.1 abc OK\r\n\r\n", "bad_response"),
    ("no status", b"HTTP/1.1\r\n\r\n", "bad_response"),
    ("no status, a space", b"HTTP/1.1 \r\n\r\n", "bad_response"),
    ("two spaces", b"HTTP/1.1  200 OK\r\n\r\n", "bad_response"),
    ("tab", b"HTTP/1.1\t200 OK\r\n\r\n", "bad_response"),
    ("reason glued on", b"HTTP/1.1 200OK\r\n\r\n", "bad_response"),
    ("NUL in the reason", b"HTTP/1.1 200 O\0K\r\n\r\n", "bad_response"),
    ("CR in the reason", b"HTTP/1.1 200 O\rK\r\n\r\n", "bad_response"),
    ("leading empty line", b"\r\nHTTP/1.1 200 OK\r\n\r\n", "bad_response"),
    ("leading space", b" HTTP/1.1 200 OK\r\n\r\n", "bad_response"),
    ("LF ends the status line", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", "bad_response"),
    ("all LF", b"HTTP/1.1 200 OK\nA: b\n\n", "bad_response"),
    ("obs-fold", OK + b"A: b\r\n c\r\n\r\n", "bad_response"),
    ("space before the first header", OK + b" A: b\r\n\r\n", "bad_response"),
    ("space before the colon", OK + b"Content-Length : 5\r\n\r\n", "bad_response"),
    ("empty name", OK + b": 5\r\n\r\n", "bad_response"),
    ("no colon", OK + b"hello\r\n\r\n", "bad_response"),
    ("NUL in a value", OK + b"A: \0\r\n\r\n", "bad_response"),
    ("bare CR", OK + b"A: b\rC: d\r\n\r\n", "bad_response"),
    ("bare LF", OK + b"A: b\nC: d\r\n\r\n", "bad_response"),
    ("two lengths", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "duplicate_header"),
    ("two same lengths", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
     "duplicate_header"),
    ("two codings", OK + b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
     "duplicate_header"),
    ("length list", OK + b"Content-Length: 5, 5\r\n\r\n", "content_length"),
    ("length with a sign", OK + b"Content-Length: +5\r\n\r\n", "content_length"),
    ("negative length", OK + b"Content-Length: -5\r\n\r\n", "content_length"),
    ("hexadecimal length", OK + b"Content-Length: 0x5\r\n\r\n", "content_length"),
    ("empty length", OK + b"Content-Length:\r\n\r\n", "content_length"),
    ("huge length", OK + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n", "content_length"),
    ("both framings", OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     "ambiguous_framing"),
    ("chunked in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
     "ambiguous_framing"),
    ("gzip coding", OK + b"Transfer-Encoding: gzip\r\n\r\n", "transfer_coding"),
    ("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer_coding"),
    ("identity", OK + b"Transfer-Encoding: identity\r\n\r\n", "transfer_coding"),
    ("xchunked", OK + b"Transfer-Encoding: xchunked\r\n\r\n", "transfer_coding"),
    ("1001 headers", OK + b"A: b\r\n" * 1001 + b"\r\n", "too_many_headers"),
]  # fmt: skip


def accepted(head: bytes) -> ResponseHead:
    parsed = parse_response_head(head)
    assert isinstance(parsed, ResponseHead), parsed
    return parsed


@pytest.mark.parametrize(
    ("head", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_an_unclean_response_is_refused_as_a_bad_gateway(head: bytes, code: str) -> None:
    refusal = parse_response_head(head)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (502, code)


LENGTHS = [
    (b"", UNTIL_CLOSE),
    (b"Content-Length: 0\r\n", 0),
    (b"Content-Length: 12\r\n", 12),
    (b"Transfer-Encoding: chunked\r\n", CHUNKED),
    (b"transfer-encoding: Chunked\r\n", CHUNKED),
]
BODILESS = [("HEAD", 200), ("HEAD", 500), ("GET", 204), ("GET", 304), ("POST", 100), ("GET", 103)]
WITH_BODY = [("GET", 200), ("POST", 201), ("GET", 404), ("DELETE", 205), ("GET", 302), ("X", 599)]


@pytest.mark.parametrize(("lines", "length"), LENGTHS)
@pytest.mark.parametrize(("method", "status"), BODILESS)
def test_heads_to_which_no_body_belongs(
    method: str, status: int, lines: bytes, length: int
) -> None:
    head = accepted(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, lines))
    assert head.length == length
    assert head.framing(method) == 0


@pytest.mark.parametrize(("lines", "length"), LENGTHS)
@pytest.mark.parametrize(("method", "status"), WITH_BODY)
def test_heads_whose_body_is_framed_as_declared(
    method: str, status: int, lines: bytes, length: int
) -> None:
    assert accepted(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, lines)).framing(method) == length


@pytest.mark.parametrize(
    ("line", "status", "minor"),
    [
        (b"HTTP/1.1 200 OK\r\n", 200, 1),
        (b"HTTP/1.0 200 OK\r\n", 200, 0),
        (b"HTTP/1.1 200 \r\n", 200, 1),
        (b"HTTP/1.1 200\r\n", 200, 1),
        (b"HTTP/1.1 404 Not Found at all\r\n", 404, 1),
        (b"HTTP/1.1 200 \xc3\xa4\t\xff\r\n", 200, 1),
        (b"HTTP/1.1 999 odd\r\n", 999, 1),
        (b"HTTP/1.1 101 Switching Protocols\r\n", 101, 1),
    ],
)
def test_status_lines(line: bytes, status: int, minor: int) -> None:
    head = accepted(line + b"Content-Length: 0\r\n\r\n")
    assert (head.status, head.minor, head.lines_at) == (status, minor, len(line))


@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.0", b"", False),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
        (b"1.1", b"connection: x\r\nConnection: Close\r\n", False),
    ],
)
def test_persistence(version: bytes, lines: bytes, keep_alive: bool) -> None:
    assert accepted(b"HTTP/" + version + b" 200 OK\r\n" + lines + b"\r\n").keep_alive is keep_alive


def test_spans_of_a_response() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nServer: s\r\nDATE: d\r\nSet-Cookie: a\r\nset-cookie: b\r\n"
        b"Connection: x\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n"
    )
    head = accepted(raw)
    assert [raw[start:end] for _, start, end in head.spans] == [
        b"DATE: d\r\n",
        b"Connection: x\r\n",
        b"Keep-Alive: 5\r\n",
        b"Content-Length: 0\r\n",
    ]


@given(
    st.lists(
        st.sampled_from(
            [b"A: b", b"Date: x", b"date:y", b"Content-Length: 3", b"content-length:4 ", b"Server:"]
        ),
        max_size=5,
    ),
    st.sampled_from([200, 204, 304, 100, 500]),
)
def test_the_quick_way_sees_what_the_thorough_one_sees(lines: list[bytes], status: int) -> None:
    line = b"HTTP/1.1 %d X" % status
    quick = parse_response_head(b"\r\n".join([line, *lines, b"", b""]))
    thorough = parse_response_head(b"\r\n".join([line, *lines, b"Keep-Alive: 1", b"", b""]))
    if isinstance(quick, Refusal) or isinstance(thorough, Refusal):
        assert quick == thorough
        return
    for name in ("status", "minor", "length", "keep_alive", "lines_at"):
        assert getattr(quick, name) == getattr(thorough, name)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_head_or_a_refusal(data: bytes) -> None:
    for head in (data, OK + data + b"\r\n\r\n"):
        parsed = parse_response_head(head)
        if isinstance(parsed, Refusal):
            assert parsed.status == 502
