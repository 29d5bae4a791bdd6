"""Ends and restarts of a worker: draining, grace, kills, and life without a controller."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.core.messages import Missing
from proxy.core.model import RouteState, Side, Snapshot
from tests.harness.backend import Backend, Call, Handler, hanging, plain, replying
from tests.harness.snapshots import phase, route, snapshot
from tests.harness.waiting import Changes, soon
from tests.harness.worker import Worker


@pytest_asyncio.fixture(loop_scope="session")
async def worker(legacy: Backend, new: Backend) -> AsyncIterator[Worker]:
    """A worker of the test's own, serving all of `/*` from legacy."""
    worker = await Worker(grace_s=5).start()
    await worker.apply(table(legacy, new))
    yield worker
    output = worker.new_output()
    await worker.stop()
    assert "Traceback" not in output, output


def table(legacy: Backend, new: Backend, name: str = "legacy-only") -> Snapshot:
    return snapshot([route("/*", name)], {"legacy": legacy.url, "new": new.url})


def held(gate: asyncio.Event, body: bytes = b"done") -> Handler:
    async def handler(call: Call) -> None:
        await call.read()
        if call.method != "OPTIONS":
            await gate.wait()
        await call.answer(body)

    return handler


async def test_sigterm_lets_requests_under_way_finish(worker: Worker, legacy: Backend) -> None:
    gate = asyncio.Event()
    legacy.handler = held(gate)
    async with await worker.connect() as client, await worker.connect() as idle:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await idle.get("/idle", method="OPTIONS")).status == 200
        await legacy.called(2)
        worker.signal(signal.SIGTERM)
        # An idle connection goes at once, without a word.
        assert await idle.ended()
        gate.set()
        response = await client.response()
        assert response.body == b"done"
        assert response.closes
        assert await client.ended()
    assert await worker.exit_code() == 0
    assert len(worker.byes) == 1
    assert worker.totals.client_requests["/*"] == 2


async def test_an_empty_line_behind_a_body_keeps_no_connection(worker: Worker) -> None:
    async with await worker.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\r\n")
        assert (await client.response()).status == 200
        worker.signal(signal.SIGTERM)
        assert await client.ended(within_s=3)
    assert await worker.exit_code() == 0


async def test_the_last_counts_are_handed_over(worker: Worker) -> None:
    async with await worker.connect() as client:
        for _ in range(7):
            await client.get("/")
    worker.signal(signal.SIGTERM)
    assert await worker.exit_code() == 0
    assert worker.totals.client_requests["/*"] == 7


async def test_what_waits_in_the_queue_is_accepted_or_left_for_the_next(
    worker: Worker, legacy: Backend
) -> None:
    """No connection is lost between a worker that drains and the one that follows."""
    clients = []
    for _ in range(30):
        client = await worker.connect()
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        clients.append(client)
    worker.signal(signal.SIGTERM)
    for _ in range(30):
        client = await worker.connect()
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        clients.append(client)
    assert await worker.exit_code() == 0
    await worker.spawn()
    for client in clients:
        assert (await client.response()).body == b"legacy GET / 0"
        client.close()


async def test_a_killed_worker_loses_no_queued_connection(worker: Worker) -> None:
    async with await worker.connect() as client:
        await client.get("/")
        worker.signal(signal.SIGKILL)
        await worker.exit_code()
        await client.ended()
    queued = [await worker.connect() for _ in range(20)]
    for client in queued:
        client.write(b"GET /q HTTP/1.1\r\nHost: a\r\n\r\n")
    await worker.spawn()
    for client in queued:
        assert (await client.response()).body == b"legacy GET /q 0"
        client.close()


async def test_the_rest_of_a_pipeline_is_not_answered_when_draining(
    worker: Worker, legacy: Backend
) -> None:
    gate = asyncio.Event()
    legacy.handler = held(gate)
    async with await worker.connect() as client:
        client.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await legacy.called()
        worker.signal(signal.SIGTERM)
        await worker.changes.until(lambda: worker.totals.draining)
        gate.set()
        first = await client.response()
        assert first.closes or (await client.response()).closes
    assert await worker.exit_code() == 0


async def test_an_upload_under_way_is_finished(worker: Worker, legacy: Backend) -> None:
    async with await worker.connect() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 9)
        await legacy.called()
        worker.signal(signal.SIGTERM)
        await soon(worker.changes.until(lambda: worker.totals.draining or not worker.running))
        await client.send(b"x" * 199_991)
        assert (await client.response()).body == b"legacy PUT / 200000"
    assert await worker.exit_code() == 0


async def test_grace_bounds_the_drain(legacy: Backend, new: Backend) -> None:
    worker = await Worker(grace_s=0.3).start()
    try:
        legacy.handler = hanging
        await worker.apply(table(legacy, new))
        async with await worker.connect() as client:
            client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await legacy.called()
            worker.signal(signal.SIGTERM)
            # Cut, and seen to be cut.
            assert not await client.ended()
        assert await worker.exit_code() == 0
        assert len(worker.byes) == 1
    finally:
        await worker.stop()


async def test_a_second_sigterm_ends_at_once(worker: Worker, legacy: Backend) -> None:
    legacy.handler = hanging
    async with await worker.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await legacy.called()
        worker.signal(signal.SIGTERM)
        await worker.changes.until(lambda: worker.totals.draining)
        worker.signal(signal.SIGTERM)
        await worker.exit_code(within_s=2)


async def test_the_second_side_of_a_write_is_waited_for(
    worker: Worker, legacy: Backend, new: Backend
) -> None:
    gate = asyncio.Event()
    new.handler = held(gate)
    await worker.apply(table(legacy, new, "0%"))
    async with await worker.connect() as client:
        assert (await client.post("/", b"abc")).status == 200
    await new.complete()
    worker.signal(signal.SIGTERM)
    await worker.changes.until(lambda: worker.totals.draining)
    assert worker.running
    gate.set()
    assert await worker.exit_code() == 0
    assert worker.totals.requests["/*|0%|new|200"] == 1


async def test_sigterm_before_the_first_table() -> None:
    worker = await Worker().start()
    try:
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0
    finally:
        await worker.stop()


async def test_nothing_is_accepted_before_the_first_table(legacy: Backend, new: Backend) -> None:
    worker = await Worker().start()
    try:
        async with await worker.connect() as client:
            client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await worker.apply(table(legacy, new))
            assert (await client.response()).body == b"legacy GET / 0"
    finally:
        await worker.stop()


# Without a controller


async def test_the_last_table_serves_on_and_the_link_comes_back(
    worker: Worker, legacy: Backend
) -> None:
    hellos = len(worker.hellos)
    async with await worker.connect() as client:
        await worker.cut_link()
        for _ in range(20):
            assert (await client.get("/")).status == 200
        await worker.changes.until(lambda: len(worker.hellos) > hellos)
        await worker.reported(lambda totals: totals.client_requests["/*"] == 20)
        assert (await client.get("/")).status == 200


async def test_counts_are_kept_while_nobody_listens(worker: Worker) -> None:
    await worker.close_link()
    async with await worker.connect() as client:
        for _ in range(50):
            assert (await client.get("/")).status == 200
    assert worker.totals.client_requests["/*"] == 0
    await worker.open_link()
    await worker.reported(lambda totals: totals.client_requests["/*"] == 50)


async def test_observations_are_bounded_while_nobody_listens(
    worker: Worker, legacy: Backend, new: Backend
) -> None:
    await worker.apply(table(legacy, new, "shadow-read"))
    await worker.close_link()
    count = 200

    async def one() -> None:
        async with await worker.connect() as client:
            for _ in range(count // 4):
                await client.get("/")

    await asyncio.gather(*(one() for _ in range(4)))
    await worker.open_link()
    await worker.reported(
        lambda totals: len(totals.observations) + totals.observations_dropped == count
    )
    assert worker.totals.comparisons["/*|differing"] == count


async def test_a_missing_flag_is_asked_again_after_the_link_is_back(
    worker: Worker, legacy: Backend
) -> None:
    worker.answer_missing = False
    async with await worker.connect() as client:
        await worker.close_link()
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        async with await worker.connect() as reader:
            assert (await reader.get("/")).status == 200
        assert [call.method for call in legacy.calls] == ["GET"]
        worker.answer_missing = True
        await worker.open_link()
        assert (await client.response()).body == b"legacy POST / 1"
    assert Missing(0, "/*", Side.NEW, worker.missing[0].reason) in worker.missing


async def test_a_pause_is_confirmed_again_after_the_link_is_back(worker: Worker) -> None:
    paused = RouteState(phase("dual-write"), Side.LEGACY, writes_paused=True)
    await worker.set_states({"/*": paused})
    await worker.changes.until(lambda: worker.quiet)
    worker.quiet.clear()
    await worker.cut_link()
    await worker.changes.until(lambda: worker.quiet)


async def test_a_controller_that_sends_nonsense_is_left(worker: Worker) -> None:
    hellos = len(worker.hellos)
    worker.send_raw(b"\xff\xff\xff\xff nonsense")
    await worker.changes.until(lambda: len(worker.hellos) > hellos)
    async with await worker.connect() as client:
        assert (await client.get("/")).status == 200


async def test_a_table_is_swapped_whole_under_load(
    worker: Worker, legacy: Backend, new: Backend
) -> None:
    """Every answer comes from the old table or the new one, and no request fails."""
    legacy.handler = replying(b"legacy")
    new.handler = replying(b"new")
    stop = asyncio.Event()
    seen: list[bytes] = []
    changes = Changes()

    async def load() -> None:
        async with await worker.connect() as client:
            while not stop.is_set():
                response = await client.get("/")
                assert response.status == 200
                seen.append(response.body)
                changes.notify()

    tasks = [asyncio.ensure_future(load()) for _ in range(4)]
    for turn in range(20):
        name = "new-only" if turn % 2 == 0 else "legacy-only"
        await worker.apply(table(legacy, new, name))
        wanted = b"new" if turn % 2 == 0 else b"legacy"
        at = len(seen) + 4  # those that were on their way
        await changes.until(lambda at=at: len(seen) >= at + 4)  # type: ignore[misc]  # bound early
        assert set(seen[at:]) == {wanted}
    stop.set()
    await asyncio.gather(*tasks)


async def test_two_thousand_routes_are_applied_while_requests_are_answered(
    worker: Worker, legacy: Backend, new: Backend
) -> None:
    routes = [route(f"/r{number}/x/{{id}}/*", "shadow-read") for number in range(2000)]
    many = snapshot([*routes, route("/*")], {"legacy": legacy.url, "new": new.url})
    async with await worker.connect() as client:
        applying = asyncio.ensure_future(worker.apply(many))
        while not applying.done():
            assert (await client.get("/")).status == 200
        await applying
        assert (await client.get("/r1999/x/5/y")).status == 200
    await new.called()
    assert new.handler is plain


@pytest.mark.parametrize("number", [signal.SIGINT])
async def test_sigint_drains_too(worker: Worker, number: signal.Signals) -> None:
    worker.signal(number)
    assert await worker.exit_code() == 0


async def test_a_missing_link_at_the_start_is_waited_for(legacy: Backend, new: Backend) -> None:
    worker = Worker()
    await worker.start(link_later=True)
    try:
        await worker.open_link()
        await worker.changes.until(lambda: worker.hellos)
        await worker.apply(table(legacy, new))
        async with await worker.connect() as client:
            assert (await client.get("/")).status == 200
    finally:
        await worker.stop()
