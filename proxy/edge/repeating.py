"""Reads that are asked again: to learn what legacy changes by itself, and to be sure of new.

A pair that is not alike leaves a ticket: the request, and both first answers. With it the
controller may have the request asked again (AskAgain). A share of all reads is asked of legacy
twice without that (`compare.noise`). Both count as shadows: within `shadow.max_in_flight`, with
its time-out, never waiting for a connection, and not while the worker drains. What could not be
asked is said so (NotAsked), or, where nobody waits for it, counted as an event. Where the second
answers are the first ones again, no comparer is needed to say so (SameAgain).
"""

from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Final

from proxy.core.forwarding import is_event_stream
from proxy.core.message import ResponseHead
from proxy.core.messages import AnswerRecord, Observation, Suspect
from proxy.core.model import Failure, Side
from proxy.edge.exchange import NO_BODY, OUR_WANT, Exchange
from proxy.edge.pair import Pair, heads_agree
from proxy.edge.tally import LEGACY

if TYPE_CHECKING:
    from proxy.edge.context import Edge
    from proxy.edge.request import ForwardedRequest
    from proxy.edge.table import Service

MAX_TICKETS: Final = 1024
MAX_TICKET_BYTES: Final = 16 << 20
TICKET_S: Final = 10.0
_FIRST_ID_BITS: Final = 52


class Ticket:
    """What it takes to ask a request again."""

    __slots__ = ("answer", "new", "observation", "request", "service", "size", "until")

    def __init__(
        self,
        service: "Service",
        request: "ForwardedRequest",
        observation: Observation,
        answer: AnswerRecord,
        new: AnswerRecord | None,
        until: float,
    ) -> None:
        self.service = service
        self.request = request
        self.observation = observation
        self.answer = answer  # legacy's first one
        self.new = new  # new's first one
        self.until = until  # in the wheel's time
        self.size = len(answer.head) + len(answer.body) + len(request.head.raw) + 500
        if new is not None:
            self.size += len(new.head) + len(new.body)


class Tickets:
    """The tickets of one worker: bounded by number, bytes and age, the oldest go first."""

    def __init__(self, edge: "Edge") -> None:
        self._edge = edge
        self._tickets: OrderedDict[int, Ticket] = OrderedDict()
        self._bytes = 0
        # Those of a worker that died are never taken for ours.
        self._ids = count(edge.bits(_FIRST_ID_BITS) << 10)

    def next_id(self) -> int:
        """An id that no other suspect has."""
        return next(self._ids)

    def suspect(self, pair: "Pair", observation: Observation) -> Suspect:
        """A pair that is not alike, for a comparer; it leaves a ticket if it can be asked again."""
        suspect_id = self.next_id()
        legacy, new = pair.answer(LEGACY), pair.answer(1 - LEGACY)
        compare = pair.service.route.compare
        askable = (
            compare is not None
            and (compare.recheck or compare.noise > 0)
            and pair.request.method == "GET"
            and pair.request.framing == 0
        )
        if askable:
            until = self._edge.wheel.now + TICKET_S
            ticket = Ticket(pair.service, pair.request, observation, legacy, new, until)
            self._keep(suspect_id, ticket)
        return Suspect(suspect_id, "read", askable, observation, legacy, new)

    def control(self, pair: "Pair") -> None:
        """Ask legacy a second time, because chance fell on this read."""
        observation = pair.observation()
        ticket = Ticket(pair.service, pair.request, observation, pair.answer(LEGACY), None, 0.0)
        if self._refusal(pair.service):
            pair.service.live.tally.event("control_shed")
        else:
            Repeat(self._edge, ticket, None, False).start()

    def ask(self, suspect_id: int, new_too: bool) -> None:
        """Ask the request of this ticket again, or say why not."""
        ticket = self._tickets.pop(suspect_id, None)
        if ticket is None or ticket.until < self._edge.wheel.now:
            if ticket is not None:
                self._bytes -= ticket.size
            self._edge.tell_not_asked(suspect_id, "expired")
            return
        self._bytes -= ticket.size
        reason = self._refusal(ticket.service)
        if reason:
            self._edge.tell_not_asked(suspect_id, reason)
        else:
            Repeat(self._edge, ticket, suspect_id, new_too).start()

    def _refusal(self, service: "Service") -> str:
        if self._edge.draining:
            return "draining"
        if service.live.shadows.taken >= service.route.shadow.max_in_flight:
            return "in_flight"
        return ""

    def _keep(self, suspect_id: int, ticket: Ticket) -> None:
        tickets = self._tickets
        tickets[suspect_id] = ticket
        self._bytes += ticket.size
        now = self._edge.wheel.now
        while tickets:
            oldest = next(iter(tickets.values()))
            if (
                len(tickets) <= MAX_TICKETS
                and self._bytes <= MAX_TICKET_BYTES
                and oldest.until >= now
            ):
                break
            tickets.popitem(last=False)
            self._bytes -= oldest.size


class Repeat:
    """One request asked again of legacy, and of new too. The Sink of its exchanges."""

    def __init__(self, edge: "Edge", ticket: Ticket, suspect_id: int | None, new_too: bool) -> None:
        self.edge = edge
        self.ticket = ticket
        self.suspect_id = suspect_id  # None: for the noise alone
        self.new_too = new_too
        self.exchanges: list[Exchange] = []
        self.heads: list[ResponseHead | None] = [None, None]
        self.bodies: list[list[bytes]] = [[], []]
        self.size = 0
        self.held = 0
        self.left = 0
        self.reason = ""  # why it came to nothing

    def start(self) -> None:
        """Ask."""
        service = self.ticket.service
        service.live.shadows.taken += 1
        sides = (Side.LEGACY, Side.NEW) if self.new_too else (Side.LEGACY,)
        self.left = len(sides)
        request = self.ticket.request
        for side in sides:
            exchange = Exchange(
                self,
                side,
                service.pool(side),
                request.method,
                request.to_side(service, side, as_shadow=True),
                0,
                NO_BODY,
                b"",
                True,
            )
            exchange.limit(service.route.shadow.timeout_s)
            exchange.one_of_few = service.live.has_few_shadows()
            self.exchanges.append(exchange)
        for exchange in list(self.exchanges):
            if not self.reason:
                self.edge.starts.add(exchange)

    # The Sink

    def on_whole(self, exchange: Exchange, head: ResponseHead, body: bytes) -> None:
        self.on_head(exchange, head, len(body))
        if not self.reason:
            self.on_data(exchange, body)
            self.on_end(exchange, b"")

    def on_interim(self, exchange: Exchange, head: ResponseHead) -> None:
        """Nothing of it is compared."""

    def on_head(self, exchange: Exchange, head: ResponseHead, framing: int) -> None:
        self.heads[exchange.at] = head
        if head.status >= 500:
            self._give_up("failed")
        elif framing != 0 and is_event_stream(head.raw):
            self._give_up("event_stream")

    def on_data(self, exchange: Exchange, data: bytes) -> None:
        if self.reason:
            return
        held = self.edge.hold(len(data))
        if not held:
            self._give_up("memory")
            return
        self.held += held
        self.size += len(data)
        self.bodies[exchange.at].append(data)
        if self.size > 2 * self.ticket.service.route.shadow.max_body_bytes:
            self._give_up("body_too_large")

    def on_end(self, exchange: Exchange, trailers: bytes) -> None:
        self.left -= 1
        if self.left == 0 and not self.reason:
            self._done()

    def on_failure(self, exchange: Exchange, failure: Failure) -> None:
        self._give_up("no_connection" if failure.kind in OUR_WANT else "failed")

    def on_upload_paused(self, exchange: Exchange) -> None:
        """There is no body."""

    def on_upload_resumed(self, exchange: Exchange) -> None:
        """There is no body."""

    def on_switch(self, exchange: Exchange, head: ResponseHead) -> None:
        """Nobody asked for it."""
        self._give_up("failed")

    def _give_up(self, reason: str) -> None:
        if self.reason:
            return
        self.reason = reason
        for exchange in self._let_go():
            exchange.cancel()
        live = self.ticket.service.live
        live.shadows.taken -= 1
        if self.suspect_id is None:
            is_shed = reason in ("no_connection", "memory")
            live.tally.event("control_shed" if is_shed else "control_failed")
        else:
            self.edge.tell_not_asked(self.suspect_id, reason)

    def _done(self) -> None:
        ticket = self.ticket
        service = ticket.service
        service.live.shadows.taken -= 1
        tally = service.live.tally
        legacy_again, new_again = self._answer(0), self._answer(1)
        assert legacy_again is not None
        self._let_go()
        is_same = _is_same(service, ticket.answer, legacy_again)
        if self.suspect_id is None:
            if is_same:
                tally.comparison("control_equal")
                return
            kind = "control"
            suspect_id = self.edge.tickets.next_id()
        else:
            kind = "again"
            suspect_id = self.suspect_id
            if is_same and (new_again is None or _is_same(service, ticket.new, new_again)):
                self.edge.tell_same_again(suspect_id, new_again is not None)
                return
        shipper = self.edge.shipper
        if shipper is not None:
            shipper.put(
                tally,
                Suspect(
                    suspect_id,
                    kind,
                    False,
                    ticket.observation,
                    ticket.answer,
                    ticket.new,
                    legacy_again,
                    new_again,
                ),
            )

    def _let_go(self) -> list[Exchange]:
        """Its exchanges know it and it knows them: such a cycle, with its bodies, would stay."""
        exchanges, self.exchanges = self.exchanges, []
        self.edge.held_bytes -= self.held
        self.held = 0
        self.bodies = [[], []]
        return exchanges

    def _answer(self, at: int) -> AnswerRecord | None:
        head = self.heads[at]
        if head is None:
            return None
        return AnswerRecord(head.status, head.raw, b"".join(self.bodies[at]))


def _is_same(service: "Service", first: AnswerRecord | None, second: AnswerRecord) -> bool:
    """Whether two answers of one side are the same to whoever compares them with others."""
    if first is None or first.status != second.status or first.body != second.body:
        return False
    compare = service.route.compare
    if compare is not None and ":" in compare.with_:  # of the user's own: it sees all headers
        return first.head == second.head
    return heads_agree(service, first.status, first.head, second.status, second.head)
