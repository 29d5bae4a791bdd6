"""What is said of an edit and of a change: only what is so, and for each route."""

from pathlib import Path

import structlog
from structlog.testing import capture_logs

from proxy.control.commands import Commands
from proxy.control.comparers import Comparers
from proxy.control.evidence import Evidence
from proxy.control.guarding import Guard
from proxy.control.roster import Roster
from proxy.control.view import ControllerView
from proxy.control.world import WriteMissed
from proxy.core.model import LEGACY_ONLY, SHADOW_READ, Side
from proxy.observe.metrics import Aggregator
from proxy.observe.observations import Observations
from proxy.observe.tracing import TraceCounts
from proxy.store.divergences import DivergenceStore
from proxy.store.state import StoreError
from tests.control.estate import route, table
from tests.control.test_ledger import Bench, FailingStore, bench
from tests.harness.waiting import eventually


def view_of(made: Bench) -> ControllerView:
    async def no_store() -> DivergenceStore:
        raise StoreError("none here")

    counts = Aggregator(0.0)
    evidence = Evidence(
        b"k" * 32,
        counts,
        Observations(structlog.get_logger()),
        lambda slot, question: False,
        lambda seen, result, differences: None,
        lambda found, now: None,
        no_store,
    )
    guard = Guard(made.ledger.submit, lambda *low: None)
    commands = Commands(made.ledger, b"k" * 32, guard.verdict)
    comparers = Comparers(0, evidence.compared)
    return ControllerView(
        "routes.yaml",
        made.ledger,
        Roster(1),
        counts,
        {},
        comparers,
        evidence,
        TraceCounts(),
        guard,
        commands,
        {},
        {},
    )


async def test_an_edit_that_the_store_cannot_take_is_not_said_to_be_loaded(tmp_path: Path) -> None:
    store = FailingStore()
    async with bench(tmp_path, store) as made:
        view = view_of(made)
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        await made.until_published(1)
        view.loaded([])
        before = view.config()
        assert before.last_error is None
        store.failures = ["before"] * 3
        made.ledger.submit(table(route("a", SHADOW_READ)))
        view.read()
        await eventually(lambda: view.config().last_error, "the trouble")
        told = view.config()
        assert told.last_error is not None
        assert "read and is not in force yet: the disk is gone" in told.last_error.text
        assert (told.generation, told.loaded_at) == (before.generation, before.loaded_at)
        await made.until_published(2)
        view.loaded([])
        assert view.config().last_error is None
        assert view.config().generation == before.generation + 1


async def test_a_store_that_fails_later_is_shown_until_it_is_back(tmp_path: Path) -> None:
    store = FailingStore()
    async with bench(tmp_path, store) as made:
        view = view_of(made)
        made.ledger.submit(table(route("a", LEGACY_ONLY)))
        await made.until_published(1)
        assert view.readiness().degraded == ()
        store.failures = ["before"] * 3
        made.ledger.submit(WriteMissed("a", Side.NEW))
        await eventually(lambda: view.readiness().degraded, "the trouble")
        [trouble] = view.readiness().degraded
        assert "the disk is gone" in trouble
        await made.changes.until(lambda: not made.published[-1].world.frozen, "a thaw")
        assert view.readiness().degraded == ()


async def test_each_change_of_a_route_is_a_line_of_the_log(tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with bench(tmp_path) as made:
            made.ledger.submit(table(route("a", LEGACY_ONLY)))
            await made.until_published(1)
            made.ledger.submit(table(route("a", SHADOW_READ)))
            await made.until_published(2)
            made.ledger.submit(WriteMissed("a", Side.NEW, "a write is not sent there"))
            await made.until_published(3)
    told = [line for line in lines if line["event"] == "route changed" and line["route"] == "a"]
    phase = next(line for line in told if line["what"] == "phase" and line["before"])
    assert (phase["before"], phase["after"], phase["by"]) == ("legacy-only", "shadow-read", "file")
    missed = next(line for line in told if line["what"] == "missed")
    assert "new" in missed["after"]
    assert missed["reason"] == "a write is not sent there"
