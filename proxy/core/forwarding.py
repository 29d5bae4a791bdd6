"""The heads that leave the proxy, built from those that came in.

Hop-by-hop fields go (RFC 9110 §7.6.1), with those that `Connection` names; what the proxy knows
is added behind the fields that stay, which keep their case, order and repeats. Framing fields
are rewritten only where the framing changes.
"""

import re
from typing import Final

from proxy.core.message import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead, list_members
from proxy.core.tracing import SECOND_DIGITS, Trace

MAX_HOPS: Final = 5
_HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"te",
        b"upgrade",
        b"http2-settings",
    )
)
# `Connection` may not be used to strip what decides framing, routing or trust.
_NOT_CONNECTION_NAMED: Final = frozenset(
    b"host content-length transfer-encoding x-request-id traceparent tracestate via banyan-role "
    b"authorization cookie".split()
)
_CONNECTION_OPTIONS: Final = frozenset((b"close",))
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
# What has to be known before the content is, and so may not stand behind it (RFC 9110 §6.5.1):
# framing, routing, authentication, request modifiers, response controls, the content's format.
_NO_TRAILERS: Final = (
    _HOP_BY_HOP
    | _NOT_CONNECTION_NAMED
    | frozenset(
        b"trailer expect set-cookie www-authenticate content-encoding content-type content-range "
        b"content-location cache-control max-forwards pragma range age date expires location "
        b"retry-after vary warning forwarded x-forwarded-for x-forwarded-proto "
        b"x-forwarded-host".split()
    )
)
_CONDITIONS: Final = b"if-"
# What a proxy in front says of the client and its request: of a stranger it is a claim.
_SAID_BY_PROXIES: Final = (
    b"x-forwarded-",
    b"forwarded",
    b"x-real-ip",
    b"x-original-",
    b"x-rewrite-url",
)
# Of these methods alone each hop counts, and the last one answers by itself (RFC 9110 §7.6.2).
COUNTS_HOPS: Final = frozenset(("OPTIONS", "TRACE"))
_find_max_forwards: Final = re.compile(
    rb"\nmax-forwards:[ \t]*+([0-9]{1,18})[ \t]*+\r", re.IGNORECASE
).search
_TRACED: Final = frozenset((b"host", b"via", b"max-forwards"))
# Where the span begins in forwarded lines, which end in its 16 digits and `-ff\r\n`.
_SPAN_AT: Final = -21


class Peer:
    """What the proxy knows of a connection: who is there, and whether it is believed."""

    __slots__ = ("added", "address", "scheme", "trusted")

    def __init__(self, address: bytes, trusted: bool, scheme: bytes) -> None:
        self.address = address  # client ip as text
        self.trusted = trusted
        self.scheme = scheme  # http or https
        # The lines added to a request of a peer that is not believed, up to its Host.
        self.added = (
            b"Via: 1.1 banyan\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n"
            b"X-Forwarded-Host: " % (address, scheme)
        )


def plain_request(head: RequestHead, peer: Peer, trace: Trace) -> bytes:
    """What `request_lines` makes of the commonest request, its request line in front.

    For a plain head of a peer that is not believed, whose target and Host stay as they are.
    """
    return b"%b%b%b\r\nX-Request-Id: %b\r\ntraceparent: %b\r\n" % (
        head.raw[:-2],
        peer.added,
        head.special[b"host"],
        trace.trace_id,
        trace.header,
    )


def for_second_side(lines: bytes, end: bytes) -> bytes:
    """The same lines with the parent-id of the side not asked first, and what closes them.

    The traceparent is the last of them; of its span only the first digit differs.
    """
    return b"%b%b%b%b" % (
        lines[:_SPAN_AT],
        SECOND_DIGITS[lines[_SPAN_AT]],
        lines[_SPAN_AT + 1 :],
        end,
    )


def request_id(given: bytes | None, trace: Trace) -> bytes:
    """The client's request id where it is harmless, else the trace id."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return trace.trace_id


def loops(head: RequestHead) -> bool:
    """Whether this request has been through here before: a shadow, or too many hops."""
    if b"banyan-role" in head.special:
        return True
    return head.raw.count(b" banyan") > MAX_HOPS and _via_hops(head.raw) > MAX_HOPS


def take_hop(head: RequestHead) -> bool:
    """Count this hop in the Max-Forwards of a request of COUNTS_HOPS; False if none is left.

    The number is replaced in place, in as many bytes, so that the head's places stay true. No
    number, or one of more than 18 digits, counts nothing (RFC 9110 §7.6.2).
    """
    found = _find_max_forwards(head.raw)
    if found is None:
        return True
    left = int(found[1])
    if left == 0:
        return False
    start, end = found.span(1)
    head.raw = b"%b%b%b" % (
        head.raw[:start],
        str(left - 1).rjust(end - start).encode("ascii"),
        head.raw[end:],
    )
    return True


def traced(head: RequestHead) -> bytes:
    """What a TRACE that ends here is answered with: nothing of it that may be secret (§9.3.8)."""
    lines = [line[0] for line in _find_lines(head.raw, head.lines_at) if line[1].lower() in _TRACED]
    return head.raw[: head.lines_at] + b"".join(lines) + b"\r\n"


def _via_hops(raw: bytes) -> int:
    lines = re.findall(rb"(?im)^via:([^\r]*)", raw)
    return sum(line.count(b" banyan") for line in lines)


def request_lines(
    head: RequestHead,
    peer: Peer,
    trace: Trace,
    id_: bytes,
    strip: bytes | None,
    host: bytes | None,
    upgrade: bool,
    authority: bytes | None = None,
) -> bytes:
    """The header lines of a forwarded request, the traceparent last, without the empty line.

    `strip` is a further lower-case header name to remove (the override's); `host` replaces the
    Host header (absolute-form targets, `host: backend`), None keeps it; `upgrade` keeps the
    Upgrade handshake; `authority` is that of an absolute-form target: the Host header beside it
    is ignored (RFC 9112 §3.2.2), here too.
    """
    special = head.special
    raw = head.raw
    cut: list[tuple[int, int]] = []
    if not head.plain:
        for name, start, end in head.spans:
            if (
                name in _HOP_BY_HOP
                or name in (b"x-request-id", b"traceparent")
                # It says more of a trace that is not continued (Trace Context §4.2, §4.3).
                or (name == b"tracestate" and not trace.parent)
                or (not peer.trusted and name.startswith(_SAID_BY_PROXIES))
                or name == b"x-forwarded-for"
                # A 1.0 client cannot mean it (RFC 9110 §10.1.1), and we forward in HTTP/1.1.
                or (name == b"expect" and head.minor == 0)
                # A look-alike: CGI-like backends read `X_Forwarded_For` as `X-Forwarded-For`.
                or b"_" in name
            ):
                cut.append((start, end))
    connection = special.get(b"connection")
    named = set() if connection is None else _named_by(connection)
    if strip is not None:
        named.add(strip)
    if host is not None:
        named.add(b"host")
    if named:
        cut += _line_spans(head, named)
    lines = _without(raw, head.lines_at, len(raw) - 2, cut)
    out = [lines]
    if host is not None:
        out.insert(0, b"Host: %b\r\n" % host)
    original_host = special.get(b"host", host or b"") if authority is None else authority
    if peer.trusted:
        before = special.get(b"x-forwarded-for")
        forwarded_for = before + b", " + peer.address if before else peer.address
        out.append(b"Via: 1.1 banyan\r\nX-Forwarded-For: %b\r\n" % forwarded_for)
        if b"x-forwarded-proto" not in special:
            out.append(b"X-Forwarded-Proto: %b\r\n" % peer.scheme)
        if b"x-forwarded-host" not in special:
            out.append(b"X-Forwarded-Host: %b\r\n" % original_host)
    else:
        out.append(b"%b%b\r\n" % (peer.added, original_host))
    te = special.get(b"te")
    if upgrade:
        out.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % special[b"upgrade"])
    elif te is not None and head.minor == 1 and b"trailers" in list_members(te):
        out.append(b"TE: trailers\r\nConnection: TE\r\n")
    out.append(b"X-Request-Id: %b\r\ntraceparent: %b\r\n" % (id_, trace.header))
    return b"".join(out)


def trailer_lines(
    lines: bytes, head: RequestHead | ResponseHead, strip: bytes | None = None
) -> bytes:
    """Those trailer lines, each ended by CRLF, that are sent on behind the body of this head.

    Whoever joins trailers to the headers would take them for those: what is removed from headers,
    written by ourselves or believed of proxies alone goes, whoever the peer is. `strip` as in
    `request_lines`.
    """
    named = set(list_members(head.special.get(b"connection", b"")))
    if strip is not None:
        named.add(strip)
    is_request = isinstance(head, RequestHead)
    kept = []
    for line in _find_lines(lines):
        name = line[1].lower()
        if (
            name in _NO_TRAILERS
            or name in named
            or name.startswith(_CONDITIONS)
            or (is_request and (name.startswith(_SAID_BY_PROXIES) or b"_" in name))
        ):
            continue
        kept.append(line[0])
    return b"".join(kept)


def header_values(raw: bytes, lower: bytes, name: bytes) -> list[bytes]:
    """The values of a header in a head; `lower` is the head lower-cased, `name` lower-case."""
    values = []
    needle = b"\n" + name + b":"
    at = lower.find(needle)
    while at >= 0:
        start = at + len(needle)
        end = raw.index(b"\r\n", start)
        values.append(raw[start:end].strip(b" \t"))
        at = lower.find(needle, end)
    return values


_ACCEPTS_STREAM: Final = re.compile(rb"\naccept:[^\r]*text/event-stream")
_IS_STREAM: Final = re.compile(rb"\ncontent-type:[ \t]*text/event-stream")


def accepts_event_stream(raw: bytes) -> bool:
    """Whether a request's Accept header asks for server-sent events."""
    lower = raw.lower()
    return lower.find(b"event-stream") >= 0 and _ACCEPTS_STREAM.search(lower) is not None


def is_event_stream(raw: bytes) -> bool:
    """Whether a response's Content-Type says that its body is server-sent events."""
    lower = raw.lower()
    return lower.find(b"event-stream") >= 0 and _IS_STREAM.search(lower) is not None


def client_address(peer: bytes, forwarded_for: bytes | None, trusted: "TrustCheck") -> bytes:
    """The client's address: the last one in X-Forwarded-For that is not a trusted proxy."""
    if forwarded_for is None:
        return peer
    address = peer
    for hop in reversed(forwarded_for.split(b",")):
        hop = hop.strip()
        if not hop:
            continue
        address = hop
        if not trusted(hop):
            break
    return address


class TrustCheck:
    """Whether an address is a trusted proxy. Called with the address as text in bytes."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        import ipaddress

        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]
        self._parse = ipaddress.ip_address

    def __call__(self, address: bytes) -> bool:
        if not self._networks:
            return False
        try:
            parsed = self._parse(address.decode("ascii"))
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)


def response_bytes(
    head: ResponseHead, framing: int, client_minor: int, keep_alive: bool, http_date: bytes
) -> tuple[bytes, int]:
    """The response head for the client, and the framing of the body that follows it.

    `framing` is that of the backend's body. A body whose end the client could not see (no
    length, to an HTTP/1.0 client) is closed behind: the framing returned is UNTIL_CLOSE then.
    """
    if head.plain and keep_alive and client_minor == 1:
        return head.raw, framing
    special = head.special
    out_framing = framing
    if client_minor == 0:
        if framing == CHUNKED:
            out_framing = UNTIL_CLOSE
    elif framing == UNTIL_CLOSE:
        out_framing = CHUNKED
    cut = [
        (start, end)
        for name, start, end in head.spans
        if name in _HOP_BY_HOP
        or (name == b"transfer-encoding" and (client_minor == 0 or head.status == 204))
        or (name == b"content-length" and head.status == 204)
    ]
    connection = special.get(b"connection")
    named = set() if connection is None else _named_by(connection)
    if client_minor == 0:
        # It announces what a 1.0 client does not get.
        named.add(b"trailer")
    if named:
        cut += _line_spans(head, named)
    status_line = b"HTTP/1.1" + head.raw[8 : head.lines_at]
    out = [status_line, _without(head.raw, head.lines_at, len(head.raw) - 2, cut)]
    if not head.plain and b"date" not in special:
        out.append(b"Date: %b\r\n" % http_date)
    if out_framing == CHUNKED and framing == UNTIL_CLOSE:
        out.append(b"Transfer-Encoding: chunked\r\n")
    if out_framing == UNTIL_CLOSE or not keep_alive:
        out.append(b"Connection: close\r\n")
    elif client_minor == 0:
        out.append(b"Connection: keep-alive\r\n")
    out.append(b"\r\n")
    return b"".join(out), out_framing


def interim_bytes(head: ResponseHead) -> bytes:
    """A 1xx answer for the client (RFC 9110 §15.2), hop-by-hop fields removed."""
    return _without_body(head, _HOP_BY_HOP) + b"\r\n"


def switching_bytes(head: ResponseHead) -> bytes:
    """A 101 answer for the client: the Upgrade handshake stays."""
    return _without_body(head, _HOP_BY_HOP - {b"upgrade"}) + b"Connection: Upgrade\r\n\r\n"


def _without_body(head: ResponseHead, hop_by_hop: frozenset[bytes]) -> bytes:
    """The lines of a head that never has a body, nor what would frame one (RFC 9110 §8.6)."""
    connection = head.special.get(b"connection")
    named = set() if connection is None else _named_by(connection)
    lines = _line_spans(head, named | hop_by_hop | {b"content-length", b"transfer-encoding"})
    status_line = b"HTTP/1.1" + head.raw[8 : head.lines_at]
    return status_line + _without(head.raw, head.lines_at, len(head.raw) - 2, lines)


def _named_by(connection: bytes) -> set[bytes]:
    """The further headers that a Connection header makes hop-by-hop."""
    names = {name for name in list_members(connection) if not name.startswith(_SAID_BY_PROXIES)}
    return names - _NOT_CONNECTION_NAMED - _HOP_BY_HOP - _CONNECTION_OPTIONS


_find_lines: Final = re.compile(rb"([^:\r\n]+):[^\n]*\n").finditer


def _line_spans(head: RequestHead | ResponseHead, names: set[bytes]) -> list[tuple[int, int]]:
    """The places of these headers' lines: one pass, however many names a peer has thought of."""
    if not names:
        return []
    return [
        line.span() for line in _find_lines(head.raw, head.lines_at) if line[1].lower() in names
    ]


def _without(raw: bytes, start: int, end: int, cut: list[tuple[int, int]]) -> bytes:
    """raw[start:end] less the spans in `cut` (in any order, repeats allowed)."""
    if not cut:
        return raw[start:end]
    pieces = []
    at = start
    for begin, finish in sorted(cut):
        if begin > at:
            pieces.append(raw[at:begin])
        at = max(at, finish)
    pieces.append(raw[at:end])
    return b"".join(pieces)
