"""Orders of operators, and the history of routes: implements SteeringView over the ledger."""

from collections.abc import Callable
from datetime import UTC, datetime

from comparators.hiding import showable
from comparators.redaction import Redactor
from proxy.admin.divergences import UnavailableError
from proxy.admin.steering import Action, Asked, HistoryLine, RefusedError, WrongOrderError
from proxy.config.units import parse_phase
from proxy.control.ledger import Ledger
from proxy.control.steering import Order
from proxy.core.guard import Verdict
from proxy.core.model import Phase
from proxy.store.records import Transition
from proxy.store.state import StoreError


class Commands:
    """Has orders carried out. `verdict` knows the verdict on a route now."""

    def __init__(self, ledger: Ledger, key: bytes, verdict: Callable[[str], Verdict]) -> None:
        self._ledger = ledger
        self._redactor = Redactor(key)
        self._verdict = verdict

    async def order(self, name: str, action: Action, asked: Asked) -> None:
        order = Order(
            action=action,
            # People paste what they have at hand.
            reason=showable(self._redactor.text(asked.reason.strip())),
            to=_phase(action, asked.to),
            accept_loss=asked.accept_loss,
            force=asked.force,
            verdict=self._verdict(name),
        )
        try:
            refusal = await self._ledger.order(name, order)
        except StoreError as error:
            raise UnavailableError(str(error)) from error
        if refusal:
            raise RefusedError(refusal)

    async def history(self, route: str | None, limit: int) -> list[HistoryLine]:
        try:
            lines = await self._ledger.history(route, limit)
        except StoreError as error:
            raise UnavailableError(str(error)) from error
        return [line_of(each) for each in lines]


def line_of(each: Transition) -> HistoryLine:
    """A transition as the admin API shows it."""
    return HistoryLine(
        datetime.fromtimestamp(each.at, UTC),
        each.route,
        each.kind,
        each.before,
        each.after,
        each.by,
        each.reason,
        each.evidence,
        each.patch,
    )


def _phase(action: Action, text: str | None) -> Phase | None:
    if text is None:
        return None
    if action not in ("revert", "advance"):
        raise WrongOrderError(f"`to` is of revert and advance; {action} has none")
    try:
        return parse_phase(text)
    except ValueError as error:
        raise WrongOrderError(f"`to`: {text!r} {error}") from error
