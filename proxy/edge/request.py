"""A client's request as it is sent on: its head for each side, its draw, its override."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from proxy.core.forwarding import (
    Peer,
    client_address,
    for_second_side,
    header_values,
    plain_request,
    request_id,
    request_lines,
)
from proxy.core.message import Refusal, RequestHead, list_members
from proxy.core.model import Side
from proxy.core.planning import draws_new
from proxy.core.sticky import StickyKey, sticky_key
from proxy.core.tracing import (
    MAX_TRACESTATE_BYTES,
    asks_to_be_sampled,
    parent_in,
    trace_context,
)
from proxy.edge.answers import problem

if TYPE_CHECKING:
    from proxy.edge.context import Edge
    from proxy.edge.table import Service

_END: Final = b"\r\n"
_SHADOW_END: Final = b"Banyan-Role: shadow\r\n\r\n"
# Never switched to: what follows would be requests that nobody routed.
_LEADS_TO_HTTP: Final = (b"h2", b"h3", b"http", b"tls", b"ssl")
NO_PARAMS: Mapping[str, str] = {}


class ForwardedRequest:
    """The request of one client, less its body. `path` is canonical, `query` has its `?`."""

    lines: bytes | None = None
    # The whole head as most sides get it, where nothing but our own lines changes.
    whole: bytes | None = None
    upgrade = False

    def __init__(
        self,
        edge: "Edge",
        peer: Peer,
        head: RequestHead,
        path: str,
        query: str,
        params: Mapping[str, str] = NO_PARAMS,
        authority: str | None = None,
    ) -> None:
        self.edge = edge
        self.peer = peer
        self.head = head
        self.method = head.method
        self.framing = head.framing
        self.path = path
        self.query = query
        self.params = params
        self.authority = authority  # of an absolute-form target; stands for the Host header
        sampled = edge.chance() < edge.trace_sample
        special = head.special
        if head.plain:
            trace = self.trace = trace_context(None, edge.bits(192), sampled)
            if not peer.trusted and authority is None and head.target == path + query:
                self.whole = plain_request(head, peer, trace)
            return
        given = special.get(b"traceparent")
        parent = parent_in(given) if given is not None else None
        if parent is not None:
            asked = asks_to_be_sampled(parent)
            if peer.trusted:
                sampled = asked
            elif asked and not sampled:
                sampled = edge.may_be_traced()
        self.trace = trace_context(parent, edge.bits(192), sampled)
        self.upgrade = (
            b"upgrade" in special
            and head.framing == 0
            and head.minor == 1
            and b"upgrade" in list_members(special.get(b"connection", b""))
            and not any(
                name.startswith(_LEADS_TO_HTTP) for name in list_members(special[b"upgrade"])
            )
        )

    @property
    def id(self) -> bytes:
        """The request id: the client's where it is harmless, else the trace id."""
        return request_id(self.head.special.get(b"x-request-id"), self.trace)

    @property
    def expects_continue(self) -> bool:
        head = self.head
        return head.minor == 1 and head.special.get(b"expect", b"").lower() == b"100-continue"

    @property
    def tracestate(self) -> bytes:
        """What other vendors say of the client's trace, where it is continued and not too long."""
        state = self.head.special.get(b"tracestate", b"") if self.trace.parent else b""
        return state if len(state) <= MAX_TRACESTATE_BYTES else b""

    def to_side(
        self, service: "Service", side: Side, *, as_shadow: bool = False, second: bool = False
    ) -> bytes:
        """The head for one side, with its closing empty line.

        A shadow, and an answer after the one asked first has failed (`second`), have their own
        span.
        """
        if self.whole is not None and side in service.plain_sides:
            if as_shadow:
                return for_second_side(self.whole, _SHADOW_END)
            return for_second_side(self.whole, _END) if second else self.whole + _END
        pool = service.pool(side)
        head = self.head
        lines = self.lines
        authority = None if self.authority is None else self.authority.encode("latin-1")
        if pool.backend.host == "backend":
            host: bytes | None = pool.endpoints[0].authority
        elif authority is not None:
            host = authority
        elif b"host" not in head.special:
            host = pool.endpoints[0].authority
        else:
            host = None
        if lines is None or host is not None:
            lines = request_lines(
                head,
                self.peer,
                self.trace,
                self.id,
                service.override_header,
                host,
                self.upgrade,
                authority,
            )
            if host is None:
                self.lines = lines
        if as_shadow:
            lines = for_second_side(lines, _SHADOW_END)
        else:
            lines = for_second_side(lines, _END) if second else lines + _END
        path = self.path
        if side is Side.NEW and service.rewrite is not None:
            path = service.rewrite.apply(self.params, path)
        return b"%b %b HTTP/1.1\r\n%b" % (
            self.method.encode("latin-1"),
            (path + self.query).encode("latin-1"),
            lines,
        )

    def client_ip(self) -> bytes:
        """The client's address, behind the proxies that are trusted."""
        table = self.edge.table
        peer = self.peer
        if not peer.trusted or table is None:
            return peer.address
        forwarded_for = self.head.special.get(b"x-forwarded-for")
        return client_address(peer.address, forwarded_for, table.trusted)

    def sticky(self, service: "Service") -> StickyKey:
        """By what this client is known on this route."""
        header: str | None = None
        name = service.sticky_header
        if name is not None:
            raw = self.head.raw
            values = header_values(raw, raw.lower(), name)
            if values:
                header = b"; ".join(values).decode("latin-1")
        address = self.client_ip().decode("latin-1")
        return sticky_key(service.route.sticky, header, self.params, address)

    def draws_new(self, service: "Service") -> bool:
        """Whether this client is among those that new answers."""
        key = self.sticky(service)
        if key.missing:
            service.live.tally.event("sticky_missing")
        return draws_new(service.state.phase, service.draw_of(key.value))

    def override(self, service: "Service") -> Side | None:
        """The side a tester asks for, where the route lets this address choose."""
        name, trust = service.override_header, service.override_trust
        if name is None or trust is None:
            return None
        raw = self.head.raw
        values = header_values(raw, raw.lower(), name)
        if len(values) != 1 or not trust(self.client_ip()):
            return None
        return _SIDES.get(values[0].lower())

    def refusal_bytes(self, refusal: Refusal, keep_alive: bool) -> bytes:
        """Our own answer to this request."""
        return problem(
            refusal.status,
            refusal.code,
            refusal.text,
            self.id,
            self.edge.date.now(),
            keep_alive=keep_alive,
            without_body=self.method == "HEAD",
            minor=self.head.minor,
        )

    def is_conditional(self) -> bool:
        """`If-*` or `Range`: the answer depends on what the client has (never compared)."""
        lower = self.head.raw.lower()
        return lower.find(b"\nif-") >= 0 or lower.find(b"\nrange:") >= 0


_SIDES: Final = {b"legacy": Side.LEGACY, b"new": Side.NEW}
