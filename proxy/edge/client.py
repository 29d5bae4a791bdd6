"""One client connection: heads in, one request at a time, answers out in order.

Pipelined requests wait in the buffer until the answer before them is complete; what does not fit
waits in the kernel. What is refused closes the connection behind its answer, the framing being
lost or the body unread: the answer is flushed, our half closed, and the rest read and thrown away
for a short while, since a reset would take the answer with it.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from proxy.core.forwarding import Peer
from proxy.core.message import Refusal, RequestHead, parse_request_head
from proxy.edge.answers import problem
from proxy.edge.backend import reset_on_close
from proxy.edge.body import BodyReader
from proxy.edge.outbox import Outgoing
from proxy.edge.reception import head_too_large, partial_refusal, receive
from proxy.edge.relay import Relay

if TYPE_CHECKING:
    from proxy.edge.context import Edge

_HEAD: Final = 0
_BODY: Final = 1
_WAIT: Final = 2
_LINGER: Final = 3
_TUNNEL: Final = 4
_CLOSED: Final = 5
MAX_PIPELINED_BYTES: Final = 64 << 10
WRITE_HIGH_BYTES: Final = 128 << 10
WRITE_LOW_BYTES: Final = 32 << 10
LINGER_S: Final = 2.0
UNHEARD_S: Final = 1.0


class ClientConnection(Outgoing):
    """The server side of the data plane."""

    __slots__ = (
        "advancing",
        "at",
        "body",
        "buffer",
        "edge",
        "eof",
        "head_begun",
        "peer",
        "reading_paused",
        "relay",
        "stalled_at",
        "state",
        "writing_paused",
    )

    def __init__(self, edge: "Edge") -> None:
        super().__init__()
        self.edge = edge
        self.state = _HEAD
        self.buffer = b""  # not taken yet: the bytes from `at` on
        self.at = 0  # that they are cut off only now and then keeps long pipelines linear
        self.relay: Relay | None = None
        self.body: BodyReader | None = None  # of the request whose body is being read
        self.eof = False
        self.head_begun = False  # part of a head is here, and its deadline runs
        self.advancing = False
        self.reading_paused = False
        self.writing_paused = False
        self.stalled_at = -1  # bytes unsent when the write deadline was last looked at
        self.peer: Peer | None = None

    # asyncio.Protocol, without its base class: a compiled class cannot have an interpreted base

    def as_protocol(self) -> asyncio.Protocol:
        """This connection as what the loop's factories return."""
        return cast(asyncio.Protocol, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)
        edge = self.edge
        edge.clients.add(self)
        if len(edge.clients) > edge.max_sockets:
            edge.tallies.refuse("descriptors")
            self.abort()
            return
        if len(edge.clients) > edge.max_clients:
            self.refuse(Refusal(503, "connections", "too many connections are open"))
            return
        edge.wheel.set(self, edge.limits.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state == _HEAD:
            if self.buffer:
                data = self._take_buffer() + data
            end = self._take_head(data, 0)
            if end < 0:
                self.buffer = data
            elif end < len(data):
                self._advance(data, end)
            elif self.eof and self.state == _HEAD:
                self.close()
        elif state == _BODY:
            self._advance(data, 0)
        elif state == _WAIT:
            self.buffer = self._take_buffer() + data
            if len(self.buffer) > MAX_PIPELINED_BYTES:
                self.pause_reading()
        elif state == _TUNNEL and self.relay is not None and self.relay.tunnel is not None:
            self.relay.tunnel.from_client(data)

    def eof_received(self) -> bool:
        self.eof = True
        state = self.state
        if state == _TUNNEL and self.relay is not None and self.relay.tunnel is not None:
            self.relay.tunnel.client_eof()
        elif state in (_HEAD, _LINGER):
            self.close()
        elif state == _BODY and (self.edge.is_tls or not self._answer_comes()):
            # The body can no longer become whole.
            self.abort()
        # Half-closed clients get their answer; with TLS there is no half-closing.
        return not self.edge.is_tls and state != _CLOSED

    def connection_lost(self, exc: Exception | None) -> None:
        self.state = _CLOSED
        self.unsent = b""
        edge = self.edge
        edge.wheel.forget(self)
        edge.clients.discard(self)
        relay, self.relay = self.relay, None
        self.buffer = b""
        self.body = None
        if relay is not None:
            relay.client_gone()
        edge.check_drained()

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.relay is not None:
            self.relay.client_paused()
        elif self.state == _HEAD and not self.eof:
            self.pause_reading()
        self.stalled_at = -1
        self.edge.wheel.set(self, self.edge.limits.body_idle_s)

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.state == _WAIT or self.state == _TUNNEL:
            self.deadline = 0.0
        if self.relay is not None:
            self.relay.client_resumed()
        elif self.state == _HEAD:
            self._go_on()

    def on_deadline(self) -> None:
        edge = self.edge
        state = self.state
        is_over = state in (_LINGER, _CLOSED)
        if self.writing_paused or is_over:
            unsent = self.transport.get_write_buffer_size()
            if is_over and not unsent:
                # What the kernel still has it goes on sending; a reset would throw that away.
                self.transport.abort()
            elif unsent == self.stalled_at:
                edge.tallies.refuse("client_stalled")
                self.abort()
            else:
                self.stalled_at = unsent
                edge.wheel.set(self, edge.limits.body_idle_s)
        elif state == _HEAD:
            if self.head_begun:
                edge.tallies.refuse("header_timeout")
                self._answer_and_close(
                    Refusal(408, "header_timeout", "the request head did not arrive in time")
                )
            else:
                self.close()
        elif state == _BODY:
            if self.reading_paused or self._answer_comes():
                # We made it wait, or an early answer did (RFC 9112 §9.5): the backend's time runs.
                edge.wheel.set(self, edge.limits.body_idle_s)
                return
            edge.tallies.refuse("body_timeout")
            refusal = Refusal(408, "body_timeout", "the request body stopped arriving")
            if self.relay is None or not self.relay.refuse_body(refusal):
                self.abort()

    # What relays ask for

    def write(self, data: bytes) -> None:
        """Send to the client; what comes after the end is dropped."""
        if self.state != _CLOSED:
            if self.unsent:
                self.send_unsent()
            self.transport.write(data)

    def write_whole(self, data: bytes) -> None:
        """Send a whole answer, with those to others at the end of the loop's turn."""
        if self.state != _CLOSED:
            self.edge.outbox.add(self, data)

    def pause_reading(self) -> None:
        if not self.reading_paused and self.state != _CLOSED:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless more waits already than need be."""
        is_full = len(self.buffer) - self.at > MAX_PIPELINED_BYTES
        if self.reading_paused and not is_full and self.state != _CLOSED:
            self.reading_paused = False
            self.transport.resume_reading()
            if self.state == _BODY:
                self.edge.wheel.set(self, self.edge.limits.body_idle_s)

    def answered(self, keep_alive: bool) -> None:
        """The answer is complete: on to the next request, or to the end."""
        self.relay = None
        state = self.state
        if state == _CLOSED:
            return
        if not keep_alive or state == _BODY or self.edge.draining:
            self.finish()
            return
        self.state = _HEAD
        if not self.writing_paused:
            self._go_on()
        elif not self.eof:
            # It does not take what it has asked for: nothing more is answered before it does.
            self.pause_reading()

    def _go_on(self) -> None:
        """The next request may come, or is here already."""
        if self.edge.draining:
            self.finish()
            return
        self.edge.wheel.set(self, self.edge.limits.client_idle_s)
        if not self.advancing:
            if self.buffer:
                data, self.buffer = self.buffer, b""
                at, self.at = self.at, 0
                self._advance(data, at)
            elif self.eof:
                self.close()
            elif self.reading_paused:
                self.resume_reading()

    def body_is_read(self) -> bool:
        """Whether the whole request has been read, so that another may follow."""
        return self.state != _BODY

    def _answer_comes(self) -> bool:
        """Whether the answer has begun before the body is whole, and goes on."""
        answering = self.relay.answering if self.relay is not None else None
        return answering is not None and answering.comes()

    def end_half(self) -> None:
        """The backend of a tunnel has said all it will."""
        if self.state != _CLOSED:
            if self.edge.is_tls:
                self.close()
            else:
                self.transport.write_eof()

    def enter_tunnel(self) -> bytes:
        """Become a tunnel; returns what the client has sent ahead."""
        self.state = _TUNNEL
        self.deadline = 0.0
        data = self._take_buffer()
        self.resume_reading()
        return data

    def finish(self) -> None:
        """Close behind what was written, without losing it to a reset."""
        self.buffer = b""
        self.at = 0
        if self.state == _CLOSED:
            return
        if self.eof or self.edge.is_tls:
            self.close()
            return
        self.state = _LINGER
        self.resume_reading()
        self.send_unsent()
        self.transport.write_eof()
        self.stalled_at = -1
        self.edge.wheel.set(self, LINGER_S)

    def drain(self) -> None:
        """The worker stops: go now where no request is under way or has begun."""
        waits = self.buffer and (self.head_begun or self.writing_paused)  # else an empty line
        if self.state == _HEAD and not waits and self.relay is None:
            if self.peer is None:
                # Accepted and not heard yet: its request may stand unread in the socket.
                self.edge.wheel.set(self, UNHEARD_S)
            else:
                self.close()

    def close(self) -> None:
        if self.state != _CLOSED:
            self.state = _CLOSED
            self.send_unsent()
            self.transport.close()
            if self.transport.get_write_buffer_size():
                # A peer that takes nothing more would keep the transport open for ever.
                self.stalled_at = -1
                self.edge.wheel.set(self, LINGER_S)

    def abort(self) -> None:
        """Cut the connection: a torn answer must not look like a whole one."""
        self.unsent = b""
        reset_on_close(self.transport)
        self.transport.abort()

    def refuse(self, refusal: Refusal) -> None:
        """Refuse what came before it had a route."""
        self.edge.tallies.refuse(refusal.code)
        self._answer_and_close(refusal)

    # Reading requests

    def _take_buffer(self) -> bytes:
        data = self.buffer[self.at :]
        self.buffer = b""
        self.at = 0
        return data

    def _advance(self, data: bytes, at: int) -> None:
        """Take what stands from `at` on, until a request has to wait; the buffer is empty."""
        self.advancing = True
        size = len(data)
        end = 0  # -1 where the last head is not complete
        try:
            while at < size:
                state = self.state
                if state == _HEAD and not self.writing_paused:
                    end = self._take_head(data, at)
                    if end < 0:
                        break
                    at = end
                elif state == _BODY:
                    # In pieces: what stands behind a body is copied with it.
                    piece = data[at : at + MAX_PIPELINED_BYTES] if at else data
                    at += len(piece) - len(self._take_body(piece))
                else:
                    break
        finally:
            self.advancing = False
        state = self.state
        if state != _WAIT and state != _HEAD:
            return
        if end >= 0 and size - at > MAX_PIPELINED_BYTES:
            self.pause_reading()
        elif self.reading_paused and not (state == _HEAD and self.writing_paused):
            self.resume_reading()
        if end < 0:
            self.buffer = data[at:]
        elif at < size:
            self.buffer = data
            self.at = at
        if self.eof and state == _HEAD and not self.writing_paused:
            self.close()

    def _take_head(self, data: bytes, at: int) -> int:
        """Handle the request head that begins at `at`; returns its end, -1 while it has none."""
        limits = self.edge.limits
        end = data.find(b"\r\n\r\n", at) + 4
        size = len(data)
        if data[at] == 13:
            # One empty line before a request line is forgiven (RFC 9112 §2.2).
            if data[at : at + 2] == b"\r\n" and data[at + 2 : at + 4] != b"\r\n" and size > at + 2:
                return self._take_head(data, at + 2)
            if size == at + 2:
                return -1
        if end < 4:
            self._check_partial(data[at:])
            return size if self.state != _HEAD else -1
        if end - at > limits.header_bytes:
            self.refuse(head_too_large(data[at:], limits.header_bytes))
            return size
        self.head_begun = False
        head = parse_request_head(data if end - at == size else data[at:end], limits.headers)
        relay = receive(self, head) if type(head) is RequestHead else head
        if type(relay) is Refusal:
            self.refuse(relay)
            return size
        relay = cast(Relay, relay)
        self.relay = relay
        framing = relay.request.framing
        if framing == 0:
            self._body_done()
        else:
            self.state = _BODY
            self.body = BodyReader(framing, limits.request_body_bytes, limits.header_bytes)
            self.edge.wheel.set(self, limits.body_idle_s)
            if self.reading_paused:
                # For what stood before it. From here on it is the relay that may stop the body.
                self.resume_reading()
        relay.start()
        return end

    def _check_partial(self, data: bytes) -> None:
        """Refuse early what can no longer become a request head; begin its deadline."""
        limits = self.edge.limits
        refusal = partial_refusal(data, limits)
        if refusal is not None:
            self.refuse(refusal)
        elif not self.head_begun:
            self.head_begun = True
            self.edge.wheel.set(self, limits.header_timeout_s)

    def _take_body(self, data: bytes) -> bytes:
        """Hand a piece of the request body on; returns what stands behind the body."""
        relay = cast(Relay, self.relay)
        reader = cast(BodyReader, self.body)
        edge = self.edge
        body = reader.feed(data)
        if type(body) is Refusal:
            edge.tallies.refuse(body.code)
            if not relay.refuse_body(body):
                self.abort()
            return b""
        if not reader.done:
            if body:
                # What frames it passes nothing on, and wins no time.
                edge.wheel.set(self, edge.limits.body_idle_s)
                relay.on_body(cast(bytes, body))
            return b""
        self._body_done()
        if body:
            relay.on_body(cast(bytes, body))
        if self.relay is relay:
            relay.on_body_end(reader.trailers)
        return reader.rest

    def _body_done(self) -> None:
        self.state = _WAIT
        self.body = None
        if not self.writing_paused:
            self.deadline = 0.0

    def _answer_and_close(self, refusal: Refusal) -> None:
        self.state = _WAIT
        number = b"%032x" % self.edge.bits(128)
        now = self.edge.date.now()
        status, code, text = refusal.status, refusal.code, refusal.text
        self.write(problem(status, code, text, number, now, keep_alive=False))
        self.finish()
