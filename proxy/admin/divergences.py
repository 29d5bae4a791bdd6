"""Divergences as the admin API shows them, and the Protocol of whoever has them.

In the contract's names; times are timezone-aware. Values of differences are JSON text and not JSON
itself: they are cut, and secrets in them are hashes.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from proxy.core.divergences import (
    DifferenceRecord,
    Divergence,
    Page,
    RecordedAnswer,
    SideRecord,
    SignatureNoise,
    SignatureSummary,
    Unlike,
)


class DivergenceView(msgspec.Struct, frozen=True, kw_only=True):
    """One divergence in a list."""

    id: str
    at: datetime
    route: str
    method: str
    target: str
    phase: str
    trace_id: str
    result: str  # "divergent", or "noise"
    legacy: SideRecord
    new: SideRecord
    differences: tuple[DifferenceRecord, ...]
    comparator: str
    truncated: bool
    detail: str


class WholeDivergence(DivergenceView, frozen=True, kw_only=True):
    """One divergence with the answers as they were recorded, redacted; None where they were not.

    `unlike` is where these do not compare as the answers themselves did.
    """

    legacy_answer: RecordedAnswer | None
    new_answer: RecordedAnswer | None
    unlike: tuple[Unlike, ...] = ()


class DivergenceList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v1/divergences`; `next` is the cursor of the page behind it."""

    divergences: list[DivergenceView]
    next: str | None


class SignatureView(msgspec.Struct, frozen=True, kw_only=True):
    """One signature: `count` divergences counted, and what is known of its noise."""

    signature: str
    route: str
    path: str
    kind: str
    count: int
    noise: SignatureNoise | None
    first_at: datetime
    last_at: datetime
    sample_ids: tuple[str, ...]  # of the newest that are kept


class SignatureList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v1/signatures`, the most counted first."""

    signatures: list[SignatureView]


class UnavailableError(Exception):
    """The divergences cannot be had now; the text says why."""


class DivergencesView(Protocol):
    """The divergences that are kept. Every call may raise UnavailableError."""

    async def page(
        self,
        route: str | None = None,
        signature: str | None = None,
        since: float | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """The newest first. Raises ValueError on a bad cursor."""
        ...

    async def get(self, id: str) -> Divergence | None:
        """One, recorded answers included."""
        ...

    async def signatures(
        self, route: str | None = None, limit: int | None = None
    ) -> list[SignatureSummary]:
        """The most counted first, with what is known of their noise."""
        ...

    def export(self, route: str | None = None) -> AsyncIterator[Divergence]:
        """All that are kept, the oldest first, recorded answers included."""
        ...


def listed(divergence: Divergence) -> DivergenceView:
    """The divergence as it is in a list."""
    return msgspec.convert(_fields(divergence), DivergenceView)


def whole(divergence: Divergence) -> WholeDivergence:
    """The divergence with its answers."""
    return msgspec.convert(_fields(divergence), WholeDivergence)


def signature_view(summary: SignatureSummary) -> SignatureView:
    """The signature as it is shown."""
    fields = msgspec.structs.asdict(summary)
    times = {name: datetime.fromtimestamp(fields[name], UTC) for name in ("first_at", "last_at")}
    return SignatureView(**{**fields, **times})


def _fields(divergence: Divergence) -> dict[str, object]:
    fields = msgspec.structs.asdict(divergence)
    return {**fields, "at": datetime.fromtimestamp(divergence.at, UTC)}
