"""What a request is evidence of: a trial, and what it came to. What a client repeats is none.

A sequential test assumes that trials are independent. A client that retries, or a monitor that asks
the same thing every second, is one trial in TRIAL_S: the first one, whatever it came to. Those of
other workers are not seen here; a client mostly keeps its connection.
"""

from typing import TYPE_CHECKING, Final

from proxy.core.guard import TRIAL_S
from proxy.core.messages import NOT_ASKED, ExchangeRecord
from proxy.core.model import FailureKind
from proxy.edge.tally import FAILED, FINE

if TYPE_CHECKING:
    from proxy.edge.request import ForwardedRequest
    from proxy.edge.table import Service

MAX_REMEMBERED: Final = 16_384  # in each generation
_NOBODYS_ERROR: Final = (
    FailureKind.CANCELLED.value,
    FailureKind.NO_DESCRIPTORS.value,
    FailureKind.CLIENT_SLOW.value,
    NOT_ASKED,
)


class Trials:
    """Remembers the trials of the last TRIAL_S, as many as there is room for: two generations."""

    def __init__(self) -> None:
        self._young: dict[int, float] = {}  # when each one was counted
        self._old: dict[int, float] = {}

    def is_repeat(self, service: "Service", request: "ForwardedRequest", now: float) -> bool:
        """Whether this client has asked the same within TRIAL_S; if not, it has now.

        `now` is in seconds of a clock that does not go back.
        """
        client = request.sticky(service).value
        key = hash((service.route.name, client, request.method, request.path, request.query))
        young = self._young
        at = young.get(key)
        if at is None:
            at = self._old.get(key)
        if at is not None and now - at < TRIAL_S:
            return True
        if len(young) >= MAX_REMEMBERED:
            if self._old and now - next(iter(self._old.values())) < TRIAL_S:
                service.live.tally.event("trials_forgotten")
            self._old = young
            young = self._young = {}
        young[key] = now
        return False


def error_trial(legacy: ExchangeRecord, new: ExchangeRecord) -> int | None:
    """FINE or FAILED; None where new was not asked, was given up, or legacy fails as well."""
    if not new.failure and new.status < 500:
        return FINE
    if new.failure.startswith(_NOBODYS_ERROR):
        return None
    return None if _has_failed(legacy) else FAILED


def _has_failed(record: ExchangeRecord) -> bool:
    if record.failure:
        return not record.failure.startswith(_NOBODYS_ERROR)
    return record.status >= 500
