"""What is told of a request that had no pair: where it is traced, or failed.

Most requests that only one side gets are counted and no more. Half of the room for Observations is
kept for those of pairs, so that an outage of the one side hides nothing of the other.
"""

import time
from typing import TYPE_CHECKING, Final

from proxy.core.messages import NOT_ASKED, NOT_SHADOWED, ExchangeRecord, Observation
from proxy.core.model import FailureKind, Side
from proxy.edge.trials import error_trial

if TYPE_CHECKING:
    from proxy.edge.exchange import Exchange
    from proxy.edge.replying import Replying

_NOT_ASKED: Final = ExchangeRecord(status=0, ms=0.0, failure=NOT_ASKED)


def observe_alone(relay: "Replying", answering: "Exchange", judged: bool) -> None:
    """Tell of the exchange that was the answer, and of the one that had failed before it.

    Where it is `judged`, count what it says of new.
    """
    request = relay.request
    trace = request.trace
    first = relay.failed_first
    if judged and (answering.side is Side.NEW or first is not None):
        _count_trial(relay, answering, first)
    if not trace.sampled and first is None and not _went_wrong(answering):
        return
    tallies = relay.edge.tallies
    if not tallies.has_room(trace.sampled, share=2):
        return
    asked_first = answering if first is None else first
    records = [_NOT_ASKED, _NOT_ASKED]
    records[answering.at] = _record(answering)
    records[asked_first.at] = _record(asked_first)
    service = relay.service
    tallies.observe(
        Observation(
            time.time() - (time.perf_counter() - asked_first.started),
            service.route.name,
            request.method,
            request.path,
            service.phase,
            trace.trace_id.decode("ascii"),
            asked_first.side,
            records[0],
            records[1],
            None,
            NOT_SHADOWED,
            not relay.is_read,
            trace.span_id.decode("ascii"),
            trace.parent.decode("ascii"),
            request.tracestate.decode("latin-1"),
            trace.sampled,
            first is not None,
        )
    )


def _count_trial(relay: "Replying", answering: "Exchange", first: "Exchange | None") -> None:
    """New was asked, and legacy only if new had failed."""
    new = answering if answering.side is Side.NEW else first
    if new is None or new.side is not Side.NEW:
        return
    legacy = _record(answering) if answering is not new else _NOT_ASKED
    came_to = error_trial(legacy, _record(new))
    now = time.perf_counter()
    if came_to is not None and not relay.edge.trials.is_repeat(relay.service, relay.request, now):
        relay.service.live.tally.trial(time.time() - (now - new.started), came_to)


def _went_wrong(exchange: "Exchange") -> bool:
    failure = exchange.failure
    if failure is not None:
        return failure.kind is not FailureKind.CANCELLED
    return exchange.head is not None and exchange.head.status >= 500


def _record(exchange: "Exchange") -> ExchangeRecord:
    head, failure = exchange.head, exchange.failure
    if failure is not None:
        said = failure.kind.value
    else:
        said = FailureKind.CANCELLED.value if head is None else ""
    status = head.status if head is not None else 0
    return ExchangeRecord(status, exchange.seconds() * 1000, said, exchange.url)
