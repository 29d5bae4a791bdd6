"""Connections to backends: kept, bounded, retried only where nobody can tell, spread, ejected."""

import asyncio
from pathlib import Path

import pytest

from proxy.core.model import Backend as BackendSettings
from tests.edge.conftest import Proxy
from tests.harness.backend import (
    Backend,
    Call,
    Handler,
    hanging,
    plain,
    replying,
    sending,
)
from tests.harness.ports import unused_port
from tests.harness.snapshots import route, snapshot
from tests.harness.waiting import soon
from tests.harness.worker import Worker


async def test_one_connection_carries_many_requests_of_many_clients(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    for _ in range(5):
        async with await proxy.connect() as client:
            for _ in range(5):
                assert (await client.get("/")).status == 200
    assert len(proxy.legacy.connections) == 1
    assert len(proxy.legacy.calls) == 25


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nstray",
    ],
    ids=["close", "HTTP/1.0", "stray bytes"],
)
async def test_a_connection_that_may_not_be_reused_is_not(proxy: Proxy, answer: bytes) -> None:
    proxy.legacy.handler = sending(answer)
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        for _ in range(3):
            assert (await client.get("/")).status == 200
    assert len(proxy.legacy.connections) == 3


async def test_max_connections_bounds_and_the_rest_waits(proxy: Proxy) -> None:
    release = asyncio.Event()
    running = most = 0

    async def handler(call: Call) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        await call.answer(b"done")

    proxy.legacy.handler = handler
    small = BackendSettings("legacy", (proxy.legacy.url,), max_connections=3, connect_timeout_s=20)
    await proxy.serve(route("/*"), backends={"legacy": small})
    clients = [await proxy.connect() for _ in range(20)]
    answers = [asyncio.ensure_future(client.get("/")) for client in clients]
    await proxy.legacy.called(3)
    release.set()
    for response in await soon(asyncio.gather(*answers)):
        assert response.body == b"done"
    assert most == 3
    assert len(proxy.legacy.connections) == 3
    for client in clients:
        client.close()


async def test_a_client_that_goes_away_leaves_the_line(proxy: Proxy) -> None:
    release = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.target == "/first":
            await release.wait()
        await call.answer(b"done")

    proxy.legacy.handler = handler
    small = BackendSettings("legacy", (proxy.legacy.url,), max_connections=1, connect_timeout_s=20)
    await proxy.serve(route("/*"), backends={"legacy": small})
    async with await proxy.connect() as first, await proxy.connect() as last:
        first.write(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        await proxy.legacy.called()
        gone = await proxy.connect()
        gone.write(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        last.write(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
        gone.reset()
        # The worker has seen the reset once it has answered on a connection made afterwards.
        async with await proxy.connect() as probe:
            probe.write(b"\0\0\0")
            await probe.response()
        release.set()
        assert (await first.response()).status == 200
        assert (await last.response()).status == 200
    assert [call.target for call in proxy.legacy.calls] == ["/first", "/last"]


async def warm(proxy: Proxy) -> None:
    """Leave one idle connection in the pool."""
    async with await proxy.connect() as client:
        assert (await client.get("/warm")).status == 200


def closing_second(answered: bytes = b"") -> Handler:
    """A handler whose kept-alive connections die when they are used again."""

    async def handler(call: Call) -> None:
        if call.connection.calls > 1 or call.target == "/never":
            if answered:
                await call.send(answered)
            call.close() if answered else call.reset()
        else:
            await plain(call)

    return handler


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_stale_connection_is_replaced_for_an_idempotent_request(
    proxy: Proxy, method: str
) -> None:
    proxy.legacy.handler = closing_second()
    await proxy.serve(route("/*"))
    await warm(proxy)
    async with await proxy.connect() as client:
        assert (await client.get("/again", method=method)).status == 200
    assert [call.target for call in proxy.legacy.calls] == ["/warm", "/again", "/again"]
    assert len(proxy.legacy.connections) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_an_idempotent_write_is_sent_again_with_its_body(proxy: Proxy, method: str) -> None:
    proxy.legacy.handler = closing_second()
    await proxy.serve(route("/*"))
    await warm(proxy)
    async with await proxy.connect() as client:
        assert (await client.post("/again", b"hello", method=method)).status == 200
    assert proxy.legacy.calls[-1].body == b"hello"


@pytest.mark.parametrize("method", ["POST", "PATCH", "X-OWN"])
async def test_what_is_not_idempotent_is_never_sent_twice(proxy: Proxy, method: str) -> None:
    proxy.legacy.handler = closing_second()
    await proxy.serve(route("/*"))
    await warm(proxy)
    async with await proxy.connect() as client:
        assert (await client.post("/again", b"hello", method=method)).status == 502
    assert [call.target for call in proxy.legacy.calls] == ["/warm", "/again"]


async def test_a_response_that_began_is_never_asked_again(proxy: Proxy) -> None:
    proxy.legacy.handler = closing_second(b"HTTP/1.1 2")
    await proxy.serve(route("/*"))
    await warm(proxy)
    async with await proxy.connect() as client:
        assert (await client.get("/again")).status == 502
    assert [call.target for call in proxy.legacy.calls] == ["/warm", "/again"]


async def test_a_new_connection_that_dies_is_not_tried_again(proxy: Proxy) -> None:
    proxy.legacy.handler = closing_second()
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/never")).status == 502
    assert [call.target for call in proxy.legacy.calls] == ["/never"]


async def test_connections_that_the_backend_closed_while_idle_are_dropped(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    await warm(proxy)
    proxy.legacy.connections[0].writer.close()
    await proxy.legacy.changes.until(lambda: proxy.legacy.connections[0].ended)
    async with await proxy.connect() as client:
        assert (await client.post("/after", b"x")).status == 200
    assert [call.target for call in proxy.legacy.calls] == ["/warm", "/after"]


async def test_an_answer_to_nothing_poisons_nobody(proxy: Proxy) -> None:
    """Bytes on an idle connection would be taken for the next request's answer."""
    await proxy.serve(route("/*"))
    await warm(proxy)
    writer = proxy.legacy.connections[0].writer
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    await proxy.legacy.changes.until(lambda: proxy.legacy.connections[0].ended)
    async with await proxy.connect() as client:
        assert (await client.get("/after")).body == b"legacy GET /after 0"


async def test_the_least_loaded_url_is_asked(proxy: Proxy) -> None:
    release = asyncio.Event()

    async def held(call: Call) -> None:
        await release.wait()
        await call.answer(call.backend.name.encode())

    async with Backend("a", held) as a, Backend("b", held) as b, Backend("c", held) as c:
        await proxy.serve(route("/*"), backends={"legacy": (a.url, b.url, c.url)})
        clients = [await proxy.connect() for _ in range(9)]
        answers = [asyncio.ensure_future(client.get("/")) for client in clients]
        for backend in (a, b, c):
            await backend.called(3)
        assert [len(backend.calls) for backend in (a, b, c)] == [3, 3, 3]
        release.set()
        bodies = [response.body for response in await soon(asyncio.gather(*answers))]
        assert sorted(bodies) == [b"a"] * 3 + [b"b"] * 3 + [b"c"] * 3
        for client in clients:
            client.close()


async def test_a_url_that_refuses_is_passed_over(proxy: Proxy) -> None:
    dead = f"http://127.0.0.1:{unused_port()}"
    await proxy.serve(route("/*"), backends={"legacy": (dead, proxy.legacy.url)})
    async with await proxy.connect() as client:
        for _ in range(20):
            assert (await client.get("/")).status == 200
            assert (await client.post("/", b"x")).status == 200


async def test_a_url_that_fails_again_and_again_is_ejected(proxy: Proxy) -> None:
    async with Backend("bad", replying(b"", "503 Service Unavailable")) as bad:
        await proxy.serve(route("/*"), backends={"legacy": (bad.url, proxy.legacy.url)})
        async with await proxy.connect() as client:
            for _ in range(60):
                await client.get("/")
        assert 1 <= len(bad.calls) <= 15
        assert len(proxy.legacy.calls) == 60 - len(bad.calls)


async def test_a_url_that_refuses_is_passed_over_by_shadows_too(proxy: Proxy) -> None:
    dead = f"http://127.0.0.1:{unused_port()}"
    urls = (dead, proxy.new.url)
    await proxy.serve(
        route("/*", "shadow-read"), backends={"legacy": proxy.legacy.url, "new": urls}
    )
    async with await proxy.connect() as client:
        for _ in range(40):
            assert (await client.get("/")).status == 200
    await proxy.new.called(40)


async def test_a_url_that_is_left_out_is_asked_where_the_others_refuse(proxy: Proxy) -> None:
    # As in a rolling deployment: the first one is back, and the second one goes away.
    port = unused_port()
    async with Backend("second") as second:
        urls = (f"http://127.0.0.1:{port}", second.url)
        await proxy.serve(route("/*"), backends={"legacy": urls})
        async with await proxy.connect() as client:
            for _ in range(20):
                assert (await client.get("/")).status == 200
    async with Backend("first", port=port) as first, await proxy.connect() as client:
        for _ in range(3):
            assert (await client.get("/")).status == 200
            assert (await client.post("/", b"x")).status == 200
        assert len(first.calls) == 6


async def test_with_every_url_failing_all_are_still_tried(proxy: Proxy) -> None:
    bad = replying(b"", "503 Service Unavailable")
    async with Backend("a", bad) as a, Backend("b", bad) as b:
        await proxy.serve(route("/*"), backends={"legacy": (a.url, b.url)})
        async with await proxy.connect() as client:
            for _ in range(40):
                assert (await client.get("/")).status == 503
            a.handler = b.handler = plain
            assert (await client.get("/")).status == 200


async def test_a_url_reported_unhealthy_gets_no_requests(proxy: Proxy) -> None:
    async with Backend("second") as second:
        await proxy.serve(route("/*"), backends={"legacy": (proxy.legacy.url, second.url)})
        proxy.worker.health("legacy", proxy.legacy.url, False)
        # Messages of the link are taken in order: Applied says that this one was.
        await proxy.worker.set_states({})
        async with await proxy.connect() as client:
            for _ in range(10):
                assert (await client.get("/")).body.startswith(b"second")
            proxy.worker.health("legacy", proxy.legacy.url, True)
            proxy.worker.health("legacy", second.url, False)
            await proxy.worker.set_states({})
            for _ in range(10):
                assert (await client.get("/")).body.startswith(b"legacy")


async def test_health_survives_a_new_table(proxy: Proxy) -> None:
    async with Backend("second") as second:
        urls = (proxy.legacy.url, second.url)
        await proxy.serve(route("/*"), backends={"legacy": urls})
        proxy.worker.health("legacy", proxy.legacy.url, False)
        await proxy.serve(route("/*"), route("/other/*"), backends={"legacy": urls})
        async with await proxy.connect() as client:
            for _ in range(10):
                assert (await client.get("/")).body.startswith(b"second")


async def test_a_backend_behind_a_unix_socket(proxy: Proxy, tmp_path: Path) -> None:
    async with Backend("local", unix=str(tmp_path / "s")) as local:
        await proxy.serve(route("/*"), backends={"legacy": local.url})
        async with await proxy.connect() as client:
            assert (await client.get("/x")).body == b"local GET /x 0"
            assert (await client.post("/x", b"abc")).body == b"local POST /x 3"
        assert len(local.connections) == 1
        assert local.calls[0].header("host") == b"shop.example"


async def test_a_backend_behind_a_missing_unix_socket(proxy: Proxy, tmp_path: Path) -> None:
    await proxy.serve(route("/*"), backends={"legacy": f"unix:{tmp_path}/none"})
    async with await proxy.connect() as client:
        assert (await client.get("/x")).status == 502


async def test_pools_of_backends_that_stay_survive_a_new_table(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    await warm(proxy)
    await proxy.serve(route("/*"), route("/more/*", "new-only"))
    await warm(proxy)
    assert len(proxy.legacy.connections) == 1


async def test_connections_of_a_backend_that_left_the_table_are_closed(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    await warm(proxy)
    await proxy.serve(route("/*", "new-only"), backends={"legacy": proxy.new.url})
    await proxy.legacy.changes.until(lambda: not proxy.legacy.open_connections)


async def test_a_request_under_way_outlives_its_table(proxy: Proxy) -> None:
    release = asyncio.Event()

    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await release.wait()
        await call.send(b"half")

    proxy.legacy.handler = handler
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        await proxy.serve(route("/*"), backends={"legacy": proxy.new.url})
        assert (await client.exactly(4)) == b"half"
        release.set()
        assert (await client.exactly(4)) == b"half"
        assert (await client.get("/now")).body == b"new GET /now 0"
    await proxy.legacy.changes.until(lambda: not proxy.legacy.open_connections)


async def test_who_waits_for_a_backend_that_left_the_table_waits_no_longer_than_before(
    proxy: Proxy,
) -> None:
    proxy.legacy.handler = hanging
    narrow = BackendSettings("legacy", (proxy.legacy.url,), max_connections=1, connect_timeout_s=1)
    await proxy.serve(route("/*"), backends={"legacy": narrow})
    async with await proxy.connect() as first, await proxy.connect() as second:
        first.write(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        await proxy.legacy.called(1)
        second.write(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        # The worker has seen the second once it has answered on a connection made afterwards.
        async with await proxy.connect() as probe:
            probe.write(b"\0\0\0")
            await probe.response()
        await proxy.serve(route("/*"), backends={"legacy": proxy.new.url})
        assert (await second.response()).status == 503
        assert [call.target for call in proxy.legacy.calls] == ["/first"]


async def test_a_cancelled_request_gives_its_connection_up(proxy: Proxy) -> None:
    proxy.legacy.handler = hanging
    await proxy.serve(route("/*"))
    client = await proxy.connect()
    client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await proxy.legacy.called()
    client.reset()
    await proxy.legacy.changes.until(lambda: not proxy.legacy.open_connections)
    # Nobody's error: the client went away.
    async with await proxy.connect() as other:
        proxy.legacy.handler = plain
        assert (await other.get("/")).status == 200
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 2)
    assert proxy.worker.totals.errors["/*|legacy"] == 0


async def test_connections_do_not_leak(worker: Worker, legacy: Backend, new: Backend) -> None:
    """After a mix of ends of every kind, the worker holds what it held before."""
    table = snapshot([route("/*", "shadow-read")], {"legacy": legacy.url, "new": new.url})
    await worker.apply(table)

    async def kinds(number: int) -> None:
        async with await worker.connect() as client:
            client.write(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            if number % 3 == 0:
                client.reset()
            elif number % 3 == 1:
                await client.response()

    await soon(asyncio.gather(*(kinds(number) for number in range(60))))
    await worker.apply(snapshot([], {"legacy": "http://127.0.0.1:1"}))
    async with await worker.connect():
        await legacy.changes.until(lambda: not legacy.open_connections)
        await new.changes.until(lambda: not new.open_connections)
    before = worker.open_files()
    assert before < 20
