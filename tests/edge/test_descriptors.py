"""A worker that runs out of file descriptors: counted, told to clients, and no side's error."""

import asyncio
import os
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from proxy.core.model import Backend as BackendSettings
from tests.edge.conftest import Proxy
from tests.harness.backend import Backend, Call
from tests.harness.client import Client
from tests.harness.snapshots import route
from tests.harness.worker import Worker

LIMIT = 200
WARM = route("/warm", "new-only")  # asked before there is no descriptor: then the worker accepts


@pytest_asyncio.fixture(loop_scope="session")
async def alone(legacy: Backend, new: Backend) -> AsyncIterator[Proxy]:
    """A worker of the test's own: its limits do not outlive it."""
    worker = await Worker().start()
    yield Proxy(worker, legacy, new)
    assert worker.running, worker.output()
    await worker.stop()


def limit_open_files(worker: Worker, soft: int) -> None:
    assert worker.process is not None
    _, hard = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_descriptor_left(worker: Worker) -> Iterator[None]:
    """Whatever the worker has open stays so, and nothing more can be opened."""
    assert worker.process is not None
    taken = {int(name) for name in os.listdir(f"/proc/{worker.process.pid}/fd")}
    soft, _ = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)
    free = next(number for number in range(len(taken) + 1) if number not in taken)
    limit_open_files(worker, free)
    try:
        yield
    finally:
        limit_open_files(worker, soft)


async def come(worker: Worker, clients: list[Client]) -> str:
    """A client that stays, and what becomes of it: the status, or that the connection was cut."""
    try:
        client = await worker.connect()
        clients.append(client)
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return str((await client.response()).status)
    except (ConnectionError, asyncio.IncompleteReadError):
        return "cut"


async def test_clients_leave_descriptors_for_backends(alone: Proxy) -> None:
    """Accepted clients took them all: every request was a failure of both sides."""
    limit_open_files(alone.worker, LIMIT)
    await alone.serve(route("/*", "shadow-read"))
    clients: list[Client] = []
    came_to = Counter([await come(alone.worker, clients) for _ in range(LIMIT)])
    assert came_to.keys() == {"200", "503", "cut"}
    # A third of 200 - 64, less an eighth in which the others are told.
    assert came_to["200"] == 41
    await alone.reported(
        lambda totals: (
            totals.refused["connections"] == came_to["503"]
            and totals.refused["descriptors"] == came_to["cut"]
        )
    )
    assert not +alone.worker.totals.errors
    for client in clients:
        client.close()


async def test_a_burst_of_clients_beside_slow_sides_is_served_within_the_limit(
    alone: Proxy,
) -> None:
    """Each client takes three descriptors: those beyond were cut without being counted."""
    is_open = asyncio.Event()

    async def handler(call: Call) -> None:
        await is_open.wait()
        await call.answer(b"ok")

    alone.legacy.handler = alone.new.handler = handler
    limit_open_files(alone.worker, LIMIT)
    await alone.serve(route("/*", "shadow-read"))
    clients: list[Client] = []
    coming = [asyncio.ensure_future(come(alone.worker, clients)) for _ in range(LIMIT)]
    await alone.reported(
        lambda totals: totals.refused["connections"] + totals.refused["descriptors"] == LIMIT - 41
    )
    is_open.set()
    assert Counter(await asyncio.gather(*coming))["200"] == 41
    await alone.reported(lambda totals: totals.requests["/*|shadow-read|legacy|200"] == 41)
    assert not any("no_descriptors" in key for key in alone.worker.totals.requests)
    assert not +alone.worker.totals.errors
    for client in clients:
        client.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://localhost"])
async def test_a_side_is_not_blamed_for_a_connection_that_we_cannot_open(
    alone: Proxy, url: str
) -> None:
    name = BackendSettings("legacy", (f"{url}:{alone.legacy.port}",))
    await alone.serve(route("/*"), WARM, backends={"legacy": name})
    async with await alone.connect() as client:
        assert (await client.get("/warm")).status == 200
        with no_descriptor_left(alone.worker):
            response = await client.get("/")
        assert response.status == 503
        assert response.header("retry-after")
        assert b"legacy_no_descriptors" in response.body
        await alone.reported(
            lambda totals: totals.requests["/*|legacy-only|legacy|no_descriptors"] == 1
        )
        assert (await client.get("/")).status == 200
    assert not +alone.worker.totals.errors


async def test_no_url_is_left_out_for_it(alone: Proxy) -> None:
    urls = (alone.legacy.url, alone.new.url)
    await alone.serve(route("/*"), WARM, backends={"legacy": urls})
    async with await alone.connect() as client:
        assert (await client.get("/warm")).status == 200
        with no_descriptor_left(alone.worker):
            for _ in range(12):
                assert (await client.get("/")).status == 503
        clients = [await alone.connect() for _ in range(4)]
        for each in clients:
            each.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answered = {(await each.response()).body.split()[0] for each in clients}
        for each in clients:
            each.close()
    assert answered == {b"legacy", b"new"}


@pytest.mark.parametrize(("phase", "answers"), [("shadow-read", "legacy"), ("dual-write", "new")])
async def test_it_is_no_evidence_against_new(alone: Proxy, phase: str, answers: str) -> None:
    await alone.serve(route("/warm/*"), route("/*", phase))
    async with await alone.connect() as client:
        # Legacy has a connection that can be used again; new needs one.
        assert (await client.get("/warm/up")).status == 200
        with no_descriptor_left(alone.worker):
            assert (await client.get("/a")).body == b"legacy GET /a 0"
            await alone.reported(
                lambda totals: totals.requests[f"/*|{phase}|new|no_descriptors"] == 1
            )
    totals = alone.worker.totals
    assert totals.skipped["/*|no_connection"] == 1
    assert totals.events["/*|fallback"] == (answers == "new")
    assert not +totals.errors
    assert not +totals.comparisons
    assert not totals.trials["failed"]
    assert not totals.trials["new_failed"]
