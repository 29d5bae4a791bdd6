"""The way out to a client: what it is sent, and how its connection ends behind that.

What is refused closes the connection behind its answer, the framing being lost or the body unread:
the answer is flushed, our half closed, and the rest read and thrown away, since a reset would take
the answer with it (RFC 9112 §9.6). That goes on while something comes, at most LINGER_MOST_S, ends
LINGER_S after the last of it, and not before the client's system has taken the answer, for which
it has the time that a slow reader has.
"""

from typing import TYPE_CHECKING, Final

from proxy.edge.backend import reset_on_close
from proxy.edge.outbox import Outgoing

if TYPE_CHECKING:
    from proxy.edge.context import Edge

# What a client's connection is in.
HEAD: Final = 0  # between requests, or in a head
BODY: Final = 1
WAIT: Final = 2  # the request is here, its answer is not complete
LINGER: Final = 3  # all is said, the client may not have heard it yet
TUNNEL: Final = 4
CLOSED: Final = 5
# As nginx has them.
LINGER_S: Final = 5.0
LINGER_MOST_S: Final = 30.0


class Sending(Outgoing):
    """A client's connection as what is written to and closed. `state` is one of the above."""

    __slots__ = ("edge", "eof", "linger_until", "reading_paused", "state", "writing_paused")

    def __init__(self, edge: "Edge") -> None:
        super().__init__()
        self.edge = edge
        self.state = HEAD
        self.eof = False  # the client has said all it will
        self.reading_paused = False
        self.writing_paused = False
        self.linger_until = 0.0  # in the wheel's time

    def write(self, data: bytes) -> None:
        """Send to the client; what comes after the end is dropped."""
        if self.state != CLOSED:
            if self.unsent:
                self.send_unsent()
            self.transport.write(data)

    def write_whole(self, data: bytes) -> None:
        """Send a whole answer, with those to others at the end of the loop's turn."""
        if self.state != CLOSED:
            self.edge.outbox.add(self, data)

    def await_taking(self) -> None:
        """The client takes no more: from now on it has its time to."""
        self.untaken_at = -1
        self.edge.wheel.set(self, self.edge.limits.body_idle_s)

    def end_half(self) -> None:
        """The backend of a tunnel has said all it will."""
        if self.state != CLOSED:
            if self.edge.is_tls:
                self.close()
            else:
                self.transport.write_eof()

    def finish(self) -> None:
        """Close behind what was written, without losing it to a reset."""
        if self.state == CLOSED:
            return
        if self.eof or self.edge.is_tls:
            self.close()
            return
        self.state = LINGER
        if self.reading_paused:
            self.reading_paused = False
            self.transport.resume_reading()
        self.send_unsent()
        self.transport.write_eof()
        self.untaken_at = -1
        wheel = self.edge.wheel
        self.linger_until = wheel.now + LINGER_MOST_S
        wheel.set(self, LINGER_S)

    def linger_on(self) -> None:
        """Something came that nobody reads: wait for what follows it."""
        wheel = self.edge.wheel
        until = min(wheel.now + LINGER_S, self.linger_until)
        if until > self.deadline:
            wheel.set(self, until - wheel.now)

    def close(self) -> None:
        if self.state != CLOSED:
            self.state = CLOSED
            self.send_unsent()
            self.transport.close()
            is_tls = self.edge.is_tls
            if is_tls or self.transport.get_write_buffer_size():
                # A peer that takes nothing more would keep the transport open for ever. That of
                # TLS awaits the peer's own end, and hears it out until then without telling us.
                self.untaken_at = -1
                self.edge.wheel.set(self, LINGER_MOST_S if is_tls else LINGER_S)

    def abort(self) -> None:
        """Cut the connection: a torn answer must not look like a whole one."""
        self.unsent = b""
        reset_on_close(self.transport)
        self.transport.abort()

    def look_at_unsent(self) -> None:
        """A deadline has passed with something unsent, or with the end behind it."""
        is_taken = self.is_taken()
        is_over = self.state in (LINGER, CLOSED)
        if is_taken and (self.untaken_at or not is_over):
            self.edge.wheel.set(self, self.edge.limits.body_idle_s)
        elif is_over and not self.transport.get_write_buffer_size():
            # What the kernel still has it goes on sending; a reset would throw that away.
            self.transport.abort()
        else:
            self.edge.tallies.refuse("client_stalled")
            self.abort()
