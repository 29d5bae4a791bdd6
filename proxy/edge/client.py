"""One client connection: heads in, one request at a time, answers out in order.

Pipelined requests wait in the buffer until the answer before them is complete; what does not fit
waits in the kernel. What goes out, and how the connection ends, is `sending`.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from proxy.core.forwarding import Peer
from proxy.core.message import Refusal, RequestHead, parse_request_head
from proxy.edge.answers import problem
from proxy.edge.body import BodyReader
from proxy.edge.reception import head_too_large, partial_refusal, receive
from proxy.edge.relay import Relay
from proxy.edge.sending import BODY, CLOSED, HEAD, LINGER, TUNNEL, WAIT, Sending

if TYPE_CHECKING:
    from proxy.edge.context import Edge

MAX_PIPELINED_BYTES: Final = 64 << 10
WRITE_HIGH_BYTES: Final = 128 << 10
WRITE_LOW_BYTES: Final = 32 << 10
UNHEARD_S: Final = 1.0


class ClientConnection(Sending):
    """The server side of the data plane."""

    __slots__ = (
        "advancing",
        "at",
        "body",
        "buffer",
        "head_begun",
        "peer",
        "relay",
    )

    def __init__(self, edge: "Edge") -> None:
        super().__init__(edge)
        self.buffer = b""  # not taken yet: the bytes from `at` on
        self.at = 0  # that they are cut off only now and then keeps long pipelines linear
        self.relay: Relay | None = None
        self.body: BodyReader | None = None  # of the request whose body is being read
        self.head_begun = False  # part of a head is here, and its deadline runs
        self.advancing = False
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
        # One that comes while the worker stops had been accepted before.
        edge.wheel.set(self, UNHEARD_S if edge.draining else edge.limits.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state == HEAD:
            if self.buffer:
                data = self._take_buffer() + data
            end = self._take_head(data, 0)
            if end < 0:
                self.buffer = data
            elif end < len(data):
                self._advance(data, end)
            elif self.eof and self.state == HEAD:
                self.close()
        elif state == BODY:
            self._advance(data, 0)
        elif state == WAIT:
            self.buffer = self._take_buffer() + data
            if len(self.buffer) > MAX_PIPELINED_BYTES:
                self.pause_reading()
        elif state == TUNNEL and self.relay is not None and self.relay.tunnel is not None:
            self.relay.tunnel.from_client(data)
        elif state == LINGER:
            self.linger_on()

    def eof_received(self) -> bool:
        self.eof = True
        state = self.state
        if state == TUNNEL and self.relay is not None and self.relay.tunnel is not None:
            self.relay.tunnel.client_eof()
        elif state in (HEAD, LINGER):
            self.close()
        elif state == BODY:
            self._end_body()
        # Half-closed clients get their answer; with TLS there is no half-closing.
        return not self.edge.is_tls and state != CLOSED

    def connection_lost(self, exc: Exception | None) -> None:
        self.state = CLOSED
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
        elif self.state == HEAD and not self.eof:
            self.pause_reading()
        self.await_taking()

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.state == WAIT or self.state == TUNNEL:
            self.deadline = 0.0
        if self.relay is not None:
            self.relay.client_resumed()
        elif self.state == HEAD:
            self._go_on()

    def on_deadline(self) -> None:
        edge = self.edge
        state = self.state
        if self.writing_paused or state in (LINGER, CLOSED):
            self.look_at_unsent()
        elif state == HEAD:
            if self.head_begun:
                edge.tallies.refuse("header_timeout")
                self._answer_and_close(
                    Refusal(408, "header_timeout", "the request head did not arrive in time")
                )
            elif self.is_taken() and self.untaken_at:
                # It still reads the answer before.
                edge.wheel.set(self, edge.limits.client_idle_s)
            else:
                self.close()
        elif state == BODY:
            if self.reading_paused or self._answer_comes():
                # We made it wait, or an early answer did (RFC 9112 §9.5): the backend's time runs.
                edge.wheel.set(self, edge.limits.body_idle_s)
                return
            self._refuse_body(Refusal(408, "body_timeout", "the request body stopped arriving"))

    # What relays ask for

    def pause_reading(self) -> None:
        if not self.reading_paused and self.state != CLOSED:
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless more waits already than need be."""
        is_full = len(self.buffer) - self.at > MAX_PIPELINED_BYTES
        if self.reading_paused and not is_full and self.state != CLOSED:
            self.reading_paused = False
            self.transport.resume_reading()
            if self.state == BODY:
                self.edge.wheel.set(self, self.edge.limits.body_idle_s)

    def answered(self, keep_alive: bool) -> None:
        """The answer is complete: on to the next request, or to the end."""
        self.relay = None
        state = self.state
        if state == CLOSED:
            return
        if not keep_alive or state == BODY or self.edge.draining:
            self.finish()
            return
        self.state = HEAD
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
        return self.state != BODY

    def _answer_comes(self) -> bool:
        """Whether the answer has begun before the body is whole, and goes on."""
        answering = self.relay.answering if self.relay is not None else None
        return answering is not None and answering.comes()

    def enter_tunnel(self) -> bytes:
        """Become a tunnel; returns what the client has sent ahead."""
        self.state = TUNNEL
        self.deadline = 0.0
        data = self._take_buffer()
        self.resume_reading()
        return data

    def finish(self) -> None:
        """Close behind what was written; what is still here of the client's is dropped."""
        self.buffer = b""
        self.at = 0
        super().finish()

    def drain(self) -> None:
        """The worker stops: go now where no request is under way or has begun."""
        waits = self.buffer and (self.head_begun or self.writing_paused)  # else an empty line
        if self.state == HEAD and not waits and self.relay is None:
            if self.peer is None:
                # Accepted and not heard yet: its request may stand unread in the socket.
                self.edge.wheel.set(self, UNHEARD_S)
            else:
                self.close()

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
                if state == HEAD and not self.writing_paused:
                    end = self._take_head(data, at)
                    if end < 0:
                        break
                    at = end
                elif state == BODY:
                    # In pieces: what stands behind a body is copied with it.
                    piece = data[at : at + MAX_PIPELINED_BYTES] if at else data
                    at += len(piece) - len(self._take_body(piece))
                else:
                    break
        finally:
            self.advancing = False
        state = self.state
        if state == BODY and self.eof:
            # It has said so long ago: what was pipelined ends in the middle of a body.
            self._end_body()
        if state != WAIT and state != HEAD:
            return
        if end >= 0 and size - at > MAX_PIPELINED_BYTES:
            self.pause_reading()
        elif self.reading_paused and not (state == HEAD and self.writing_paused):
            self.resume_reading()
        if end < 0:
            self.buffer = data[at:]
        elif at < size:
            self.buffer = data
            self.at = at
        if self.eof and state == HEAD and not self.writing_paused:
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
            return size if self.state != HEAD else -1
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
            self.state = BODY
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
            self._refuse_body(body)
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

    def _end_body(self) -> None:
        """The client has said all it will, and the body is not whole: it never will be.

        It is told so, for it may have closed its half alone; an early answer goes on.
        """
        if self.edge.is_tls or not self._answer_comes():
            self._refuse_body(Refusal(400, "body_cut", "the request body ends before its end"))

    def _refuse_body(self, refusal: Refusal) -> None:
        self.edge.tallies.refuse(refusal.code)
        if self.relay is None or not self.relay.refuse_body(refusal):
            self.abort()

    def _body_done(self) -> None:
        self.state = WAIT
        self.body = None
        if not self.writing_paused:
            self.deadline = 0.0

    def _answer_and_close(self, refusal: Refusal) -> None:
        self.state = WAIT
        number = b"%032x" % self.edge.bits(128)
        now = self.edge.date.now()
        status, code, text = refusal.status, refusal.code, refusal.text
        self.write(problem(status, code, text, number, now, keep_alive=False))
        self.finish()
