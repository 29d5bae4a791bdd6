"""A read: answered by one side, perhaps shadowed by the other, perhaps saved by legacy.

The shadow is bounded in number, time and size, takes no connection that an answer needs, and is
given up rather than waited for. Each read that could have been compared and was not is counted
with its reason.
"""

import time
from typing import Final

from proxy.core.forwarding import accepts_event_stream, response_bytes
from proxy.core.message import ResponseHead
from proxy.core.model import FailureKind, Side
from proxy.core.planning import ReadPlan
from proxy.edge.exchange import OUR_WANT, Exchange
from proxy.edge.pair import Pair
from proxy.edge.relay import SMALL_BODY_BYTES, Relay
from proxy.edge.shipping import SHED

_CONTROLLED: Final = ("GET", "HEAD")  # methods of which legacy may be asked twice


class ReadRelay(Relay):
    """Executes a ReadPlan."""

    is_read = True

    plan: ReadPlan  # from `begin` on
    placed_at = 0.0  # since when it has a place among the route's shadows; 0.0: it has none

    def begin(self) -> None:
        service = self.service
        request = self.request
        override = request.override(service) if service.override_header is not None else None
        if override is not None:
            service.live.tally.event("override")
            self.plan = ReadPlan(override, judged=False)
            self.judged = False
        else:
            to_new = service.read_draw and request.draws_new(service)
            self.plan = service.reads[to_new]
        framing = request.framing
        if framing == 0:
            self._ask()
        elif 0 < framing <= SMALL_BODY_BYTES and not request.expects_continue:
            self.awaiting_body = True
        else:
            self.streaming = True
            if self.plan.shadow is None and self.plan.fallback is None:
                self.stop_keeping()
            else:
                self.body_limit = service.route.shadow.max_body_bytes
            self._ask()

    def body_ready(self) -> None:
        self._ask()

    def body_streamed(self) -> None:
        if self.pair is not None and self.other is None and not self.over:
            self._ask_shadow(self.pair)

    def _ask(self) -> None:
        plan = self.plan
        exchange = self.exchange_with(plan.answer)
        self.answering = exchange
        after_s = self.service.route.fallback_after_s
        if plan.fallback is not None and after_s is not None:
            exchange.head_timeout_s = min(exchange.head_timeout_s, after_s)
        pair = self.pair = self._paired(plan) if plan.shadow is not None else None
        exchange.start()
        if pair is not None and not self.streaming and not self.over:
            self._ask_shadow(pair)

    def on_whole(self, exchange: Exchange, head: ResponseHead, body: bytes) -> None:
        """A whole response in one piece: what most reads come to, in as few steps as can be."""
        is_answer = exchange is self.answering
        if is_answer and 502 <= head.status <= 504:
            super().on_whole(exchange, head, body)
            return
        service = self.service
        pair = self.pair
        seconds = exchange.head_at - exchange.started
        service.live.tally.exchange(service.phase, exchange.at, head.status, seconds)
        if pair is not None:
            pair.take_whole(exchange.at, head, body, seconds, exchange.url)
        if not is_answer:
            self._uncount_shadow()
            self.end_if_done()
            return
        client, self.client = self.client, None
        self.answer_done = True
        if client is not None:
            request_head = self.request.head
            keep_alive = request_head.keep_alive and not self.streaming and not self.edge.draining
            if head.plain and keep_alive and request_head.minor == 1:
                client.write_whole(head.raw + body)
            else:
                date = self.edge.date.now()
                size = 0 if request_head.method == "HEAD" else len(body)
                out, _ = response_bytes(head, size, request_head.minor, keep_alive, date)
                client.write_whole(out + body)
            if self.other is not None and not self.other.ended:
                self.detach()
            client.answered(keep_alive)
        if pair is None and self.other is None:
            self._end()
        else:
            self.end_if_done()

    # The shadow

    def _paired(self, plan: ReadPlan) -> Pair | None:
        """The pair of a read that is shadowed; None where it is not, the reason being counted."""
        service = self.service
        live = service.live
        request = self.request
        shadow = service.route.shadow
        if request.upgrade:
            live.tally.skip("upgrade")
            return None
        if accepts_event_stream(request.head.raw):
            live.tally.skip("event_stream")
            return None
        conditional = request.is_conditional()
        if not conditional and service.route.compare is not None:
            live.tally.eligible += 1
        if shadow.sample < 1.0 and self.edge.chance() >= shadow.sample:
            live.tally.skip("sampled")
        elif request.framing > shadow.max_body_bytes:
            live.tally.skip("body_too_large")
        elif self.edge.draining:
            live.tally.skip("draining")
        elif (restraint := live.restraint_of(plan.answer.other)).holds(now := time.perf_counter()):
            live.tally.skip(restraint.why)
        elif not live.shadows.take(shadow.max_in_flight, now):
            live.tally.skip("in_flight")
        else:
            restraint.take(now)
            self.placed_at = now
            pair = self.make_pair(plan.answer, write=False)
            shipper = self.edge.shipper
            if conditional:
                pair.skip("conditional")
            elif shipper is not None and shipper.is_full(live.tally):
                # Comparers are behind: what keeping bodies costs is saved as well.
                pair.skip(SHED)
            elif service.noise > 0 and request.method in _CONTROLLED and request.framing == 0:
                pair.control = self.edge.chance() < service.noise
            return pair
        return None

    def _ask_shadow(self, pair: Pair) -> None:
        if not self.body_is_whole():
            # The body outgrew its bound on the way: there is nothing to send.
            return
        exchange = self.exchange_with(pair.authoritative.other, as_shadow=True, may_be_shed=True)
        exchange.limit(self.service.route.shadow.timeout_s)
        exchange.one_of_few = self.service.live.has_few_shadows()
        self.other = exchange
        self.edge.starts.add(exchange)

    def other_ended(self, exchange: Exchange) -> None:
        self._uncount_shadow()
        if exchange.cost:
            self.service.live.restraint_of(exchange.side).cost(exchange.cost)

    def count(self, exchange: Exchange) -> None:
        failure = exchange.failure
        pair = self.pair
        if failure is not None and failure.kind is FailureKind.POOL_FULL and exchange.shadow:
            # No room for a shadow is our doing, not an error of that side.
            if pair is not None:
                pair.skip("no_connection")
            return
        super().count(exchange)

    def _uncount_shadow(self) -> None:
        if self.placed_at:
            now = time.perf_counter()
            self.service.live.shadows.give_back(now - self.placed_at, now)
            self.placed_at = 0.0

    # Fallback

    def answer_begins(self, exchange: Exchange, head: ResponseHead) -> bool:
        if not 502 <= head.status <= 504 or not self._can_fall_back(exchange):
            return False
        self.count(exchange)
        exchange.cancel()
        self._fall_back()
        return True

    def answer_fails(self, exchange: Exchange) -> bool:
        if not self._can_fall_back(exchange):
            return False
        self._fall_back()
        return True

    def _can_fall_back(self, exchange: Exchange) -> bool:
        side = self.plan.fallback
        live = self.service.live
        if side is None or exchange.side is side or self.client is None:
            return False
        if side in self.service.state.missed:
            return False
        other = self.other
        failure = other.failure if other is not None else None
        if failure is not None and failure.kind not in OUR_WANT:
            return False  # legacy has failed as well
        if not self._shadow_is_of_use() and not self.body_is_whole():
            return False  # the request cannot be sent again
        if live.fallbacks >= self.service.route.shadow.max_in_flight:
            live.tally.event("fallback_shed")
            return False
        return True

    def _shadow_is_of_use(self) -> bool:
        other, pair = self.other, self.pair
        if other is None or pair is None:
            return False
        # What was given up or is not kept cannot be the answer; one without a head still can.
        return not pair.skipped or (not other.ended and other.head is None)

    def _fall_back(self) -> None:
        live = self.service.live
        live.fallbacks += 1
        live.tally.event("fallback")
        self.falling_back = True
        other, pair = self.other, self.pair
        if pair is not None:
            pair.fell_back = True
        else:
            self.failed_first = self.answering
        if other is None or pair is None or not self._shadow_is_of_use():
            if other is not None and not other.ended:
                self.give_up_other("fallback")
            self.other = None
            self._uncount_shadow()
            exchange = self.exchange_with(Side.LEGACY)
            self.answering = exchange
            exchange.start()
            return
        self.answering = other
        self.other = None
        self._uncount_shadow()
        other.unlimited()
        kept = pair.bodies[other.at]
        pair.decide()
        head = other.head
        if head is not None:
            self._answer_head(head, head.framing(self.request.method))
            for data in kept:
                self.on_data(other, data)
        if other.ended:
            self.finish_answer(b"")
            self.end_if_done()

    def client_left(self) -> None:
        """Nobody wants the answer: a read is given up, its shadow with it."""
        if self.answering is not None:
            self.answering.cancel()
        self.service.live.tally.event("client_gone")
        self.answer_done = True
        if self.pair is not None:
            self.pair.skip("client_gone")
        if self.other is not None and not self.other.ended:
            self.give_up_other("client_gone")
        self.end_if_done()

    def ending(self) -> None:
        self._uncount_shadow()
        if self.pair is not None and self.other is None and not self.falling_back:
            self.pair.skip("not_started")
        if self.falling_back:
            self.service.live.fallbacks -= 1
