"""Heads and bodies against llhttp (through httptools): whatever we take, it takes the same way.

The other direction does not hold, on purpose: STRICTER lists every probe that llhttp takes and we
refuse, LOOSER what we take and llhttp refuses, each with its reason.
"""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.chunked import ChunkedDecoder, ChunkedError
from proxy.core.message import (
    CHUNKED,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from tests.harness.probes import BODIES, HEADS

# Refused by us although llhttp takes it; by the beginning of the probe's name.
STRICTER = {
    "Content-Length: just above the bound": "18 digits are an exabyte; no overflow anywhere",
    "Content-Length: a thousand zeros": "the same bound",
    "Transfer-Encoding with a tab before": "others do not take a tab for white space",
    "Transfer-Encoding: gzip, chunked": "we cannot decode gzip for a backend that does not",
    "Transfer-Encoding: comma before": "an empty member is read differently by different servers",
    "two Transfer-Encodings, identity first": "TE.TE",
    "chunked in HTTP/1.0": "RFC 9112 §6.1: treat as faulty framing",
    "Host with": "RFC 9112 §3.2: an invalid Host is answered by 400",
    "no Host": "RFC 9112 §3.2",
    "X-Host only": "RFC 9112 §3.2",
    "two Hosts": "RFC 9112 §3.2",
    "bad Host in HTTP/1.0": "it would be routed on",
    "request line: HTTP/0.9 without version": "not spoken",
    "request line: HTTP/0.9 in words": "not spoken",
    "request line: two spaces be": "RFC 9112 §3: single spaces, or proxies disagree",
    "request line: HTTP/2.0": "not spoken",
    "HTTP/2 preface": "not spoken",
    "101 headers": "our limit; llhttp has none",
}
STRICTER_BODIES = {
    "16 digits": "15 digits are enough; no overflow anywhere",
    "64 bits of ones": "the same bound",
    "a thousand zeros": "the same bound",
    "an extension of 5 KB": "extensions are a way to send bytes that nobody counts",
    "extensions of 100 bytes, 1000 times": "the same",
    "trailers of 70 KB": "bounded like a head",
    "one trailer of 70 KB": "bounded like a head",
}
# Taken by us although llhttp refuses it, as heads.
LOOSER = {
    "a method llhttp does not know": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "methods are case-sensitive tokens": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "the server judges the target's form": b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
    "PRI is only a method": b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n",
}

# Those that llhttp reads as plain HTTP methods.
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"PURGE"]


class Recorder:
    """Takes the callbacks of httptools."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.urls: list[bytes] = []
        self.body = b""
        self.completed = 0
        self.heads = 0
        self.parser: httptools.HttpRequestParser | httptools.HttpResponseParser | None = None
        self.keep_alive = False

    def on_url(self, url: bytes) -> None:
        self.urls.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.heads == 0:
            self.headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        if self.heads == 0:
            self.keep_alive = self.parser.should_keep_alive()
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        if self.completed == 0:
            self.body += body

    def on_message_complete(self) -> None:
        self.completed += 1


def llhttp_request(wire: bytes) -> tuple[Recorder, httptools.HttpRequestParser] | None:
    recorder = Recorder()
    parser = recorder.parser = httptools.HttpRequestParser(recorder)
    try:
        parser.feed_data(wire)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    return recorder, parser


# Taken out of HTTP/1.1 heads at once: it says nothing there.
NOTHING = (b"Connection", b"keep-alive")


def less_nothing(headers: list[tuple[bytes, bytes]], minor: int) -> list[tuple[bytes, bytes]]:
    return [header for header in headers if header != NOTHING or minor == 0]


def our_headers(head: RequestHead | ResponseHead) -> list[tuple[bytes, bytes]]:
    lines = head.raw[head.lines_at : -2].split(b"\r\n")[:-1]
    return [(line.partition(b":")[0], line.partition(b":")[2].strip(b" \t")) for line in lines]


def decoded(body: bytes) -> bytes | None:
    decoder = ChunkedDecoder()
    try:
        data = b"".join(decoder.feed(body))
    except ChunkedError:
        return None
    return data if decoder.done and not decoder.rest else None


@pytest.mark.parametrize("probe", HEADS, ids=[probe.name for probe in HEADS])
def test_llhttp_refuses_the_probe_too_or_the_table_says_why_not(probe: tuple[str, bytes]) -> None:
    name, raw = probe[:2]
    at = raw.find(b"\r\n\r\n")
    taken = llhttp_request(raw if at < 0 else raw[: at + 4]) is not None
    assert taken == any(name.startswith(known) for known in STRICTER)


@pytest.mark.parametrize("probe", BODIES, ids=[probe.name for probe in BODIES])
def test_llhttp_refuses_the_body_too_or_the_table_says_why_not(probe: tuple[str, bytes]) -> None:
    name, body = probe
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (llhttp_request(head + body) is not None) == (name in STRICTER_BODIES)


@pytest.mark.parametrize("head", LOOSER.values(), ids=LOOSER.keys())
def test_what_only_we_take_is_written_down(head: bytes) -> None:
    assert isinstance(parse_request_head(head), RequestHead)
    assert llhttp_request(head) is None


TOKENS = st.text("abcXYZ019-_.!~", min_size=1, max_size=8).map(str.encode)
VALUES = st.one_of(
    st.text("ab ,;:=\t\"'()/", max_size=12).map(str.encode),
    st.binary(max_size=6).map(lambda data: bytes(b for b in data if b >= 0x20 and b != 0x7F)),
)
SPECIAL = st.sampled_from(
    [
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"content-length:3",
        b"Content-Length: 03 ",
        b"Content-Length: 3, 3",
        b"Content-Length: +3",
        b"Content-Length:",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding:CHUNKED",
        b"Transfer-Encoding: \tchunked\t ",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: identity",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: close, x",
        b"connection:CLOSE",
        b"Host: other",
        b"Expect: 100-continue",
        b" folded: x",
        b"\tfolded",
        b"",
        b"\rA: b",
        b"A: b\r",
        b"A: b\nC: d",
        b"\0A: b",
    ]
)
LINES = st.lists(
    st.one_of(SPECIAL, st.tuples(TOKENS, VALUES).map(lambda pair: pair[0] + b": " + pair[1])),
    max_size=5,
)
TARGETS = st.one_of(
    st.sampled_from([b"/", b"*", b"/a?b", b"http://h/p", b"//x", b"/%2e%2E/", b"/a#b"]),
    st.text('/ab?=&%.;~\\"', max_size=10).map(lambda text: b"/" + text.encode()),
)


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    line = b"%b %b HTTP/1.%b" % (
        draw(st.sampled_from(METHODS)),
        draw(TARGETS),
        draw(st.sampled_from([b"1", b"1", b"1", b"0"])),
    )
    head = bytearray(b"\r\n".join([line, b"Host: a", *draw(LINES), b"", b""]))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(head) - 5))
        head[place] = draw(st.sampled_from(list(b"\0\t\n\x0b\r ,:;A1\x7f\x80\xff")))
    at = head.find(b"\r\n\r\n")
    return bytes(head[: at + 4])


BODY_OF_FRAMING = st.sampled_from(
    [b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3;x\r\nabc\r\n0\r\nA: b\r\n\r\n"]
)


@given(request_heads(), BODY_OF_FRAMING)
def test_llhttp_reads_every_request_that_we_take_as_we_do(raw: bytes, chunked: bytes) -> None:
    head = parse_request_head(raw)
    if not isinstance(head, RequestHead) or head.method.encode() not in METHODS:
        return
    body = chunked if head.framing == CHUNKED else b"x" * min(head.framing, 2000)
    if head.framing > 2000 or head.target[:1] not in "/*h":
        return
    behind = b"GET /second HTTP/1.1\r\nHost: b\r\n\r\n" if head.keep_alive else b""
    result = llhttp_request(raw + body + behind)
    assert result is not None
    recorder, parser = result
    assert recorder.urls == [head.target.encode(), *([b"/second"] if behind else [])]
    theirs = less_nothing(recorder.headers, head.minor)
    assert theirs == less_nothing(our_headers(head), head.minor)
    assert recorder.body == (decoded(body) if head.framing == CHUNKED else body)
    assert recorder.completed == (2 if behind else 1)
    # In HTTP/1.0 llhttp lets `keep-alive` win over `close`, we close.
    assert recorder.keep_alive >= head.keep_alive
    if head.minor == 1:
        assert recorder.keep_alive == head.keep_alive
    if not behind:
        assert parser.get_method() == head.method.encode()
        assert parser.get_http_version() == f"1.{head.minor}"


RESPONSE_SPECIAL = st.sampled_from(
    [
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Content-Length: 3, 3",
        b"Content-Length: -3",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding\t: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b" folded",
        b"A: b\rC: d",
        b"A: b\nC: d",
        b"A:\0",
    ]
)


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 201, 204, 206, 301, 304, 404, 500, 503]))
    reason = draw(st.sampled_from([b" OK", b" ", b"", b" Not Found", b" \xe4"]))
    version = draw(st.sampled_from([b"1", b"1", b"1", b"0"]))
    lines = draw(
        st.lists(
            st.one_of(
                RESPONSE_SPECIAL, st.tuples(TOKENS, VALUES).map(lambda p: p[0] + b": " + p[1])
            ),
            max_size=4,
        )
    )
    line = b"HTTP/1.%b %d%b" % (version, status, reason)
    head = bytearray(b"\r\n".join([line, *lines, b"", b""]))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(head) - 5))
        head[place] = draw(st.sampled_from(list(b"\0\t\n\x0b\r ,:;A1\x7f\x80\xff")))
    at = head.find(b"\r\n\r\n")
    return bytes(head[: at + 4])


@given(response_heads(), BODY_OF_FRAMING)
def test_llhttp_reads_every_response_that_we_take_as_we_do(raw: bytes, chunked: bytes) -> None:
    head = parse_response_head(raw)
    if not isinstance(head, ResponseHead) or head.status < 200:
        return
    framing = head.framing("GET")
    if framing > 2000:
        return
    body = {CHUNKED: chunked}.get(framing, b"x" * framing if framing > 0 else b"")
    recorder = Recorder()
    parser = recorder.parser = httptools.HttpResponseParser(recorder)
    parser.feed_data(raw + body)
    assert parser.get_status_code() == head.status
    assert parser.get_http_version() == f"1.{head.minor}"
    theirs = less_nothing(recorder.headers, head.minor)
    assert theirs == less_nothing(our_headers(head), head.minor)
    assert recorder.body == (decoded(body) if framing == CHUNKED else body)
    # A body that ends with its connection is never complete for llhttp.
    assert recorder.completed == (1 if framing >= CHUNKED else 0)
    # In HTTP/1.0 llhttp lets `keep-alive` win over `close`, we close.
    assert recorder.keep_alive >= (head.keep_alive and framing >= CHUNKED)
    if head.minor == 1:
        assert recorder.keep_alive == (head.keep_alive and framing >= CHUNKED)


@given(
    st.lists(
        st.sampled_from(
            [b"0", b"3", b"\r\n", b"abc", b";x", b"\n", b"\r", b" ", b"A: b", b"f", b"\t", b"3\r\n"]
        ),
        max_size=14,
    )
)
def test_llhttp_reads_every_chunked_body_that_we_take_as_we_do(tokens: list[bytes]) -> None:
    wire = b"".join(tokens)
    decoder = ChunkedDecoder()
    try:
        data = b"".join(decoder.feed(wire))
    except ChunkedError:
        return
    if not decoder.done or decoder.rest:
        return
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = llhttp_request(head + wire)
    assert result is not None
    assert result[0].body == data
    assert result[0].completed == 1
