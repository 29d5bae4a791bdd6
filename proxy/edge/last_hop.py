"""A request that asks for the last proxy it may reach: TRACE or OPTIONS with `Max-Forwards: 0`.

No side is asked (RFC 9110 §7.6.2). TRACE is told how the request came here, OPTIONS that somebody
listens.
"""

from proxy.core.forwarding import traced
from proxy.edge.answers import own_answer
from proxy.edge.relay import Relay


class LastHop(Relay):
    """Answers by itself, whatever the route is in."""

    def start(self) -> None:
        tally = self.service.live.tally
        tally.client_request()
        tally.event("max_forwards")
        client = self.client
        if client is None:
            return
        request = self.request
        head = request.head
        # An unread body leaves the connection without framing: it is closed behind.
        self.keep_alive = head.keep_alive and client.body_is_read() and not self.edge.draining
        is_trace = request.method == "TRACE"
        client.write(
            own_answer(
                b"200 OK",
                b"Content-Type: message/http\r\n" if is_trace else b"",
                traced(head) if is_trace else b"",
                request.id,
                self.edge.date.now(),
                keep_alive=self.keep_alive,
                minor=head.minor,
            )
        )
        self.answer_done = True
        self.answered()
        self.end_if_done()
