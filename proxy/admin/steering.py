"""Orders and history as the admin API takes and shows them, and the Protocol of who has them."""

from datetime import datetime
from typing import Literal, Protocol

import msgspec

MAX_REASON = 500

Action = Literal["revert", "advance", "hold", "resume"]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an order. `reason` is for those who read the history; `to` is a phase."""

    reason: str
    to: str | None = None
    accept_loss: bool = False
    force: bool = False


class HistoryLine(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """One line of a route's history.

    `kind` is "phase" (an edit), "revert", "advance", "hold", "resume", "refused" (a revert that
    could not be), "ready" (to be removed), "authority" or "missed"; `from` and `to` are phases, but
    for the last two. `patch` is what to write for the route in routes.yaml to keep a revert.
    """

    at: datetime
    route: str
    kind: str
    before: str
    after: str
    by: str
    reason: str
    evidence: str
    patch: str = ""


class HistoryList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v1/history`, the newest first."""

    history: list[HistoryLine]


class WrongOrderError(Exception):
    """What is asked cannot be meant; the text says why."""


class RefusedError(Exception):
    """The route stays as it is; the text says why, and what can be done."""


class SteeringView(Protocol):
    """Moves routes, and knows how they were moved."""

    async def order(self, name: str, action: Action, asked: Asked) -> None:
        """Do it, durably. Raises WrongOrderError, RefusedError or UnavailableError."""
        ...

    async def history(self, route: str | None, limit: int) -> list[HistoryLine]:
        """The newest lines first, of one route or of all. Raises UnavailableError."""
        ...
