"""HTTP/1.x message heads as pure functions of bytes: a strict grammar, nothing repaired.

A head is matched as a whole by one regular expression and forwarded as the bytes it came in,
less what is hop-by-hop, so header case, order and duplicates survive. The rules (RFC 9112):

1. Lines end in CRLF; a bare CR or LF, obs-fold, white space before the colon, control characters
   and empty names are refused (§2.2, §5.1, §5.2).
2. Framing must be unambiguous: one Content-Length of digits, or `Transfer-Encoding: chunked` on
   HTTP/1.1, never both, never twice (§6.1, §6.3).
3. A 1.1 request has exactly one valid Host (§3.2); a request in absolute form overrides it.
4. CPython 3.11's `re` raises SystemError for captures inside possessive repeats: groups stay
   outside of them.
"""

import re
from typing import Final, NamedTuple

CHUNKED: Final = -1  # framing: chunked transfer coding
UNTIL_CLOSE: Final = -2  # framing of a response that ends with its connection

MAX_LENGTH_DIGITS: Final = 18
_MIN_LINE_BYTES: Final = 4  # of a header line: a name of one character, the colon, CRLF


class Refusal(NamedTuple):
    """Why a message is refused: the status for the client, a code for logs, a sentence."""

    status: int
    code: str
    text: str


class RequestHead:
    """A valid request head: `raw` is its bytes, the header lines begin at `lines_at`."""

    __slots__ = (
        "framing",
        "keep_alive",
        "lines_at",
        "method",
        "minor",
        "plain",
        "raw",
        "spans",
        "special",
        "target",
    )

    def __init__(
        self,
        raw: bytes,
        lines_at: int,
        method: str,
        target: str,
        minor: int,
        special: dict[bytes, bytes],
        spans: list[tuple[bytes, int, int]],
        framing: int = 0,
        keep_alive: bool = True,
        plain: bool = False,
    ) -> None:
        self.raw = raw
        self.lines_at = lines_at
        self.method = method
        self.target = target  # latin-1 text of visible ASCII
        self.minor = minor  # 0 or 1
        self.special = special  # lower-case name to value; repeated ones joined as a list
        self.spans = spans  # (name, start, end) of each special line in `raw`; none when plain
        self.framing = framing  # 0: no body, n: bytes, CHUNKED
        self.keep_alive = keep_alive
        self.plain = plain  # of the special lines it has Host alone, and it is HTTP/1.1


class ResponseHead:
    """A valid response head; `raw`, `lines_at`, `special` and `spans` as in a request."""

    __slots__ = (
        "keep_alive",
        "length",
        "lines_at",
        "minor",
        "plain",
        "raw",
        "spans",
        "special",
        "status",
    )

    def __init__(
        self,
        raw: bytes,
        lines_at: int,
        status: int,
        minor: int,
        special: dict[bytes, bytes],
        spans: list[tuple[bytes, int, int]],
        length: int,
        keep_alive: bool,
        plain: bool = False,
    ) -> None:
        self.raw = raw
        self.lines_at = lines_at
        self.status = status
        self.minor = minor
        self.special = special
        self.spans = spans
        self.length = length  # as declared: n, CHUNKED, or UNTIL_CLOSE where nothing is declared
        self.keep_alive = keep_alive
        self.plain = plain  # HTTP/1.1 with Date and a length, nothing hop-by-hop: sent on as it is

    def framing(self, method: str) -> int:
        """How the body is framed, given the request's method (RFC 9112 §6.3)."""
        status = self.status
        if method == "HEAD" or status == 204 or status == 304 or status < 200:
            return 0
        return self.length


_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]"
_LINES: Final = rb"(?:" + _TOKEN + rb"++:" + _VALUE + rb"*+\r\n)*+"

_REQUEST: Final = re.compile(
    rb"(" + _TOKEN + rb"++) ([\x21-\x7e]++) HTTP/1\.([01])\r\n" + _LINES + rb"\r\n"
)
_RESPONSE: Final = re.compile(
    rb"(HTTP/1\.([01]) ([1-9][0-9][0-9])(?: " + _VALUE + rb"*+)?\r\n)" + _LINES + rb"\r\n"
)
_FIELD_LINES: Final = re.compile(_LINES)

# Lines that the proxy acts on. Everything else is carried over unseen. Searched in lower-cased
# bytes; the leading line end is a literal prefix, by which the engine skips from line to line.
_RARE_REQUEST_NAMES: Final = (
    rb"con(?:nection|tent-length)|t(?:ransfer-encoding|e|race(?:parent|state))|keep-alive"
    rb"|proxy-(?:connection|auth(?:orization|enticate))|upgrade|expect|x[-_](?:forwarded[-_][a-z0-9_-]++"
    rb"|real[-_]ip|original[-_][a-z0-9_-]++|rewrite[-_]url|request[-_]id)|forwarded|banyan[-_]role"
    rb"|http2-settings"
)
_RARE_RESPONSE_NAMES: Final = (
    rb"connection|t(?:ransfer-encoding|e)|keep-alive|upgrade"
    rb"|proxy-(?:connection|auth(?:orization|enticate))"
)
_REQUEST_SPECIAL: Final = re.compile(rb"\n(host|" + _RARE_REQUEST_NAMES + rb"):")
_RESPONSE_SPECIAL: Final = re.compile(rb"\n(content-length|date|" + _RARE_RESPONSE_NAMES + rb"):")
_find_rare_in_request: Final = re.compile(rb"\n(?:" + _RARE_REQUEST_NAMES + rb"):").search
_find_rare_in_response: Final = re.compile(rb"\n(?:" + _RARE_RESPONSE_NAMES + rb"):").search
_match_request: Final = _REQUEST.fullmatch
_match_response: Final = _RESPONSE.fullmatch
# What HTTP/1.1 means anyway, and many send: taken out at once, so that the head is a plain one.
_SAYS_NOTHING: Final = b"\r\nConnection: keep-alive\r\n"
_NO_SPECIAL: Final[dict[bytes, bytes]] = {}
_NO_SPANS: Final[list[tuple[bytes, int, int]]] = []
_BAD_HOST: Final = "the Host header is not a host name with an optional port"
_SINGLE: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_match_host: Final = re.compile(
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*+|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5})?", re.IGNORECASE
).fullmatch


def parse_request_head(head: bytes, max_headers: int = 100) -> RequestHead | Refusal:
    """Parse one request head, from its first byte to the empty line's CRLF."""
    match = _match_request(head)
    if match is None:
        return diagnose_request(head)
    if len(head) > max_headers * _MIN_LINE_BYTES and head.count(b"\n") - 2 > max_headers:
        return Refusal(431, "too_many_headers", f"more than {max_headers} header lines")
    # find() and not `in`, which tries to take the bytes for a number first.
    if head.find(_SAYS_NOTHING) >= 0 and match[3] == b"1":
        head = head.replace(_SAYS_NOTHING, b"\r\n", 1)
    lower = head.lower()
    # Most requests have no special line but Host, and are done quickly.
    if _find_rare_in_request(lower) is None:
        at = lower.find(b"\nhost:")
        method, target, minor_digit = match.groups()
        if at > 0 and minor_digit == b"1" and lower.find(b"\nhost:", at + 6) < 0:
            host = head[at + 6 : head.index(b"\r", at)].strip()
            if _match_host(host) is None:
                return Refusal(400, "host", _BAD_HOST)
            return RequestHead(
                head,
                match.end(3) + 2,
                method.decode("latin-1"),
                target.decode("latin-1"),
                1,
                {b"host": host},
                _NO_SPANS,
                plain=True,
            )
    found = _special(head, lower, _REQUEST_SPECIAL)
    if isinstance(found, str):
        return Refusal(400, "duplicate_header", f"the header {found} stands more than once")
    special, spans = found
    method, target, minor_digit = match.groups()
    minor = 1 if minor_digit == b"1" else 0
    framing = 0
    if b"transfer-encoding" in special:
        if b"content-length" in special:
            return Refusal(
                400, "ambiguous_framing", "both Content-Length and Transfer-Encoding are given"
            )
        if minor == 0:
            return Refusal(400, "ambiguous_framing", "Transfer-Encoding in an HTTP/1.0 request")
        # The line is sent on as it came, and not everybody takes a tab for white space here.
        if any(name == b"transfer-encoding" and b"\t" in head[at:end] for name, at, end in spans):
            return Refusal(400, "ambiguous_framing", "a tab beside the transfer coding")
        if special[b"transfer-encoding"].lower() != b"chunked":
            return _bad_coding(special[b"transfer-encoding"])
        framing = CHUNKED
    elif b"content-length" in special:
        digits = special[b"content-length"]
        if not digits.isdigit() or len(digits) > MAX_LENGTH_DIGITS:
            return Refusal(400, "content_length", "Content-Length is not one decimal number")
        framing = int(digits)
    given_host = special.get(b"host")
    if given_host is None:
        if minor == 1:
            return Refusal(400, "host", "an HTTP/1.1 request needs a Host header")
    elif _match_host(given_host) is None:
        return Refusal(400, "host", _BAD_HOST)
    connection = special.get(b"connection")
    keep_alive = minor == 1 if connection is None else _keeps_alive(connection, minor)
    return RequestHead(
        head,
        match.end(3) + 2,
        method.decode("latin-1"),
        target.decode("latin-1"),
        minor,
        special,
        spans,
        framing,
        keep_alive,
    )


def parse_response_head(head: bytes, max_headers: int = 1000) -> ResponseHead | Refusal:
    """Parse one response head. Refusals carry 502: the backend does not speak clean HTTP/1."""
    match = _match_response(head)
    if match is None:
        return Refusal(502, "bad_response", "the backend's response head is not valid HTTP/1")
    if len(head) > max_headers * _MIN_LINE_BYTES and head.count(b"\n") - 2 > max_headers:
        return Refusal(502, "too_many_headers", f"more than {max_headers} response header lines")
    if head.find(_SAYS_NOTHING) >= 0 and match[2] == b"1":
        head = head.replace(_SAYS_NOTHING, b"\r\n", 1)
    lower = head.lower()
    line, minor_digit, status_digits = match.groups()
    if minor_digit == b"1" and _find_rare_in_response(lower) is None:
        at = lower.find(b"\ncontent-length:")
        has_date = lower.find(b"\ndate:") >= 0
        if at > 0 and has_date and lower.find(b"\ncontent-length:", at + 16) < 0:
            digits = head[at + 16 : head.index(b"\r", at)].strip()
            if digits.isdigit() and len(digits) <= MAX_LENGTH_DIGITS and status_digits != b"204":
                return ResponseHead(
                    head,
                    len(line),
                    int(status_digits),
                    1,
                    _NO_SPECIAL,
                    _NO_SPANS,
                    int(digits),
                    True,
                    plain=True,
                )
    found = _special(head, lower, _RESPONSE_SPECIAL)
    if isinstance(found, str):
        return Refusal(502, "duplicate_header", f"the response header {found} stands twice")
    special, spans = found
    minor = 1 if minor_digit == b"1" else 0
    length = UNTIL_CLOSE
    if b"transfer-encoding" in special:
        if b"content-length" in special or minor == 0:
            return Refusal(502, "ambiguous_framing", "the backend framed its response twice")
        if special[b"transfer-encoding"].lower() != b"chunked":
            return Refusal(502, "transfer_coding", "the backend used an unknown transfer coding")
        length = CHUNKED
    elif b"content-length" in special:
        digits = special[b"content-length"]
        if not digits.isdigit() or len(digits) > MAX_LENGTH_DIGITS:
            return Refusal(502, "content_length", "the backend's Content-Length is not a number")
        length = int(digits)
    connection = special.get(b"connection")
    keep_alive = minor == 1 if connection is None else _keeps_alive(connection, minor)
    return ResponseHead(
        head, len(line), int(status_digits), minor, special, spans, length, keep_alive
    )


def parse_field_lines(lines: bytes) -> bool:
    """Whether these are valid header lines, each ended by CRLF (used for trailers)."""
    return _FIELD_LINES.fullmatch(lines) is not None


def list_members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list header, lower-cased, empty ones dropped."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def _special(
    head: bytes, lower: bytes, pattern: re.Pattern[bytes]
) -> tuple[dict[bytes, bytes], list[tuple[bytes, int, int]]] | str:
    """The special lines of a head by name, with their places; the name of a forbidden repeat."""
    special: dict[bytes, bytes] = {}
    spans: list[tuple[bytes, int, int]] = []
    for match in pattern.finditer(lower):
        name = match[1]
        start, colon_end = match.span()
        end = head.index(b"\n", colon_end) + 1
        value = head[colon_end:end].strip()
        if name in special:
            if name in _SINGLE:
                return name.decode()
            special[name] += b", " + value
        else:
            special[name] = value
        spans.append((name, start + 1, end))
    return special, spans


def _bad_coding(value: bytes) -> Refusal:
    """Where the body ends is not known unless chunked is the last coding, once (RFC 9112 §6.3)."""
    *before, last = list_members(value) or [b""]
    if before and last == b"chunked" and last not in before:
        return Refusal(501, "transfer_coding", "the only transfer coding known is chunked")
    return Refusal(400, "transfer_coding", "the last transfer coding is not chunked, once")


def _keeps_alive(connection: bytes, minor: int) -> bool:
    if connection == b"keep-alive":
        return True
    members = list_members(connection)
    if b"close" in members:
        return False
    return minor == 1 or b"keep-alive" in members


_VERSION_LINE: Final = re.compile(rb"\S+ \S+ HTTP/([0-9])\.([0-9])\r\n")


def diagnose_request(head: bytes) -> Refusal:
    """Say what is wrong with a request head that the grammar does not accept."""
    line, _, rest = head.partition(b"\n")
    version = _VERSION_LINE.match(head)
    if version and version.groups() not in ((b"1", b"0"), (b"1", b"1")):
        return Refusal(505, "version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if not re.fullmatch(_TOKEN + rb"+ [\x21-\x7e]+ HTTP/1\.[01]\r", line):
        return Refusal(400, "request_line", "the request line is not `METHOD target HTTP/1.1`")
    for text in rest.split(b"\n")[:-2]:
        if not text.endswith(b"\r") or b"\r" in text[:-1]:
            return Refusal(400, "line_ending", "a header line does not end in CRLF")
        if text[:1] in (b" ", b"\t"):
            return Refusal(400, "obs_fold", "a header is continued on a second line")
        name, colon, value = text[:-1].partition(b":")
        if not colon or not re.fullmatch(_TOKEN + rb"+", name):
            return Refusal(400, "header_name", "a header line has no valid name before its colon")
        if not re.fullmatch(_VALUE + rb"*", value):
            return Refusal(400, "header_value", "a header value holds a control character")
    return Refusal(400, "line_ending", "a header line does not end in CRLF")


def header_pairs(raw: bytes) -> tuple[tuple[str, str], ...]:
    """The header lines of a valid head as names and values, in order, decoded as Latin-1."""
    pairs = []
    for line in raw.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            pairs.append((name, value.strip(" \t")))
    return tuple(pairs)
