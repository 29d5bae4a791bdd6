"""A small estate to look at: an AdminView of values that a test sets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from proxy.admin.divergences import UnavailableError
from proxy.admin.events import Events
from proxy.admin.steering import Action, Asked, HistoryLine, RefusedError, WrongOrderError
from proxy.admin.view import ConfigView, ReadyView, RouteView, WorkerView
from proxy.control.recorded import Recorded
from proxy.core.divergences import SignatureSummary
from proxy.core.guard import Verdict
from proxy.core.messages import Counts, Report
from proxy.observe.fleet import Fleet
from proxy.observe.metrics import Aggregator
from proxy.store.divergences import DivergenceStore

NOW = 400.0
NO_VERDICT = Verdict("inconclusive", "New has not been asked since the last change.")
WORKER = WorkerView(slot=0, pid=11, serving=True, generation=3, revision=5)


def a_route(name: str, phase: str, declared: str | None = None) -> RouteView:
    """A route that has done nothing yet."""
    return RouteView(
        name=name,
        pattern=f"/api/{name}/*",
        declared_phase=declared or phase,
        effective_phase=phase,
        verdict=NO_VERDICT,
    )


@dataclass
class Keeper:
    """Who holds the store of divergences, once a test has opened one."""

    store: DivergenceStore | None = None
    problem: str = ""


class Mover:
    """Who moves routes: remembers the orders, and answers them as a test sets it."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, Action, Asked]] = []
        self.lines: list[HistoryLine] = []
        self.answer: WrongOrderError | RefusedError | UnavailableError | None = None

    async def order(self, name: str, action: Action, asked: Asked) -> None:
        self.orders.append((name, action, asked))
        if self.answer is not None:
            raise self.answer

    async def history(self, route: str | None, limit: int) -> list[HistoryLine]:
        if isinstance(self.answer, UnavailableError):
            raise self.answer
        return [line for line in self.lines if route in (None, line.route)][:limit]


def noise_of(summary: SignatureSummary) -> tuple[float, int] | None:
    """What the noise model would know."""
    return (0.125, 340) if summary.path == "$.price" else None


class Estate:
    """Routes, workers and counts as the controller would have them."""

    def __init__(self, *routes: RouteView) -> None:
        self.known = list(routes)
        self.keeper = Keeper()
        self.divergences = Recorded(self.keeper, noise_of)
        self.steering = Mover()
        self.events = Events()
        self.ready = ReadyView.of([WORKER])
        self.configuration = ConfigView(
            file="/etc/banyan/routes.yaml",
            generation=3,
            loaded_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
        self.counts = Aggregator(started=0.0)
        self.counts.retain([route.name for route in routes], 0.0)

    def report(self, *counts: Counts) -> None:
        self.counts.apply(Report(0, counts=list(counts), connections={"client": 2}), NOW)
        windows = [self.counts.window(route.name, NOW) for route in self.known]
        self.known = [
            msgspec.structs.replace(route, window=window)
            for route, window in zip(self.known, windows, strict=True)
        ]

    def routes(self) -> Sequence[RouteView]:
        return self.known

    def route(self, name: str) -> RouteView | None:
        return next((route for route in self.known if route.name == name), None)

    def config(self) -> ConfigView:
        return self.configuration

    def readiness(self) -> ReadyView:
        return self.ready

    def metrics(self) -> Iterator[str]:
        return self.counts.prometheus(Fleet({}, generation=3, config_errors=0), NOW)
