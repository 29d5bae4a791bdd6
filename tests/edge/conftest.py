"""Fixtures of the data-plane tests: one event loop, a worker per module, two backends."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.core.model import Route, RouteState, Snapshot
from tests.harness.backend import Backend
from tests.harness.certificates import Certificates
from tests.harness.snapshots import snapshot
from tests.harness.worker import Worker

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test here runs in one loop, so that a worker can outlive a test."""
    marker = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(marker, append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_worker() -> AsyncIterator[Worker]:
    worker = await Worker().start()
    yield worker
    await worker.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def worker(module_worker: Worker) -> AsyncIterator[Worker]:
    """The module's worker, alive and with nothing to say of earlier tests."""
    if not module_worker.running:
        await module_worker.spawn()
    module_worker.begin_test()
    module_worker.new_output()
    yield module_worker
    output = module_worker.new_output()
    assert module_worker.running, f"the worker died:\n{output}"
    assert "Traceback" not in output, output
    assert "rror" not in output, output


@pytest_asyncio.fixture(loop_scope="session")
async def legacy() -> AsyncIterator[Backend]:
    async with Backend("legacy") as backend:
        yield backend


@pytest_asyncio.fixture(loop_scope="session")
async def new() -> AsyncIterator[Backend]:
    async with Backend("new") as backend:
        yield backend


Apply = Callable[..., "object"]


class Proxy:
    """A worker between two backends: `serve` puts a table in force."""

    def __init__(self, worker: Worker, legacy: Backend, new: Backend) -> None:
        self.worker = worker
        self.legacy = legacy
        self.new = new
        self.connect = worker.connect
        self.reported = worker.reported

    @property
    def totals(self) -> "object":
        return self.worker.totals

    async def serve(
        self,
        *routes: Route,
        states: dict[str, RouteState] | None = None,
        backends: "dict[str, object] | None" = None,
        **settings: object,
    ) -> Snapshot:
        """Put these routes in force; backends `legacy` and `new` unless others are given."""
        table: Snapshot = snapshot(
            routes,
            {"legacy": self.legacy.url, "new": self.new.url, **(backends or {})},  # type: ignore[dict-item]  # values of Backend, str or tuple
            states,
            **settings,  # type: ignore[arg-type]  # settings of Snapshot
        )
        await self.worker.apply(table)
        return table


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(worker: Worker, legacy: Backend, new: Backend) -> Proxy:
    return Proxy(worker, legacy, new)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
