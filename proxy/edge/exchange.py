"""One request to one side, from asking for a connection to its outcome.

An exchange retries by itself where the RFCs allow it and nobody can tell: on another connection
when a reused one turned out dead before its first response byte (RFC 9112 §9.3.1), for
idempotent methods with a replayable body alone (RFC 9110 §9.2.2), and at another URL when no
connection could be made. Everything else is told to its sink, once.
"""

import time
from typing import TYPE_CHECKING, Final, Protocol

from proxy.core.chunked import chunk, last_chunk
from proxy.core.message import CHUNKED, ResponseHead
from proxy.core.model import Failure, FailureKind, Side

if TYPE_CHECKING:
    from proxy.edge.backend import BackendConnection
    from proxy.edge.pool import Pool

WHOLE_BYTES: Final = 64 << 10  # a request with a body of this size goes out in one piece
IDEMPOTENT: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
NO_BODY: Final[list[bytes]] = []
# Failures that say nothing of the side: we had no room for the exchange.
OUR_WANT: Final = (FailureKind.POOL_FULL, FailureKind.NO_DESCRIPTORS)
_NO_LIMIT: Final = float("inf")


class Sink(Protocol):
    """Who an exchange reports to."""

    def on_whole(self, exchange: "Exchange", head: ResponseHead, body: bytes) -> None: ...
    def on_interim(self, exchange: "Exchange", head: ResponseHead) -> None: ...
    def on_head(self, exchange: "Exchange", head: ResponseHead, framing: int) -> None: ...
    def on_data(self, exchange: "Exchange", data: bytes) -> None: ...
    def on_end(self, exchange: "Exchange", trailers: bytes) -> None: ...
    def on_failure(self, exchange: "Exchange", failure: Failure) -> None: ...
    def on_upload_paused(self, exchange: "Exchange") -> None: ...
    def on_upload_resumed(self, exchange: "Exchange") -> None: ...
    def on_switch(self, exchange: "Exchange", head: ResponseHead) -> None: ...


class Exchange:
    """A request to one side.

    `body` is the whole body, in pieces, where it is known, None while it streams.
    """

    # Most exchanges keep most of these: defaults of the class cost nothing to set.
    connection: "BackendConnection | None" = None
    head: ResponseHead | None = None
    head_at = 0.0
    limit_at = _NO_LIMIT  # in the wheel's time
    failure: Failure | None = None
    ended = False
    answering = False  # a response byte has come
    one_of_few = False  # a shadow of a route that has few under way
    cost = ""  # of a shadow that came to nothing: for what reason the like of it is skipped
    tried = 0  # connections asked for
    wait_until = 0.0  # while it waits in the pool's queue
    stream_done = True
    started = 0.0
    url = -1  # which one of several it went to
    sent = 0  # pieces of the whole body

    def __init__(
        self,
        sink: Sink,
        side: Side,
        pool: "Pool",
        method: str,
        request: bytes,
        framing: int,
        body: list[bytes] | None,
        trailers: bytes = b"",
        shadow: bool = False,
        upgrade: bool = False,
    ) -> None:
        self.sink = sink
        self.side = side
        self.at = 0 if side is Side.LEGACY else 1  # the side as an index of counts and pairs
        self.pool = pool
        self.method = method
        self.request = request  # the head, with its closing empty line
        self.framing = framing  # of the request's body
        self.body = body
        self.trailers = trailers
        self.shadow = shadow
        self.upgrade = upgrade
        self.head_timeout_s = pool.timeout_s
        # Whether it may be sent again if a reused connection turns out to be dead.
        self.repeatable = body is not None and method in IDEMPOTENT and not upgrade
        if body is None:
            self.stream_done = False
            self.stream_buffer: list[bytes] = []  # body that came before the connection

    def start(self) -> None:
        """Ask the pool for a connection; the request is sent as soon as there is one."""
        self.started = time.perf_counter()
        self.pool.acquire(self)

    def limit(self, seconds: float) -> None:
        """Bound the whole exchange."""
        self.limit_at = self.pool.wheel.now + seconds

    def unlimited(self) -> None:
        """Lift that bound: a shadow became the answer."""
        self.limit_at = _NO_LIMIT
        if self.connection is not None or self.tried == 0:
            # What it holds counts as a shadow's; where it is sent again it asks as an answer.
            self.shadow = False

    def within_limit(self, seconds: float) -> float:
        """So many seconds, or what is left of the whole exchange's bound."""
        limit_at = self.limit_at
        if limit_at == _NO_LIMIT:
            return seconds
        return max(0.0, min(seconds, limit_at - self.pool.wheel.now))

    def out_of_time(self) -> bool:
        return self.pool.wheel.now >= self.limit_at

    def send(self, data: bytes) -> None:
        """A piece of a streaming body."""
        connection = self.connection
        if connection is None:
            # Nothing takes it yet: the client stops at what its connection has read.
            self.stream_buffer.append(data)
            self.sink.on_upload_paused(self)
        else:
            pool = self.pool
            connection.send(data, self.framing)
            pool.wheel.set(connection, self.within_limit(pool.backend.idle_timeout_s))

    def upload_paused(self) -> None:
        """The backend does not take the body as fast as it comes."""
        if not self._has_kept():
            self.sink.on_upload_paused(self)

    def upload_resumed(self) -> None:
        """The backend takes more of the body."""
        connection, body = self.connection, self.body
        if connection is not None and body is not None and self._has_kept():
            self._send_kept(connection, body)
        else:
            self.sink.on_upload_resumed(self)

    def _has_kept(self) -> bool:
        """Whether the whole body is here, and not all of it has been sent."""
        connection = self.connection
        return connection is not None and connection.request_open and self.body is not None

    def _send_kept(self, connection: "BackendConnection", body: list[bytes]) -> None:
        """Send what is taken; the rest stays where it is kept, and goes when it is."""
        while self.sent < len(body):
            piece = body[self.sent]
            self.sent += 1
            self.send(piece)
            # A write may pause us, and may come back here before it returns.
            if connection.stuck or self.connection is not connection:
                return
        if connection.request_open:
            self.finish(self.trailers)

    def finish(self, trailers: bytes) -> None:
        """A streaming body is complete."""
        self.stream_done = True
        self.trailers = trailers
        connection = self.connection
        if connection is not None:
            connection.finish(self.framing, trailers)
            pool = self.pool
            timeout_s = self.head_timeout_s if self.head is None else pool.backend.idle_timeout_s
            pool.wheel.set(connection, self.within_limit(timeout_s))

    def cancel(self) -> None:
        """Give it up: nothing more is told to the sink."""
        if self.ended:
            return
        self.ended = True
        connection = self.connection
        self.connection = None
        if connection is not None:
            connection.abort()
        else:
            self.pool.forget(self)

    def cancel_as(self, reason: str) -> None:
        """Give up a shadow whose answer, for this reason, is of no use."""
        if self.shadow and self.connection is not None:
            self.cost = reason
            self.pool.restraint.cost()
        self.cancel()

    def pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()

    # Told by the pool and the connection

    def connected(self, connection: "BackendConnection") -> None:
        """The pool found a connection."""
        self.connection = connection
        body = self.body
        request = self.request
        connection.exchange = self
        if self.pool.only is None:
            self.url = self.pool.endpoints.index(connection.endpoint)
        if body is None:
            connection.begin(request)
            buffered, self.stream_buffer = self.stream_buffer, []
            if buffered:
                # Before they are sent, which may pause it again.
                self.sink.on_upload_resumed(self)
            for data in buffered:
                connection.send(data, self.framing)
            if self.stream_done:
                connection.finish(self.framing, self.trailers)
                timeout_s = self.head_timeout_s
            else:
                timeout_s = self.pool.backend.idle_timeout_s
        elif self.framing == 0:
            connection.begin_whole(request)
            timeout_s = self.head_timeout_s
        elif sum([len(piece) for piece in body]) <= WHOLE_BYTES:
            whole = b"".join(body)
            if self.framing == CHUNKED:
                whole = chunk(whole) + last_chunk(self.trailers)
            connection.begin_whole(request + whole)
            timeout_s = self.head_timeout_s
        else:
            connection.begin(request)
            self.sent = 0
            self._send_kept(connection, body)
            return
        if self.limit_at != _NO_LIMIT:
            timeout_s = self.within_limit(timeout_s)
        self.pool.wheel.set(connection, timeout_s)

    def not_connected(self, failure: Failure) -> None:
        """The pool found none."""
        self.fail(failure)

    def on_head(self, head: ResponseHead, framing: int) -> None:
        self.head = head
        self.head_at = time.perf_counter()
        if not 502 <= head.status <= 504:
            self.pool.succeeded(self)
        self.sink.on_head(self, head, framing)

    def head_at_now(self, head: ResponseHead) -> None:
        """The exchange became a tunnel."""
        self.head = head
        self.head_at = time.perf_counter()

    def complete(self, trailers: bytes) -> None:
        """The response is whole."""
        if not self.ended:
            self.ended = True
            if self.head is not None and 502 <= self.head.status <= 504:
                self.pool.failed(self)
            self.connection = None
            self.sink.on_end(self, trailers)

    def fail(self, failure: Failure) -> None:
        """The exchange came to nothing, or is tried once more."""
        if self.ended:
            return
        connection = self.connection
        self.connection = None
        if (
            failure.kind is FailureKind.RESET
            and connection is not None
            and connection.served
            and not self.answering
            and self.repeatable
            and self.tried < 3
        ):
            if self.shadow:
                self.pool.restraint.cost()
            self.pool.acquire(self, fresh=True)
            return
        self.ended = True
        self.failure = failure
        if failure.sent:
            self.pool.failed(self, connection)
        if self.shadow and failure.kind not in OUR_WANT:
            self.cost = "no_connection"
            if failure.sent:
                self.pool.restraint.cost()
        self.sink.on_failure(self, failure)

    def comes(self) -> bool:
        """Whether the response has begun, and its side may still be the one that goes on."""
        connection = self.connection
        if self.head is None or connection is None:
            return False
        pool = self.pool
        return pool.wheel.now - connection.touched_at < pool.backend.idle_timeout_s

    def seconds(self) -> float:
        """Time to the response head, or to the failure: streaming and slow clients stay out."""
        return (self.head_at or time.perf_counter()) - self.started
