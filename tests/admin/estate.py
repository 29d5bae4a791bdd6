"""A small estate to look at: an AdminView of values that a test sets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from proxy.admin.view import ConfigView, ReadyView, RouteView, WorkerView
from proxy.control.recorded import Recorded
from proxy.core.divergences import SignatureSummary
from proxy.core.messages import Counts, Report
from proxy.observe.fleet import Fleet
from proxy.observe.metrics import Aggregator
from proxy.observe.verdict import verdict_of
from proxy.observe.window import Window
from proxy.store.divergences import DivergenceStore

NOW = 400.0
WORKER = WorkerView(slot=0, pid=11, serving=True, generation=3, revision=5)


def a_route(name: str, phase: str, declared: str | None = None) -> RouteView:
    """A route that has done nothing yet."""
    return RouteView(
        name=name,
        pattern=f"/api/{name}/*",
        declared_phase=declared or phase,
        effective_phase=phase,
        verdict=verdict_of(Window()),
    )


@dataclass
class Keeper:
    """Who holds the store of divergences, once a test has opened one."""

    store: DivergenceStore | None = None
    problem: str = ""


def noise_of(summary: SignatureSummary) -> tuple[float, int] | None:
    """What the noise model would know."""
    return (0.125, 340) if summary.path == "$.price" else None


class Estate:
    """Routes, workers and counts as the controller would have them."""

    def __init__(self, *routes: RouteView) -> None:
        self.known = list(routes)
        self.keeper = Keeper()
        self.divergences = Recorded(self.keeper, noise_of)
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
            msgspec.structs.replace(route, window=window, verdict=verdict_of(window))
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
