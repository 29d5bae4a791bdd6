"""The store of divergences: one protocol, in SQLite beside the state, or in Redis.

Bounded by count, bytes and age; what is left out is counted. A reservoir a signature keeps samples
from all of its time rather than its first few, and counts go on where samples are dropped.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

import msgspec

from proxy.core.divergences import Divergence, Page, Seen, SignatureSummary, signature

OTHER: Final = "(other)"
SHOWN_SAMPLES: Final = 5


class StoreBounds(msgspec.Struct, frozen=True):
    """What a store may hold. Beyond it the oldest go first; each is counted in `dropped`."""

    count: int = 100_000
    size_bytes: int = 256 << 20
    age_s: float = 14 * 86_400
    signatures_a_route: int = 500  # all further ones of a route share one "(other)"
    samples_a_signature: int = 200
    signatures: int = 20_000  # of all routes


def other(route: str, noise: bool) -> Seen:
    """What stands for the signatures beyond the bound, and for a divergence that names none."""
    return Seen(signature(route, OTHER, "other"), OTHER, "other", noise)


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

    async def signatures(
        self, route: str | None = None, limit: int | None = None
    ) -> list[SignatureSummary]:
        """All signatures or some, those with the most counted divergences first.

        Of noise the store knows only how many divergences it explained: `with_noise` adds the rest.
        The newest SHOWN_SAMPLES of each are named.
        """
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
        """How many were let go since the start, by reason: "reservoir", "count", "bytes", "age"."""
        ...

    async def close(self) -> None: ...
