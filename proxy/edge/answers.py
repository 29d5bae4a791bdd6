"""The answers that the proxy gives by itself: problem+json (RFC 9457), with the request id."""

import json
import time
from http import HTTPStatus

from proxy.core.model import FailureKind

# What the client is told of an exchange that gave no answer.
FAILURE_STATUS = {
    FailureKind.REFUSED: 502,
    FailureKind.CONNECT_TIMEOUT: 504,
    FailureKind.POOL_FULL: 503,
    FailureKind.RESET: 502,
    FailureKind.TIMEOUT: 504,
    FailureKind.IDLE: 504,
    FailureKind.PROTOCOL: 502,
    FailureKind.CANCELLED: 502,
    FailureKind.NO_DESCRIPTORS: 503,
    FailureKind.CLIENT_SLOW: 503,
}
# Statuses whose cause passes: the client may come again after so many seconds.
RETRY_AFTER_S = 1
# Phrases that RFC 9110 has changed, and this Python may not know yet.
_TITLES = {413: "Content Too Large", 414: "URI Too Long"}


class HttpDate:
    """The Date header's value, made once a second."""

    __slots__ = ("_second", "_value")

    def __init__(self) -> None:
        self._second = 0
        self._value = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._value = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second)).encode(
                "ascii"
            )
        return self._value


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: bytes,
    date: bytes,
    *,
    keep_alive: bool,
    without_body: bool = False,
    minor: int = 1,
) -> bytes:
    """A whole response. `code` is a stable word for machines, `detail` a sentence for people."""
    try:
        title = _TITLES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    content = json.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id.decode("latin-1"),
        }
    ).encode()
    lines = b"Content-Type: application/problem+json\r\n"
    if status == 503:
        lines += b"Retry-After: %d\r\n" % RETRY_AFTER_S
    return own_answer(
        b"%d %b" % (status, title.encode("ascii")),
        lines,
        content,
        request_id,
        date,
        keep_alive=keep_alive,
        without_body=without_body,
        minor=minor,
    )


def own_answer(
    status: bytes,
    more: bytes,
    content: bytes,
    request_id: bytes,
    date: bytes,
    *,
    keep_alive: bool,
    without_body: bool = False,
    minor: int = 1,
) -> bytes:
    """A whole response: `status` is code and phrase, `more` further header lines."""
    lines = [
        b"HTTP/1.1 %b\r\nDate: %b\r\n%bContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nX-Request-Id: %b\r\n"
        % (status, date, more, len(content), request_id)
    ]
    if not keep_alive:
        lines.append(b"Connection: close\r\n")
    elif minor == 0:
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    if not without_body:
        lines.append(content)
    return b"".join(lines)
