"""A write: through the gate, to the authoritative side, then to the other one.

The gate: no write is sent while authority moves, and none that a side will lack before the flag
missed(route, side) is durable. A write that began is carried through with or without its client,
and is under way until its sides have answered, however slowly its client reads.
The second side gets it once, after the first has succeeded; here is the place where a durable
journal takes over that delivery. Until then a second write that fails is an error and sets the
flag.
"""

from typing import TYPE_CHECKING, Final

from proxy.core.message import Refusal, ResponseHead
from proxy.core.planning import WritePlan
from proxy.edge.exchange import Exchange
from proxy.edge.pair import code_of
from proxy.edge.relay import SMALL_BODY_BYTES, Relay
from proxy.edge.table import MAX_PARKED, Service

if TYPE_CHECKING:
    pass

MAX_HELD_ANSWER_BYTES: Final = 64 << 10


class WriteRelay(Relay):
    """Executes a WritePlan."""

    is_read = False

    plan: WritePlan  # from `begin` on
    to_new = False
    parked = False
    counted = False  # among the route's writes under way
    holding: list[bytes] | None = None  # the answer, held back for `ack: both`
    holding_bytes = 0

    def begin(self) -> None:
        service = self.service
        request = self.request
        framing = request.framing
        self.to_new = service.write_draw and request.draws_new(service)
        plan = self.plan = service.writes[self.to_new]
        if framing == 0:
            self._pass_gate()
        elif plan.second is not None:
            if framing > service.route.write_body_bytes:
                self._refuse_size(service.route.write_body_bytes)
            else:
                self._read_whole()
        elif 0 < framing <= SMALL_BODY_BYTES and not request.expects_continue:
            self.awaiting_body = True
        else:
            self.streaming = True
            self._pass_gate()

    def body_ready(self) -> None:
        self._pass_gate()

    def body_streamed(self) -> None:
        if self.answering is not None and self.answering.head is not None:
            self._settle()

    # The gate

    def _pass_gate(self) -> None:
        """Begin where the route's state lets writes pass; else wait for the next state."""
        service = self.service
        state = service.state
        plan = self.plan = service.writes[self.to_new]
        if state.writes_paused:
            self._park()
        elif plan.misses is not None and plan.misses not in state.missed:
            self._park()
            if self.parked:
                self.edge.ask_missing(service, plan.misses, "a write is not sent there")
        elif plan.second is not None and self.streaming:
            # It became owed to both sides while it waited: now its body is needed whole.
            self.streaming = False
            self._read_whole()
            if self.client is not None:
                self.client.resume_reading()
        else:
            self._ask(plan)

    def _read_whole(self) -> None:
        """Read the body whole before any side is asked; the 100 is ours to give then."""
        self.body_limit = self.service.route.write_body_bytes
        self.awaiting_body = True
        if self.client is not None and self.request.expects_continue:
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _park(self) -> None:
        parked = self.service.live.parked
        if len(parked) >= MAX_PARKED:
            self._refuse_paused()
            return
        self.parked = True
        parked.append(self)
        if self.streaming and self.client is not None:
            self.client.pause_reading()
        self.edge.wheel.set(self, self.edge.switch_timeout_s)

    def unpark(self, service: Service) -> None:
        """The route has a new state (the caller took this relay out of `parked`)."""
        self.parked = False
        self.edge.wheel.forget(self)
        self.service = service
        self._pass_gate()

    def _ask(self, plan: WritePlan) -> None:
        self.counted = True
        self.service.live.writes += 1
        if plan.second is not None:
            self.pair = self.make_pair(plan.answer, write=True)
        exchange = self.exchange_with(plan.answer)
        self.answering = exchange
        if self.streaming:
            # What came while it was parked goes first; from here on nothing is kept.
            if self.body is not None:
                for piece in self.body.pieces:
                    exchange.send(piece)
            self.stop_keeping()
            if self.client is not None:
                self.client.resume_reading()
        exchange.start()

    # The second side

    def answer_begins(self, exchange: Exchange, head: ResponseHead) -> bool:
        plan = self.plan
        if plan.second is not None and 200 <= head.status < 400:
            if plan.wait_for_second and self.client is not None:
                self.holding = []
                self.edge.wheel.set(self, self.service.route.ack_timeout_s)
            second = self.exchange_with(plan.second, as_shadow=True)
            self.other = second
            second.start()
        elif not self.streaming:
            self._settle()
        return False

    def count(self, exchange: Exchange) -> None:
        super().count(exchange)
        # A failure, a time-out or a 5xx leaves open whether the write was done.
        if self.pair is not None and exchange is self.answering and code_of(exchange) >= 500:
            self.service.live.tally.event("uncertain_write")

    def other_ended(self, exchange: Exchange) -> None:
        head = exchange.head
        if exchange.failure is not None or head is None or not 200 <= head.status < 400:
            self.service.live.tally.event("second_write_failed")
            self.edge.ask_missing(self.service, exchange.side, "a second write failed")
        self._settle()
        if self.holding is not None:
            self._release_answer()

    def _settle(self) -> None:
        """No longer under way: the rest of the answer, which its client holds up, orders nothing.

        That is with the head of the answer to the whole request, as the second write follows that
        too; with the end of the second write where there is one; and at the latest with the relay.
        """
        if self.counted:
            self.counted = False
            self.edge.write_ended(self.service)

    # The answer

    def write(self, data: bytes) -> None:
        holding = self.holding
        if holding is None:
            super().write(data)
            return
        holding.append(data)
        self.holding_bytes += len(data)
        if self.holding_bytes > MAX_HELD_ANSWER_BYTES and self.answering is not None:
            self.answering.pause()

    def answered(self) -> None:
        if self.holding is None:
            super().answered()

    def _release_answer(self) -> None:
        """The second side has the write, or has had its time: the client gets its answer."""
        holding, self.holding = self.holding, None
        self.edge.wheel.forget(self)
        if holding and self.client is not None:
            self.client.write(b"".join(holding))
        if self.answer_done:
            self.answered()
        elif self.answering is not None:
            self.answering.resume()

    def on_deadline(self) -> None:
        if self.parked:
            self._unqueue()
            # The controller may never have heard: let the next write ask anew.
            self.service.live.asked.clear()
            self._refuse_paused()
        elif self.holding is not None:
            self.service.live.tally.event("ack_timeout")
            self._release_answer()
            self.end_if_done()

    def refuse_body(self, refusal: Refusal) -> bool:
        is_torn = self.answering is not None and self.streaming
        refused = super().refuse_body(refusal)
        if is_torn and refused:
            self.service.live.tally.event("write_torn")
        return refused

    def client_left(self) -> None:
        """A write that began whole goes on; one that is still arriving cannot be saved."""
        self.holding = None
        if self.parked:
            self._unqueue()
        answering = self.answering
        if answering is not None and self.streaming:
            self.service.live.tally.event("write_torn")
            answering.cancel()
            self.streaming = False
        if answering is None or answering.ended:
            self.answer_done = True
        else:
            answering.resume()
            self.detach()
        if self.other is not None and not self.other.ended:
            self.detach()
        self.end_if_done()

    def ending(self) -> None:
        self._settle()

    def refuse(self, refusal: Refusal) -> None:
        if self.parked:
            # It was refused while it waited: the next state must not send it after all.
            self._unqueue()
        super().refuse(refusal)

    def _unqueue(self) -> None:
        self.parked = False
        self.service.live.parked.remove(self)

    def _refuse_paused(self) -> None:
        if self.service.state.writes_paused:
            why = "writes of this route wait for a change of its phase"
        else:
            why = "writes of this route wait until it is recorded that one side misses them"
        self.refuse(Refusal(503, "writes_paused", why))

    def _refuse_size(self, limit: int) -> None:
        self.refuse(Refusal(413, "write_body", f"a write here has at most {limit} bytes"))
