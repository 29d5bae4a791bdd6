"""Trailers: which of them are sent on behind a body, by the head before it."""

import pytest

from proxy.core.forwarding import trailer_lines
from proxy.core.message import RequestHead, ResponseHead, parse_request_head, parse_response_head

KEPT = b"A: 1\r\nETag: x\r\nServer-Timing: db;dur=5\r\ngrpc-status: 0\r\nx-SUM:\r\nx-SUM: 2\r\n"
NOWHERE = """
    Content-Length: 5|content-length: 5|Transfer-Encoding: chunked|TRANSFER-ENCODING: chunked
    Host: evil|Connection: close|Keep-Alive: 5|Proxy-Connection: x|Proxy-Authenticate: x
    Proxy-Authorization: x|TE: trailers|Trailer: A|Upgrade: websocket|Expect: 100-continue
    HTTP2-Settings: x|Authorization: Basic eDp5|WWW-Authenticate: x|Cookie: a=b|Set-Cookie: a=b
    Content-Type: text/html|Content-Encoding: gzip|Content-Range: bytes 0-1/2
    Content-Location: /x|Via: 1.1 x|Forwarded: for=1.2.3.4|X-Forwarded-For: 1.2.3.4
    X-Forwarded-Proto: https|X-Forwarded-Host: evil|Banyan-Role: shadow|X-Request-Id: evil
    traceparent: 00-x|tracestate: a=b|Max-Forwards: 1|Range: bytes=0-1|If-Match: x
    If-Modified-Since: x|Cache-Control: no-store|Location: /x|Retry-After: 5|Vary: *
"""
IN_NO_REQUEST = """
    X-Forwarded-Port: 1|X-Forwarded-Anything: 1|X-Real-IP: 1.2.3.4|X-Original-URL: /admin
    X-Rewrite-URL: /admin|X_Forwarded_For: 1.2.3.4|X_Real_IP: 1.2.3.4|x_sum: 1
"""


def lines_of(table: str) -> list[bytes]:
    return [line.strip().encode() for row in table.strip().split("\n") for line in row.split("|")]


def request(*lines: bytes) -> RequestHead:
    head = parse_request_head(b"\r\n".join((b"POST / HTTP/1.1", b"Host: a", *lines, b"", b"")))
    assert isinstance(head, RequestHead)
    return head


def response(*lines: bytes) -> ResponseHead:
    head = parse_response_head(b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b"")))
    assert isinstance(head, ResponseHead)
    return head


def among(line: bytes) -> bytes:
    """The line as the first, as the last, and in between."""
    return b"%b\r\n%b%b\r\n%b%b\r\n" % (line, KEPT, line, KEPT, line)


@pytest.mark.parametrize("head", [request(), response()], ids=["request", "response"])
@pytest.mark.parametrize("line", lines_of(NOWHERE))
def test_what_has_to_be_known_before_the_body_is_dropped(
    line: bytes, head: RequestHead | ResponseHead
) -> None:
    assert trailer_lines(among(line), head) == KEPT * 2


@pytest.mark.parametrize("line", lines_of(IN_NO_REQUEST))
def test_what_a_client_claims_for_a_proxy_is_dropped(line: bytes) -> None:
    assert trailer_lines(among(line), request()) == KEPT * 2
    assert trailer_lines(among(line), response()) == among(line)


@pytest.mark.parametrize("head", [request, response])
def test_what_connection_names_is_dropped(head: object) -> None:
    assert callable(head)
    named = head(b"Connection: close, X-Hop , ETAG", b"Connection: x-Sum")
    assert trailer_lines(b"X-Hop: 1\r\n" + KEPT, named) == (
        b"A: 1\r\nServer-Timing: db;dur=5\r\ngrpc-status: 0\r\n"
    )


def test_the_header_that_chooses_a_side_is_dropped() -> None:
    assert trailer_lines(b"Side: new\r\nA: 1\r\n", request(), b"side") == b"A: 1\r\n"
