"""From a request head to the relay that serves it: target, path policy, route.

Everything is refused here that is wrong before a route is known; the refusals close the
connection, since what follows such a head cannot be trusted to be where it seems.
"""

from typing import TYPE_CHECKING, cast

from proxy.core.forwarding import COUNTS_HOPS, Peer, take_hop
from proxy.core.message import Refusal, RequestHead, diagnose_request
from proxy.core.model import Limits
from proxy.core.paths import PathRefusal, canonical_path, split_target
from proxy.edge.body import body_too_large
from proxy.edge.last_hop import LastHop
from proxy.edge.reading import ReadRelay
from proxy.edge.relay import Relay
from proxy.edge.request import NO_PARAMS, ForwardedRequest
from proxy.edge.writing import WriteRelay

if TYPE_CHECKING:
    from proxy.edge.client import ClientConnection


def receive(client: "ClientConnection", head: RequestHead) -> Relay | Refusal:
    """The relay of a request, not started yet."""
    target = head.target
    method = head.method
    authority: str | None = None
    if target[0] == "/" and method != "CONNECT":
        mark = target.find("?")
        if mark < 0:
            path, query = target, ""
        else:
            path, query = target[:mark], target[mark:]
        canonical = canonical_path(path)
    else:
        split = split_target(target, method)
        if isinstance(split, PathRefusal) or method == "CONNECT":
            # CONNECT is not served, whatever its target looks like.
            code = split.code if isinstance(split, PathRefusal) else "target_form"
            if method == "CONNECT":
                return Refusal(501, code, "CONNECT is not served here")
            wrong = cast(PathRefusal, split)
            return Refusal(wrong.status, wrong.code, wrong.detail)
        query, authority = split.query, split.authority
        canonical = "*" if split.path == "*" else canonical_path(split.path)
    if type(canonical) is not str:
        bad = cast(PathRefusal, canonical)
        return Refusal(bad.status, bad.code, bad.detail)
    edge = client.edge
    table = edge.table
    if table is None:
        return Refusal(503, "not_ready", "the proxy has no routes yet")
    limit = edge.limits.request_body_bytes
    if limit is not None and head.framing > limit:
        return body_too_large(limit)
    host = authority
    if host is None:
        host = head.special.get(b"host", b"").decode("latin-1")
    match = table.routes.match(method, host, canonical)
    if match is None:
        service = table.unmatched
        params = NO_PARAMS
    else:
        service = match.payload
        params = match.params
    peer = client.peer or peer_of(client)
    if peer is None:
        return Refusal(400, "client_gone", "the client has gone before its request was read")
    is_last = method in COUNTS_HOPS and not take_hop(head)
    request = ForwardedRequest(edge, peer, head, canonical, query, params, authority)
    if is_last:
        return LastHop(client, service, request)
    if method in service.safe_methods:
        return ReadRelay(client, service, request)
    return WriteRelay(client, service, request)


def peer_of(client: "ClientConnection") -> Peer | None:
    """Who is there. Looked up at the first request only: idle connections cost nothing.

    None where the client has reset the connection: who it was cannot be told any more.
    """
    edge = client.edge
    name = client.transport.get_extra_info("peername")
    if isinstance(name, tuple):
        address = name[0].encode("ascii")
        trusted = edge.table.trusted(address) if edge.table else False
    elif name is None:
        return None
    else:
        # A Unix socket: whoever the file's permissions let in is a proxy of this machine.
        address, trusted = b"127.0.0.1", True
    client.peer = Peer(address, trusted, b"https" if edge.is_tls else b"http")
    return client.peer


def partial_refusal(data: bytes, limits: Limits) -> Refusal | None:
    """Why these first bytes can no longer become a request head; None while they can."""
    if len(data) > limits.header_bytes:
        return head_too_large(data, limits.header_bytes)
    if data.count(b"\n") != data.count(b"\r\n"):
        return Refusal(400, "line_ending", "a line of the request head ends in a bare LF")
    at = data.find(b"\r\n")
    if at > 0:
        refusal = diagnose_request(data[: at + 2] + b"\r\n")
        return refusal if refusal.code in ("request_line", "version") else None
    if not 0x21 <= data[0] <= 0x7E and data[0] != 0x0D:
        return Refusal(400, "request_line", "this is not an HTTP/1.1 request")
    return None


def head_too_large(data: bytes, limit: int) -> Refusal:
    """414 where the request line alone is too long, else 431."""
    if data.find(b"\r\n", 0, limit) < 0:
        return Refusal(414, "target_too_long", f"the request line is longer than {limit} bytes")
    return Refusal(431, "header_bytes", f"the request head is larger than {limit} bytes")
