"""The store of divergences: one protocol, in SQLite beside the state, or in Redis.

Bounded by count, bytes and age; what is left out is counted. A reservoir a signature keeps samples
from all of its time rather than its first few, and counts go on where samples are dropped.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from proxy.core.divergences import Divergence, Page, SignatureSummary


class StoreBounds(msgspec.Struct, frozen=True):
    """What a store may hold. Beyond it the oldest go first; each is counted in `dropped`."""

    count: int = 100_000
    size_bytes: int = 256 << 20
    age_s: float = 14 * 86_400
    signatures_a_route: int = 500  # all further ones of a route share one "(other)"
    samples_a_signature: int = 200


class DivergenceStore(Protocol):
    """Every call may raise StoreError; none waits longer than a few seconds."""

    async def add(self, divergences: Sequence[Divergence]) -> None:
        """Count and keep (or drop by reservoir) these; one transaction."""
        ...

    async def page(
        self,
        route: str | None = None,
        signature: str | None = None,
        since: float | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """The newest first, without the recorded answers. Raises ValueError on a bad cursor."""
        ...

    async def get(self, id: str) -> Divergence | None:
        """One, recorded answers included."""
        ...

    async def signatures(self, route: str | None = None) -> list[SignatureSummary]:
        """All signatures, those with the most counted divergences first."""
        ...

    def export(self, route: str | None = None) -> AsyncIterator[Divergence]:
        """All that is kept, the oldest first, recorded answers included."""
        ...

    async def save_noise(self, routes: dict[str, bytes]) -> None:
        """Keep what was learned of these routes' noise, as the model encodes it."""
        ...

    async def load_noise(self) -> dict[str, bytes]:
        """What `save_noise` kept."""
        ...

    async def clear(self, route: str) -> int:
        """Forget a route's divergences, signatures and noise; how many divergences."""
        ...

    def dropped(self) -> dict[str, int]:
        """How many were not kept, by reason: "reservoir", "count", "bytes", "age"."""
        ...

    async def close(self) -> None: ...
