"""One connection to a backend: frames requests out, responses in, one exchange at a time.

The connection knows framing and nothing of routes. It hands what it reads to its exchange's
sink and clears the exchange before it says that the response is complete, so that the sink may
use the connection again at once. What is not clean HTTP/1 ends the exchange as PROTOCOL.
"""

import asyncio
import socket
import struct
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from proxy.core.chunked import ChunkedDecoder, ChunkedError, chunk, last_chunk
from proxy.core.message import CHUNKED, Refusal, ResponseHead, parse_response_head
from proxy.core.model import Failure, FailureKind
from proxy.edge.outbox import Outgoing

if TYPE_CHECKING:
    from proxy.edge.endpoint import Endpoint
    from proxy.edge.exchange import Exchange
    from proxy.edge.pool import Pool
    from proxy.edge.tunnel import Tunnel

MAX_HEAD_BYTES: Final = 256 << 10
MAX_INTERIM: Final = 20
WRITE_HIGH_BYTES: Final = 128 << 10
WRITE_LOW_BYTES: Final = 32 << 10

_IDLE: Final = 0
_HEAD: Final = 1
_LENGTH: Final = 2
_CHUNKS: Final = 3
_CLOSE: Final = 4
_TUNNEL: Final = 5


CLIENT_SLOW_S: Final = 1.0


class BackendConnection(Outgoing):
    """A pooled connection. Owned by its pool from creation to `connection_lost`."""

    __slots__ = (
        "born",
        "buffer",
        "busy",
        "closing",
        "decoder",
        "endpoint",
        "exchange",
        "handed",
        "head",
        "idle_limit_s",
        "idle_since",
        "interim",
        "left",
        "paused",
        "pool",
        "request_open",
        "role_shadow",
        "served",
        "state",
        "stuck",
        "touched_at",
        "tunnel",
    )

    def __init__(self, pool: "Pool", endpoint: "Endpoint") -> None:
        super().__init__()
        self.pool = pool
        self.endpoint = endpoint
        self.exchange: Exchange | None = None
        self.state = _IDLE
        self.buffer = b""
        self.left = 0
        self.interim = 0  # 1xx answers of this exchange
        self.decoder: ChunkedDecoder | None = None
        self.head: ResponseHead | None = None
        self.request_open = False  # request bytes are still to come
        self.stuck = False  # the backend does not take what was sent
        self.touched_at = 0.0  # in the wheel's time: when bytes came or went
        self.served = 0  # responses completed
        self.tunnel: Tunnel | None = None  # set by who answered an Upgrade
        self.closing = False
        self.paused = False
        self.idle_since = 0.0
        self.idle_limit_s = 0.0
        self.born = pool.wheel.now
        self.busy = False  # counted as outstanding
        self.handed = False  # the pool has it: from then on its loss is the pool's to count
        self.role_shadow = False

    # What the exchange asks for

    def begin(self, request: bytes) -> None:
        """Send a request head, its body to follow, and await the response."""
        self.state = _HEAD
        self.interim = 0
        self.request_open = True
        self.touched_at = self.pool.wheel.now
        self.transport.write(request)

    def begin_whole(self, request: bytes) -> None:
        """Send a whole request and await the response."""
        self.state = _HEAD
        self.interim = 0
        self.request_open = False
        self.pool.outbox.add(self, request)

    def send(self, data: bytes, framing: int) -> None:
        """Send a piece of the request's body."""
        self.touched_at = self.pool.wheel.now
        if not self.closing:
            self.transport.write(chunk(data) if framing == CHUNKED else data)

    def finish(self, framing: int, trailers: bytes) -> None:
        """The request's body is complete."""
        self.request_open = False
        if framing == CHUNKED and not self.closing:
            self.transport.write(last_chunk(trailers))

    def send_raw(self, data: bytes) -> None:
        """Tunnel bytes."""
        if not self.closing:
            self.transport.write(data)

    def end_half(self) -> None:
        """The client of a tunnel has said all it will."""
        if not self.closing:
            if self.endpoint.is_tls:
                self.close()
            else:
                self.transport.write_eof()

    def pause(self) -> None:
        if not self.paused and not self.closing:
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.paused and not self.closing:
            self.paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection with a reset: a peer must not take a torn request for a whole one."""
        self.exchange = None
        self.unsent = b""
        if self.closing:
            return
        self.closing = True
        reset_on_close(self.transport)
        self.transport.abort()

    def close(self) -> None:
        """Close an idle connection in peace."""
        self.exchange = None
        if not self.closing:
            self.closing = True
            self.send_unsent()
            self.transport.close()
            if self.transport.get_write_buffer_size():
                # A backend that takes nothing more would keep it open, and counted, for ever.
                self.pool.wheel.set(self, self.pool.backend.idle_timeout_s)

    # asyncio.Protocol, without its base class: a compiled class cannot have an interpreted base

    def as_protocol(self) -> asyncio.Protocol:
        """This connection as what the loop's factories return."""
        return cast(asyncio.Protocol, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # Nobody asked: an answer to nothing would be taken for the next request's.
            self.pool.discard(self)
            return
        exchange.answering = True
        state = self.state
        if state == _HEAD:
            self._take_head(data)
        elif state == _LENGTH:
            self._touch(exchange)
            self._take_length(exchange, data)
        elif state == _CHUNKS:
            self._touch(exchange)
            self._take_chunks(exchange, data)
        elif state == _CLOSE:
            self._touch(exchange)
            exchange.sink.on_data(exchange, data)
        elif self.tunnel is not None:
            self.tunnel.from_backend(data)

    def eof_received(self) -> bool:
        if self.exchange is not None and self.tunnel is not None:
            self.tunnel.backend_eof()
            return not self.endpoint.is_tls
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        is_clients = self.has_waited_for_client()
        self.closing = True
        self.unsent = b""
        exchange = self.exchange
        self.exchange = None
        self.pool.lost(self)
        if exchange is None:
            return
        if self.tunnel is not None:
            self.tunnel.backend_lost()
        elif self.state == _CLOSE and exc is None:
            exchange.complete(b"")
        else:
            detail = str(exc) if exc else "the backend closed the connection"
            kind = FailureKind.CLIENT_SLOW if is_clients else FailureKind.RESET
            exchange.fail(Failure(kind, detail, sent=True))

    def pause_writing(self) -> None:
        self.stuck = True
        self.untaken_at = self.untaken()
        if self.exchange is not None:
            self.exchange.upload_paused()

    def resume_writing(self) -> None:
        self.stuck = False
        if self.exchange is not None:
            self.exchange.upload_resumed()

    def on_deadline(self) -> None:
        exchange = self.exchange
        if self.closing:
            self.transport.abort()
        elif exchange is None:
            # The deadline may be what is left of a request's: idle time counts from its end.
            left_s = self.idle_since + self.idle_limit_s - self.pool.wheel.now
            if left_s > 0:
                self.pool.wheel.set(self, left_s)
            else:
                self.pool.discard(self)
        elif self._waits_for_client() and not exchange.out_of_time():
            # The client is the slow one; its own deadline decides.
            self._wait_longer(exchange)
        elif self.stuck and self.is_taken() and not exchange.out_of_time():
            # It takes the request's body, more slowly than it comes.
            self._wait_longer(exchange)
        else:
            waiting_for_head = self.state == _HEAD and not self.request_open
            kind = FailureKind.TIMEOUT if waiting_for_head else FailureKind.IDLE
            detail = "no response headers in time" if waiting_for_head else "no byte for too long"
            self.abort()
            exchange.fail(Failure(kind, detail, sent=True))

    # Reading the response

    def _touch(self, exchange: "Exchange") -> None:
        self.touched_at = self.pool.wheel.now
        self._wait_longer(exchange)

    def _wait_longer(self, exchange: "Exchange") -> None:
        self.pool.wheel.set(self, exchange.within_limit(self.pool.backend.idle_timeout_s))

    def _take_head(self, data: bytes) -> None:
        exchange = cast("Exchange", self.exchange)
        if self.buffer:
            data = self.buffer + data
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > MAX_HEAD_BYTES or not b"HTTP/1.".startswith(data[:7]):
                    self._protocol_failure(exchange, "the backend does not answer in HTTP/1")
                elif data.count(b"\n") != data.count(b"\r\n"):
                    # The head's end may never come, or far behind it.
                    self._protocol_failure(exchange, "a line of the head ends in a bare LF")
                else:
                    self.buffer = data
                return
            size = len(data)
            head = parse_response_head(data if end == size else data[:end])
            if isinstance(head, Refusal):
                self._protocol_failure(exchange, head.text)
                return
            data = b"" if end == size else data[end:]
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(exchange, head, data)
                return
            # They do not extend the deadline of the head, and a flood of them is no answer.
            self.interim += 1
            if self.interim > MAX_INTERIM:
                self._protocol_failure(exchange, "the backend sent too many interim answers")
                return
            exchange.sink.on_interim(exchange, head)
            if self.exchange is not exchange:
                return
            if not data:
                self.buffer = b""
                return
        self.buffer = b""
        framing = head.framing(exchange.method)
        if (
            framing == len(data)
            and head.keep_alive
            and not self.request_open
            and not self.closing
            and (exchange.framing == 0 or not self._has_unsent())
        ):
            # The whole response in one piece, as most are.
            self.exchange = None
            self.state = _IDLE
            self.served += 1
            endpoint = self.endpoint
            if not 502 <= head.status <= 504:
                endpoint.failures = endpoint.ejections = 0
            else:
                self.pool.count_failure(endpoint)
            self.pool.release(self, head.special.get(b"keep-alive"))
            exchange.ended = True
            exchange.connection = None
            exchange.head = head
            exchange.head_at = perf_counter()
            exchange.sink.on_whole(exchange, head, data)
            return
        self.head = head
        if framing == 0:
            exchange.on_head(head, 0)
            if self.exchange is exchange:
                self._complete(exchange, data, b"")
            return
        self._touch(exchange)
        if framing > 0:
            self.state = _LENGTH
            self.left = framing
        elif framing == CHUNKED:
            self.state = _CHUNKS
            self.decoder = ChunkedDecoder()
        else:
            self.state = _CLOSE
        exchange.on_head(head, framing)
        if data and self.exchange is exchange:
            if framing > 0:
                self._take_length(exchange, data)
            elif framing == CHUNKED:
                self._take_chunks(exchange, data)
            else:
                exchange.sink.on_data(exchange, data)

    def _take_length(self, exchange: "Exchange", data: bytes) -> None:
        size = len(data)
        left = self.left
        if size < left:
            self.left = left - size
            exchange.sink.on_data(exchange, data)
            return
        self.left = 0
        rest = b""
        if size > left:
            rest = data[left:]
            data = data[:left]
        exchange.sink.on_data(exchange, data)
        if self.exchange is exchange:
            self._complete(exchange, rest, b"")

    def _take_chunks(self, exchange: "Exchange", data: bytes) -> None:
        decoder = cast(ChunkedDecoder, self.decoder)
        try:
            pieces = decoder.feed(data)
        except ChunkedError as error:
            self._protocol_failure(exchange, str(error))
            return
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            exchange.sink.on_data(exchange, piece)
        if decoder.done and self.exchange is exchange:
            self._complete(exchange, decoder.rest, decoder.trailers)

    def _complete(self, exchange: "Exchange", rest: bytes, trailers: bytes) -> None:
        """The response is whole: free the connection first, then tell the sink."""
        head = cast(ResponseHead, self.head)
        reusable = (
            head.keep_alive
            and not rest
            and not self.request_open
            and not self.closing
            and self.state != _CLOSE
            and not self._has_unsent()
        )
        self.exchange = None
        self.state = _IDLE
        self.decoder = None
        self.head = None
        self.served += 1
        if reusable:
            if self.paused:
                self.resume()
            self.pool.release(self, head.special.get(b"keep-alive"))
        else:
            # Closing with a request body under way must not look like a whole request.
            self.pool.discard(self)
        exchange.complete(trailers)

    def _has_unsent(self) -> bool:
        """Whether the backend has answered before it took the whole request."""
        return bool(self.unsent) or self.transport.get_write_buffer_size() > 0

    def _waits_for_client(self) -> bool:
        """Whether the client takes no more of the answer, or owes more of the request's body."""
        return self.paused or (self.request_open and not self._has_unsent())

    def is_held_by_client(self) -> bool:
        """Whether the client keeps this from going on now, and the backend does not."""
        return self.exchange is not None and not self.stuck and self._waits_for_client()

    def has_waited_for_client(self) -> bool:
        """Whether that has been so for CLIENT_SLOW_S at least.

        A backend that breaks off then, by a time-out of its own, is not to blame for it.
        """
        return self.is_held_by_client() and (self.pool.wheel.now - self.touched_at >= CLIENT_SLOW_S)

    def _switch(self, exchange: "Exchange", head: ResponseHead, data: bytes) -> None:
        if not exchange.upgrade:
            self._protocol_failure(exchange, "the backend switched protocols unasked")
            return
        self.state = _TUNNEL
        self.buffer = b""
        self.pool.wheel.forget(self)
        exchange.head_at_now(head)
        exchange.sink.on_switch(exchange, head)
        if data and self.tunnel is not None:
            self.tunnel.from_backend(data)

    def _protocol_failure(self, exchange: "Exchange", detail: str) -> None:
        self.abort()
        exchange.fail(Failure(FailureKind.PROTOCOL, detail, sent=True))


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Let the close send RST instead of FIN (SO_LINGER 0): what was cut must not look whole."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
