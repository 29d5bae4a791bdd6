"""Both exchanges of one client request: what each came to, and whether they are alike.

The worker does the first rung of comparing only: status, compared headers, body bytes. What is
not alike goes to a comparer. Bodies are kept up to the route's `shadow.max_body`; a pair that
outgrows it, or for which there is no memory, is skipped with its reason and what it kept is let
go.
"""

import re
import time
from typing import TYPE_CHECKING, Final

from proxy.core.forwarding import is_event_stream
from proxy.core.message import ResponseHead
from proxy.core.messages import (
    NOT_ASKED,
    AnswerRecord,
    ExchangeRecord,
    Observation,
    went_wrong,
)
from proxy.core.model import FailureKind, Side
from proxy.edge.tally import DIFFERING, EQUAL, FAILURE_CODES, LEGACY, NEW, NEW_FAILED
from proxy.edge.trials import error_trial

if TYPE_CHECKING:
    from proxy.edge.context import Edge
    from proxy.edge.exchange import Exchange
    from proxy.edge.request import ForwardedRequest
    from proxy.edge.table import Service

_NOT_ASKED: Final = ExchangeRecord(status=0, ms=0.0, failure=NOT_ASKED)
_TRIAL_OF: Final = {"equal": EQUAL, "new_failed": NEW_FAILED, "differing": DIFFERING}


class Pair:
    """Collects two exchanges. `skipped` is the first reason why there is no comparison."""

    __slots__ = (
        "at",
        "authoritative",
        "bodies",
        "control",
        "decided",
        "edge",
        "fell_back",
        "heads",
        "held",
        "phase",
        "records",
        "repeat",
        "request",
        "service",
        "sizes",
        "skipped",
        "write",
    )

    def __init__(
        self,
        edge: "Edge",
        service: "Service",
        request: "ForwardedRequest",
        authoritative: Side,
        write: bool,
    ) -> None:
        self.edge = edge
        self.service = service
        self.request = request
        self.authoritative = authoritative
        self.write = write
        self.phase = service.phase
        self.at = time.time()
        self.heads: list[ResponseHead | None] = [None, None]
        self.bodies: list[list[bytes]] = [[], []]
        self.sizes = [0, 0]
        self.records: list[ExchangeRecord | None] = [None, None]
        self.held = 0
        self.decided = False  # one side has failed: no body is needed to tell
        self.control = False  # legacy is asked a second time, to learn what differs by itself
        self.fell_back = False  # the side asked first has failed and the other one answers
        self.repeat = False  # of a trial that has been counted
        compared = service.route.compare is not None and not write
        self.skipped = "" if compared else ("write" if write else "compare_off")

    def take_head(self, at: int, head: ResponseHead) -> None:
        self.heads[at] = head

    def take_body(self, at: int, data: bytes) -> bool:
        """Keep a piece of one side's body; False where the pair has outgrown its bound."""
        if self.decided or self.write:
            return True
        size = self.sizes[at] + len(data)
        self.sizes[at] = size
        if size > self.service.route.shadow.max_body_bytes:
            self.skip("body_too_large")
            return False
        if self.skipped:
            return True
        held = self.edge.hold(len(data))
        if not held:
            self.skip("memory")
            return False
        self.held += held
        self.bodies[at].append(data)
        return True

    def take_whole(
        self, at: int, head: ResponseHead, body: bytes, seconds: float, url: int
    ) -> None:
        """One side is done, its response having come in one piece."""
        self.heads[at] = head
        self.records[at] = ExchangeRecord(head.status, seconds * 1000, "", url)
        if self.skipped or self.decided:
            return
        if body and is_event_stream(head.raw):
            self.skip("event_stream")
        else:
            self.take_body(at, body)

    def skip(self, reason: str) -> None:
        """There will be no comparison; what was kept is let go."""
        if not self.skipped:
            self.skipped = reason
        self.release()

    def decide(self) -> None:
        """One side has failed and the other is the answer now: no body is needed to tell."""
        self.decided = True
        self.release()

    def release(self) -> None:
        self.edge.held_bytes -= self.held
        self.held = 0
        self.bodies = [[], []]

    def record(self, at: int, exchange: "Exchange") -> None:
        """One side is done (or given up)."""
        head = exchange.head
        failure = exchange.failure
        if failure is not None and failure.kind is FailureKind.NO_DESCRIPTORS:
            # Our own want says nothing of that side.
            self.skip("no_connection")
        elif failure is not None and failure.kind is FailureKind.CLIENT_SLOW:
            self.skip("client_slow")  # nor does what a client held up
        self.records[at] = ExchangeRecord(
            status=head.status if head is not None else 0,
            ms=exchange.seconds() * 1000,
            failure=failure.kind.value if failure else "",
            url=exchange.url,
        )

    def conclude(self) -> None:
        """Both sides are done: count the outcome, tell of it, let the bodies go."""
        tally = self.service.live.tally
        legacy = self.records[LEGACY] or _NOT_ASKED
        new = self.records[NEW] or _NOT_ASKED
        equal: bool | None = None
        shipped = False
        self.repeat = self.edge.trials.is_repeat(self.service, self.request, time.perf_counter())
        if not self.repeat and (came_to := error_trial(legacy, new)) is not None:
            tally.trial(self.at, came_to)
        if not self.skipped:
            result = self._result(legacy, new)
            equal = result == "equal"
            if result == "legacy_failed":
                # New cannot be blamed for it, and there is nothing to hold it against.
                equal = None
                self.skipped = result
                tally.skip(result)
            else:
                tally.comparison(result)
                if not self.repeat and (came_to := _TRIAL_OF.get(result)) is not None:
                    tally.trial(self.at, came_to)
                if result == "both_failed":
                    equal = None
                    self.skipped = result
                elif result == "differing":
                    shipped = self.edge.compare_apart(self, self._observation(legacy, new, False))
                elif result == "new_failed" and self._has_error_of_new(new):
                    shipped = self.edge.keep_error(self, self._observation(legacy, new, False))
            if self.control and result in ("equal", "differing"):
                self.edge.ask_control(self)
        elif not self.write:
            tally.skip(self.skipped)
        sampled = self.request.trace.sampled
        is_told = sampled or equal is False or went_wrong(legacy) or went_wrong(new)
        if is_told and not shipped and self.edge.tallies.has_room(sampled):
            self.edge.tallies.observe(self._observation(legacy, new, equal))
        if self.held:
            self.release()

    def answer(self, at: int) -> AnswerRecord:
        """One side's answer, of a pair that could be compared."""
        head = self.heads[at]
        assert head is not None
        return AnswerRecord(head.status, head.raw, b"".join(self.bodies[at]))

    def observation(self) -> Observation:
        """Of a pair that could be compared."""
        return self._observation(
            self.records[LEGACY] or _NOT_ASKED, self.records[NEW] or _NOT_ASKED, None
        )

    def _observation(
        self, legacy: ExchangeRecord, new: ExchangeRecord, equal: bool | None
    ) -> Observation:
        request = self.request
        trace = request.trace
        # By position: keywords cost as much as the rest of it.
        return Observation(
            self.at,
            self.service.route.name,
            request.method,
            request.path,
            self.phase,
            trace.trace_id.decode("ascii"),
            self.authoritative,
            legacy,
            new,
            equal,
            self.skipped,
            self.write,
            trace.span_id.decode("ascii"),
            trace.parent.decode("ascii"),
            request.tracestate.decode("latin-1") if trace.parent else "",
            trace.sampled,
            self.fell_back,
            self.repeat,
        )

    def _has_error_of_new(self, new: ExchangeRecord) -> bool:
        """Whether new failed with an answer that says something, and that is at hand."""
        return not new.failure and not self.decided and self.sizes[NEW] > 0

    def _result(self, legacy: ExchangeRecord, new: ExchangeRecord) -> str:
        if failed(legacy):
            return "both_failed" if failed(new) else "legacy_failed"
        if failed(new):
            return "new_failed"
        one, other = self.heads
        if one is None or other is None:
            return "differing"
        if self.sizes[LEGACY] != self.sizes[NEW]:
            return "differing"
        body, body_of_new = self.bodies
        if body != body_of_new and b"".join(body) != b"".join(body_of_new):
            return "differing"
        agree = heads_agree(self.service, one.status, one.raw, other.status, other.raw)
        return "equal" if agree else "differing"


def heads_agree(
    service: "Service", status: int, raw: bytes, other_status: int, other_raw: bytes
) -> bool:
    """The first rung, less the bodies: status and compared headers of two answers."""
    compare = service.route.compare
    if status != other_status and (
        compare is None or compare.status == "exact" or status // 100 != other_status // 100
    ):
        return False
    pattern = service.compared
    return pattern is None or _agree(pattern, raw, other_raw)


def failed(record: ExchangeRecord) -> bool:
    """A transport failure, a time-out or a 5xx."""
    return bool(record.failure) or record.status >= 500


def code_of(exchange: "Exchange") -> int:
    """The code an exchange is counted under."""
    if exchange.failure is not None:
        return FAILURE_CODES[exchange.failure.kind]
    return exchange.head.status if exchange.head is not None else 0


def _agree(pattern: re.Pattern[bytes], legacy: bytes, new: bytes) -> bool:
    """Whether two heads agree in the compared headers; most do to the letter."""
    of_legacy, of_new = pattern.findall(legacy), pattern.findall(new)
    return of_legacy == of_new or _normal(of_legacy) == _normal(of_new)


def _normal(found: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return sorted((name.lower(), value.strip(b" \t")) for name, value in found)
