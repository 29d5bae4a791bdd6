"""The answer to one client request: how it is begun, written, refused, and what ends with it.

What a relay keeps is declared here; `relay` says which exchange fills the answer. The rules that
span both stand there.
"""

from typing import TYPE_CHECKING

from proxy.core.chunked import last_chunk
from proxy.core.forwarding import response_bytes, trailer_lines
from proxy.core.message import CHUNKED, UNTIL_CLOSE, Refusal, ResponseHead
from proxy.edge.alone import observe_alone
from proxy.edge.body import KeptBody
from proxy.edge.exchange import Exchange
from proxy.edge.pair import Pair
from proxy.edge.request import ForwardedRequest
from proxy.edge.table import Service
from proxy.edge.tunnel import Tunnel
from proxy.edge.wheel import Timed

if TYPE_CHECKING:
    from proxy.edge.client import ClientConnection


class Replying(Timed):
    """What the client of one request gets, and what is under way for it."""

    is_read = True

    # What most requests leave as it is: defaults of the class cost nothing to set.
    answering: Exchange | None = None  # whose answer the client gets
    other: Exchange | None = None  # the shadow, or the second write
    failed_first: Exchange | None = None  # the one before `answering`, where there is no pair
    pair: Pair | None = None  # where both sides' outcomes are put together
    tunnel: Tunnel | None = None
    # The request's body, kept for as long as it may have to be sent (again).
    body: KeptBody | None = None
    body_limit: int | None = None
    trailers = b""
    awaiting_body = False  # read whole before any side is asked
    streaming = False  # sent on as it comes, and not complete yet
    out = b""  # the answer's head, until its first piece of body
    out_framing = 0
    keep_alive = False
    answer_done = False
    falling_back = False  # the side asked first has failed: the other one answers
    detached = False  # goes on without its client
    over = False
    judged = True  # what it comes to is evidence

    def __init__(
        self, client: "ClientConnection", service: Service, request: ForwardedRequest
    ) -> None:
        super().__init__()
        self.client: ClientConnection | None = client
        self.edge = client.edge
        self.service = service
        self.request = request
        if request.framing != 0:
            self.body = KeptBody(self.edge)

    def ending(self) -> None:
        """Give back what is counted as under way."""

    # The answer

    def refuse(self, refusal: Refusal) -> None:
        """Answer by ourselves, and end."""
        client = self.client
        if client is not None:
            # An unread body leaves the connection without framing: it is closed behind.
            request = self.request
            keep_alive = request.head.keep_alive and client.body_is_read()
            self.keep_alive = keep_alive and not self.edge.draining
            client.write(request.refusal_bytes(refusal, self.keep_alive))
        self.service.live.tally.event("refused_" + refusal.code)
        self.answer_done = True
        self.awaiting_body = self.streaming = False
        self.answered()
        self.end_if_done()

    def write(self, data: bytes) -> None:
        """A piece of the answer as it goes to the client."""
        if self.client is not None:
            self.client.write(data)

    def finish_answer(self, trailers: bytes) -> None:
        """The answer is complete."""
        out = self.out
        self.out = b""
        if self.out_framing == CHUNKED:
            answering = self.answering
            if trailers and answering is not None and answering.head is not None:
                trailers = trailer_lines(trailers, answering.head)
            out += last_chunk(trailers)
        if out:
            self.write(out)
        self.answer_done = True
        self.answered()

    def client_paused(self) -> None:
        """The client does not take its answer as fast as it comes."""
        if self.tunnel is not None:
            self.tunnel.pause()
        elif self.answering is not None:
            self.answering.pause()

    def client_resumed(self) -> None:
        if self.tunnel is not None:
            self.tunnel.resume()
        elif self.answering is not None:
            self.answering.resume()

    def answered(self) -> None:
        """The client has its answer; what is still under way goes on without it."""
        client, self.client = self.client, None
        if client is None:
            return
        other = self.other
        if other is not None and not other.ended:
            self.detach()
        client.answered(self.keep_alive)

    def detach(self) -> None:
        """Go on without the client; a worker that drains waits for this too."""
        if not self.detached:
            self.detached = True
            self.edge.relay_detached()

    def end_if_done(self) -> None:
        """End where nothing is under way any more."""
        answering, other = self.answering, self.other
        if (
            not self.over
            and self.answer_done
            and self.client is None
            and (answering is None or answering.ended)
            and (other is None or other.ended)
        ):
            self._end()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        self.ending()
        if self.pair is not None:
            self.pair.conclude()
        elif self.answering is not None:
            observe_alone(self, self.answering, self.judged)
        if self.body is not None:
            self.stop_keeping()
        if self.slot:
            self.edge.wheel.forget(self)
        # No cycles are left for the garbage collector.
        self.answering = self.other = self.failed_first = self.pair = self.tunnel = None
        if self.detached:
            self.edge.relay_over()

    def _answer_head(self, head: ResponseHead, framing: int) -> None:
        if self.client is None:
            return
        request_head = self.request.head
        keep_alive = request_head.keep_alive and not self.streaming and not self.edge.draining
        self.out, self.out_framing = response_bytes(
            head, framing, request_head.minor, keep_alive, self.edge.date.now()
        )
        if request_head.method == "HEAD":
            self.out_framing = 0
        self.keep_alive = keep_alive and self.out_framing != UNTIL_CLOSE
        if self.client.writing_paused:
            # It was so before there was anything to pause.
            self.client_paused()
        if framing < 0:
            # A body of unknown length may come slowly: its head is not held back for it.
            out, self.out = self.out, b""
            self.write(out)

    def _answer_begun(self) -> bool:
        answering = self.answering
        return self.answer_done or (answering is not None and answering.head is not None)

    # The body it may have to be asked for again with

    def stop_keeping(self, reason: str = "") -> None:
        """The body is not sent again: let it go. With a reason, there is no pair either."""
        body, self.body = self.body, None
        if body is not None:
            body.release()
        if reason and self.pair is not None:
            self.pair.skip(reason)
