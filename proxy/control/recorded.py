"""The divergences as the controller shows them: those of the store, with what the model knows.

Implements DivergencesView. Without a store, or with one that fails, it says why.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from proxy.admin.divergences import UnavailableError
from proxy.core.divergences import Divergence, Page, SignatureSummary, with_noise
from proxy.store.divergences import DivergenceStore
from proxy.store.state import StoreError

# The share of the control pairs in which legacy differs from itself, and how many pairs there were.
NoiseOf = Callable[[SignatureSummary], tuple[float, int] | None]


class Keeper(Protocol):
    """Who holds the store: None while it is not open or out of reach, and why that is."""

    @property
    def store(self) -> DivergenceStore | None: ...

    @property
    def problem(self) -> str: ...


class Recorded:
    """What `keeper` keeps; `noise_of` asks the noise model."""

    def __init__(self, keeper: Keeper, noise_of: NoiseOf) -> None:
        self._keeper = keeper
        self._noise_of = noise_of

    async def page(
        self,
        route: str | None = None,
        signature: str | None = None,
        since: float | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        with self._opened() as store:
            return await store.page(route, signature, since, limit, cursor)

    async def get(self, id: str) -> Divergence | None:
        with self._opened() as store:
            return await store.get(id)

    async def signatures(
        self, route: str | None = None, limit: int | None = None
    ) -> list[SignatureSummary]:
        with self._opened() as store:
            return [self._with_noise(each) for each in await store.signatures(route, limit)]

    async def export(self, route: str | None = None) -> AsyncIterator[Divergence]:
        with self._opened() as store:
            async for each in store.export(route):
                yield each

    def _with_noise(self, summary: SignatureSummary) -> SignatureSummary:
        known = self._noise_of(summary)
        return summary if known is None else with_noise(summary, *known)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[DivergenceStore]:
        store = self._keeper.store
        if store is None:
            raise UnavailableError(self._keeper.problem or "their store is not open yet")
        try:
            yield store
        except StoreError as error:
            raise UnavailableError(str(error)) from error
