"""One client request on its way: its body in, its exchanges, the answer out.

The rules that span it:

1. The client's answer comes from one exchange, `answering`; the `other` one is only observed.
2. A body that is short, or owed to both sides, is read whole before any side is asked, so that a
   client that goes away tears nothing; other bodies stream.
3. The answer is written in one piece with its first body bytes, and cut with a reset if it
   cannot become whole.
4. Whatever happens, `_end` runs once, and everything counted as under way is given back there.

Reads and writes differ in what they begin and do beside the answer: `reading` and `writing`. The
answer itself, and what is kept until the end, is `replying`.
"""

from typing import Final

from proxy.core.chunked import chunk
from proxy.core.forwarding import interim_bytes, is_event_stream, loops, trailer_lines
from proxy.core.message import CHUNKED, Refusal, ResponseHead
from proxy.core.model import Failure, FailureKind, Side
from proxy.core.planning import under_maintenance
from proxy.edge.answers import FAILURE_STATUS
from proxy.edge.body import KeptBody
from proxy.edge.exchange import NO_BODY, Exchange
from proxy.edge.pair import Pair, code_of
from proxy.edge.replying import Replying
from proxy.edge.tunnel import Tunnel

SMALL_BODY_BYTES: Final = 64 << 10
# Answers that a shadow is given up for: it would be so the next time as well.
_OF_NO_USE: Final = ("body_too_large", "event_stream")


class Relay(Replying):
    """Owns the exchanges of one client request. `client` is None once it has no more part."""

    # What reads and writes fill in

    def begin(self) -> None:
        """Plan, and either begin or say how the body is read."""
        raise AssertionError("a relay is a read or a write")

    def body_ready(self) -> None:
        """The body that was awaited is here."""

    def body_streamed(self) -> None:
        """The body that streamed is complete."""

    def answer_begins(self, exchange: Exchange, head: ResponseHead) -> bool:
        """Look at the answer's head first; True where it is not for the client after all."""
        return False

    def answer_fails(self, exchange: Exchange) -> bool:
        """No answer came, and no byte of one; True where another will come."""
        return False

    def other_ended(self, exchange: Exchange) -> None:
        """The other side is done: answered, failed or given up."""

    def client_left(self) -> None:
        """The client went before its answer was complete: give up, or go on without it."""

    def on_deadline(self) -> None:
        """A time that was set for this request has passed."""

    # From the client

    def start(self) -> None:
        """Plan the request and begin; the body, if any, follows by `on_body`."""
        service = self.service
        service.live.tally.client_request()
        if loops(self.request.head):
            self.refuse(Refusal(508, "loop", "this request has been through this proxy before"))
        elif service.route.maintenance is not None and under_maintenance(
            service.route, self.is_read
        ):
            self.refuse(Refusal(503, "maintenance", "this route is under maintenance"))
        else:
            self.begin()

    def on_body(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self.body is not None:
            self._keep(self.body, data)
        if self.streaming and self.answering is not None:
            self.answering.send(data)

    def on_body_end(self, trailers: bytes) -> None:
        """The request's body is complete."""
        if trailers:
            trailers = trailer_lines(trailers, self.request.head, self.service.override_header)
        self.trailers = trailers
        if self.awaiting_body:
            self.awaiting_body = False
            self.body_ready()
        elif self.streaming:
            self.streaming = False
            if self.answering is not None:
                self.answering.finish(trailers)
            self.body_streamed()

    def refuse_body(self, refusal: Refusal) -> bool:
        """The request's body is bad: answer so; False where an answer has already begun."""
        if self._answer_begun():
            return False
        if self.answering is not None:
            self.answering.cancel()
        self.refuse(refusal)
        return True

    def client_gone(self) -> None:
        """The client's connection is lost."""
        self.client = None
        if self.over:
            return
        if self.tunnel is not None:
            self.tunnel.close()
            self._end()
        else:
            self.client_left()

    # From exchanges (the Sink)

    def on_interim(self, exchange: Exchange, head: ResponseHead) -> None:
        # 1.0 clients know no interim answers; where the body was read whole, the 100 was ours.
        wanted = self.request.head.minor == 1 and (head.status != 100 or self.streaming)
        if wanted and exchange is self.answering and self.client is not None:
            self.client.write(interim_bytes(head))

    def on_whole(self, exchange: Exchange, head: ResponseHead, body: bytes) -> None:
        self.on_head(exchange, head, len(body))
        if exchange is self.answering or exchange is self.other:
            if body:
                self.on_data(exchange, body)
            self.on_end(exchange, b"")

    def on_head(self, exchange: Exchange, head: ResponseHead, framing: int) -> None:
        if exchange is self.answering:
            if self.answer_begins(exchange, head):
                return
            if self.pair is not None:
                self._pair_head(self.pair, exchange, head, framing)
            self._answer_head(head, framing)
        elif self.pair is not None:
            self._pair_head(self.pair, exchange, head, framing)

    def on_data(self, exchange: Exchange, data: bytes) -> None:
        pair = self.pair
        if pair is not None and not pair.take_body(exchange.at, data):
            self.give_up_other(pair.skipped)
        if exchange is self.answering:
            if self.out_framing == CHUNKED:
                data = chunk(data)
            if self.out:
                data = self.out + data
                self.out = b""
            self.write(data)

    def on_end(self, exchange: Exchange, trailers: bytes) -> None:
        self.count(exchange)
        if exchange is self.answering:
            self.finish_answer(trailers)
        else:
            self.other_ended(exchange)
        self.end_if_done()

    def on_failure(self, exchange: Exchange, failure: Failure) -> None:
        self.count(exchange)
        if exchange is not self.answering:
            self.other_ended(exchange)
            self.end_if_done()
        elif self._answer_begun():
            # Half an answer: it must not look like a whole one.
            self.answer_done = True
            client, self.client = self.client, None
            if self.other is not None and not self.other.ended:
                self.detach()
            if client is not None:
                client.relay = None
                client.abort()
            self.end_if_done()
        elif not self.answer_fails(exchange):
            side = exchange.side.value
            self.refuse(
                Refusal(
                    FAILURE_STATUS[failure.kind],
                    f"{side}_{failure.kind.value}",
                    f"the {side} backend gave no answer ({failure.kind.value})",
                )
            )

    def on_upload_paused(self, exchange: Exchange) -> None:
        if exchange is self.answering and self.client is not None:
            self.client.pause_reading()

    def on_upload_resumed(self, exchange: Exchange) -> None:
        if exchange is self.answering and self.client is not None:
            self.client.resume_reading()

    def on_switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """The backend agreed to the Upgrade: from here on, bytes."""
        connection = exchange.connection
        client = self.client
        if connection is None or client is None or exchange is not self.answering:
            # There is nobody to talk to. It is over all the same: others wait for its end.
            if connection is not None:
                connection.abort()
            exchange.fail(Failure(FailureKind.PROTOCOL, "a switch with no client", sent=True))
            return
        self.count(exchange)
        exchange.ended = True
        self.answer_done = True
        self.tunnel = connection.tunnel = Tunnel(client, connection, self.edge.wheel)
        self.tunnel.open(head)

    # The exchanges

    def exchange_with(
        self, side: Side, *, as_shadow: bool = False, may_be_shed: bool = False
    ) -> Exchange:
        """A new exchange with one side, not started yet."""
        request = self.request
        service = self.service
        body: list[bytes] | None = NO_BODY
        if request.framing != 0:
            kept = self.body
            body = kept.pieces if kept is not None and not self.streaming else None
        return Exchange(
            self,
            side,
            service.pool(side),
            request.method,
            request.to_side(service, side, as_shadow=as_shadow, second=self.falling_back),
            request.framing,
            body,
            self.trailers,
            may_be_shed,
            request.upgrade,
        )

    def body_is_whole(self) -> bool:
        """Whether the request can be sent (again) as a whole."""
        return self.request.framing == 0 or (not self.streaming and self.body is not None)

    def make_pair(self, authoritative: Side, write: bool) -> Pair:
        return Pair(self.edge, self.service, self.request, authoritative, write)

    def count(self, exchange: Exchange) -> None:
        """Count an exchange that is done."""
        self.service.live.tally.exchange(
            self.service.phase, exchange.at, code_of(exchange), exchange.seconds()
        )
        if self.pair is not None:
            self.pair.record(exchange.at, exchange)

    def give_up_other(self, reason: str) -> None:
        """End the observed side's exchange; it is no longer of use."""
        pair, other = self.pair, self.other
        if pair is not None:
            pair.skip(reason)
        if other is not None and not other.ended and not (pair is not None and pair.write):
            if reason in _OF_NO_USE:
                other.cancel_as(reason)
            else:
                other.cancel()
            if pair is not None:
                pair.record(other.at, other)
            self.other_ended(other)
            self.end_if_done()

    def _pair_head(self, pair: Pair, exchange: Exchange, head: ResponseHead, framing: int) -> None:
        pair.take_head(exchange.at, head)
        if pair.write:
            return
        if framing > self.service.route.shadow.max_body_bytes:
            self.give_up_other("body_too_large")
        elif framing != 0 and is_event_stream(head.raw):
            self.give_up_other("event_stream")

    def _keep(self, body: KeptBody, data: bytes) -> None:
        limit = self.body_limit
        if limit is not None and body.size + len(data) > limit:
            if self.awaiting_body:
                self.refuse(Refusal(413, "write_body", f"a write here has at most {limit} bytes"))
            else:
                self.stop_keeping("body_too_large")
        elif not body.add(data):
            if self.awaiting_body or self.answering is None:
                self.refuse(Refusal(503, "memory", "too many request bodies are held in memory"))
            else:
                self.stop_keeping("memory")
