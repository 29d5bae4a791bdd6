"""Request heads: what is refused with which status, and what an accepted head says of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.message import (
    CHUNKED,
    Refusal,
    RequestHead,
    list_members,
    parse_field_lines,
    parse_request_head,
)
from tests.harness.probes import HEADS


def accepted(head: bytes) -> RequestHead:
    parsed = parse_request_head(head)
    assert isinstance(parsed, RequestHead), parsed
    return parsed


@pytest.mark.parametrize("probe", HEADS, ids=[probe.name for probe in HEADS])
def test_a_head_that_could_be_read_in_two_ways_is_refused(probe: object) -> None:
    assert isinstance(probe, tuple)
    _, raw, status, code = probe
    at = raw.find(b"\r\n\r\n")
    refusal = parse_request_head(raw if at < 0 else raw[: at + 4])
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.text


def test_the_probes_have_distinct_names() -> None:
    assert len({probe.name for probe in HEADS}) == len(HEADS)


FRAMINGS = [
    ("nothing declared", b"", 0),
    ("a length", b"Content-Length: 5\r\n", 5),
    ("a length of zero", b"Content-Length: 0\r\n", 0),
    ("leading zeros", b"Content-Length: 0005\r\n", 5),
    ("no space behind the colon", b"Content-Length:5\r\n", 5),
    ("white space around the length", b"Content-Length: \t 5 \t\r\n", 5),
    ("odd case", b"cOnTeNt-LeNgTh: 5\r\n", 5),
    ("18 digits", b"Content-Length: 999999999999999999\r\n", 999999999999999999),
    ("chunked", b"Transfer-Encoding: chunked\r\n", CHUNKED),
    ("chunked in odd case", b"TRANSFER-encoding: cHuNkEd\r\n", CHUNKED),
    ("spaces around chunked", b"Transfer-Encoding:  chunked \r\n", CHUNKED),
    ("a longer name", b"X-Content-Length: 7\r\n", 0),
    ("a name with a suffix", b"Content-Length-X: 7\r\n", 0),
    ("a name with underscores", b"Content_Length: 7\r\nTransfer_Encoding: chunked\r\n", 0),
    ("the words in a value", b"A: \tContent-Length: 7\r\n", 0),
]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE", "OPTIONS", "X-Own"])
@pytest.mark.parametrize(
    ("lines", "framing"), [row[1:] for row in FRAMINGS], ids=[row[0] for row in FRAMINGS]
)
def test_the_framing_is_what_the_head_declares(method: str, lines: bytes, framing: int) -> None:
    head = accepted(method.encode() + b" / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    assert head.framing == framing
    assert head.method == method


KEEP_ALIVE = [
    (b"1.1", b"", True),
    (b"1.0", b"", False),
    (b"1.1", b"Connection: close\r\n", False),
    (b"1.1", b"Connection: CLOSE\r\n", False),
    (b"1.1", b"Connection: keep-alive\r\n", True),
    (b"1.0", b"Connection: keep-alive\r\n", True),
    (b"1.0", b"Connection: Keep-Alive\r\n", True),
    (b"1.0", b"Connection: keep-alive, close\r\n", False),
    (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
    (b"1.1", b"Connection: x, ,close\r\n", False),
    (b"1.1", b"Connection: closed\r\n", True),
    (b"1.1", b"Connection:\r\n", True),
    (b"1.0", b"Proxy-Connection: keep-alive\r\n", False),
    (b"1.1", b"Proxy-Connection: close\r\n", True),
    (b"1.1", b"Connection: upgrade\r\nUpgrade: websocket\r\n", True),
]


@pytest.mark.parametrize(("version", "lines", "keep_alive"), KEEP_ALIVE)
def test_persistence_follows_the_version_and_connection(
    version: bytes, lines: bytes, keep_alive: bool
) -> None:
    head = accepted(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + lines + b"\r\n")
    assert head.keep_alive is keep_alive
    assert head.minor == int(version[-1:])


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"",
        b"a.example",
        b"a.example:8080",
        b"a.example:",
        b"127.0.0.1",
        b"127.0.0.1:80",
        b"[::1]",
        b"[::1]:80",
        b"[::ffff:1.2.3.4]",
        b"A-B.Example",
        b"xn--bcher-kva.example",
        b"under_score.example",
        b" \ta\t ",
        b"a%20b",
    ],
)
def test_a_host_of_the_grammar_is_taken(host: bytes) -> None:
    assert accepted(b"GET / HTTP/1.1\r\nHost:" + host + b"\r\n\r\n").special[b"host"] == (
        host.strip()
    )


def test_an_http_1_0_request_needs_no_host() -> None:
    assert b"host" not in accepted(b"GET / HTTP/1.0\r\n\r\n").special


@pytest.mark.parametrize(
    "target",
    ["/", "/a/b?c=d", "*", "http://a/b", "a:443", "//a", "/%2F", "/a'b(c)", "/~!$&*+,;=:@"],
)
def test_a_target_is_handed_on_as_it_is(target: str) -> None:
    head = accepted(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.target == target


def test_exactly_a_hundred_headers_are_taken_and_the_bound_moves() -> None:
    def head(count: int) -> bytes:
        return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n"

    accepted(head(100))
    assert isinstance(parse_request_head(head(101)), Refusal)
    assert isinstance(parse_request_head(head(101), max_headers=101), RequestHead)
    refusal = parse_request_head(head(6), max_headers=5)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 431


def test_spans_are_the_special_lines_and_nothing_else() -> None:
    raw = (
        b"GET /x HTTP/1.1\r\nAccept: */*\r\nHOST: a\r\nX-A: host: b\r\nConnection: x\r\n"
        b"Cookie: c=d\r\nconnection: y\r\nTE: trailers\r\n\r\n"
    )
    head = accepted(raw)
    assert raw[: head.lines_at] == b"GET /x HTTP/1.1\r\n"
    assert [(name, raw[start:end]) for name, start, end in head.spans] == [
        (b"host", b"HOST: a\r\n"),
        (b"connection", b"Connection: x\r\n"),
        (b"connection", b"connection: y\r\n"),
        (b"te", b"TE: trailers\r\n"),
    ]
    assert head.special == {b"host": b"a", b"connection": b"x, y", b"te": b"trailers"}


def test_a_connection_line_that_says_nothing_is_taken_out_and_no_other() -> None:
    head = accepted(b"GET / HTTP/1.1\r\nA: b\r\nConnection: keep-alive\r\nHost: a\r\nC: d\r\n\r\n")
    assert head.raw == b"GET / HTTP/1.1\r\nA: b\r\nHost: a\r\nC: d\r\n\r\n"
    assert head.plain
    for line in (b"Connection: keep-alive, X", b"connection: close", b"X-Connection: keep-alive"):
        raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"
        assert accepted(raw).raw == raw
    both = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"
    assert not accepted(both).keep_alive
    old = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    assert accepted(old).keep_alive


@given(
    st.lists(
        st.sampled_from(
            [b"A: b", b"accept: */*", b"X-Host: c", b"Cookie: host: d", b"Te-X: 1", b"User-Agent:"]
        ),
        max_size=6,
    ),
    st.sampled_from([b"Host: a", b"host:B", b"HOST: c:80 ", b"Host:", b"Host: a b", b"X: y"]),
    st.integers(0, 6),
)
def test_the_quick_way_sees_what_the_thorough_one_sees(
    lines: list[bytes], host: bytes, at: int
) -> None:
    lines = [*lines[:at], host, *lines[at:]]
    quick = parse_request_head(b"\r\n".join([b"GET /x HTTP/1.1", *lines, b"", b""]))
    thorough = parse_request_head(
        b"\r\n".join([b"GET /x HTTP/1.1", *lines, b"Keep-Alive: 1", b"", b""])
    )
    if isinstance(quick, Refusal) or isinstance(thorough, Refusal):
        assert quick == thorough
        return
    assert quick.plain
    assert not thorough.plain
    for name in ("method", "target", "minor", "framing", "keep_alive", "lines_at"):
        assert getattr(quick, name) == getattr(thorough, name)
    assert quick.special[b"host"] == thorough.special[b"host"]


def test_values_keep_their_case_and_high_bytes() -> None:
    head = accepted(b"GET / HTTP/1.1\r\nHost: A.Example\r\nX-Forwarded-For: \xffA\r\n\r\n")
    assert head.special[b"host"] == b"A.Example"
    assert head.special[b"x-forwarded-for"] == b"\xffA"


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b",", []),
        (b" a ,\tB,, c", [b"a", b"b", b"c"]),
        (b"close", [b"close"]),
    ],
)
def test_list_members_drop_the_empty_ones(value: bytes, members: list[bytes]) -> None:
    assert list_members(value) == members


@pytest.mark.parametrize(
    ("lines", "valid"),
    [
        (b"", True),
        (b"A: b\r\n", True),
        (b"A:\r\nB: c\r\n", True),
        (b"A: b", False),
        (b"A: b\n", False),
        (b"\r\n", False),
        (b" A: b\r\n", False),
        (b"A : b\r\n", False),
    ],
)
def test_field_lines(lines: bytes, valid: bool) -> None:
    assert parse_field_lines(lines) is valid


def test_the_grammar_is_linear_on_hostile_heads() -> None:
    """64 KiB of anything is judged in far less than a second (no catastrophic backtracking)."""
    for filler in (b"a", b" ", b":", b"a:\r", b"\r\n", b"a: \r\n", b"a:b\r\n ", b"\t", b"GET "):
        for start in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nA: "):
            parse_request_head(start + filler * (65536 // len(filler)) + b"\r\n\r\n")


@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(
                [b"GET", b"/", b" ", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: a", b":", b"A"]
            ),
            max_size=20,
        ).map(b"".join),
    )
)
def test_any_bytes_give_a_head_or_a_refusal(data: bytes) -> None:
    parsed = parse_request_head(data + b"\r\n\r\n")
    if isinstance(parsed, Refusal):
        assert parsed.status in (400, 431, 501, 505)
