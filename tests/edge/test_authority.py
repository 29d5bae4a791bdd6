"""Writes that wait: for a missed flag to be durable, or for authority to move."""

import asyncio

import pytest

from proxy.core.model import Limits, RouteState, Side, Sticky
from tests.edge.conftest import Proxy
from tests.edge.writing import BOTH, TABLE, held, sides
from tests.harness.backend import Call, flooding, replying
from tests.harness.snapshots import phase, route

ONE = [name for name, row in TABLE.items() if row[1] is None]


# Missed writes


@pytest.mark.parametrize("size", [5, 200_000])
@pytest.mark.parametrize("name", ONE)
async def test_the_flag_is_durable_before_the_first_missed_write_is_sent(
    proxy: Proxy, name: str, size: int
) -> None:
    first, _ = sides(proxy, name)
    side = TABLE[name][2]
    proxy.worker.answer_missing = False
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.write(b"x" * size)
        await proxy.worker.changes.until(lambda: proxy.worker.missing)
        async with await proxy.connect() as other:
            assert (await other.get("/")).status == 200
        assert [call.method for call in first.calls] == ["GET"]
        proxy.worker.grant_missing(proxy.worker.missing[0])
        assert (await client.response()).body == f"{first.name} POST / {size}".encode()
        # From now on nothing is asked.
        assert (await client.post("/", b"x")).status == 200
        assert (await client.post("/", b"x")).status == 200
    assert [message.side for message in proxy.worker.missing] == [side]


@pytest.mark.parametrize("name", ONE)
async def test_many_first_writes_ask_once_and_all_wait(proxy: Proxy, name: str) -> None:
    first, _ = sides(proxy, name)
    proxy.worker.answer_missing = False
    await proxy.serve(route("/*", name))
    clients = [await proxy.connect() for _ in range(10)]
    for client in clients:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    await proxy.worker.changes.until(lambda: proxy.worker.missing)
    async with await proxy.connect() as other:
        await other.get("/")
    assert [call.method for call in first.calls] == ["GET"]
    proxy.worker.grant_missing(proxy.worker.missing[0])
    for client in clients:
        assert (await client.response()).status == 200
        client.close()
    assert len(proxy.worker.missing) == 1


async def test_reads_do_not_wait_for_the_flag(proxy: Proxy) -> None:
    proxy.worker.answer_missing = False
    await proxy.serve(route("/*", "legacy-only"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 200
    assert proxy.worker.missing == []


async def test_a_flag_that_never_comes_is_a_503(proxy: Proxy) -> None:
    proxy.worker.answer_missing = False
    await proxy.serve(route("/*", "legacy-only"), switch_timeout_s=0.3)
    async with await proxy.connect() as client:
        response = await client.post("/", b"x")
        assert response.status == 503
        assert response.header("retry-after")
        assert b"until it is recorded that one side misses them" in response.body
        assert proxy.legacy.connections == []
        # The next write asks anew.
        proxy.worker.answer_missing = True
        assert (await client.post("/", b"x")).status == 200


@pytest.mark.parametrize("name", ONE)
async def test_a_side_that_has_missed_writes_already_asks_nothing(proxy: Proxy, name: str) -> None:
    side = TABLE[name][2]
    assert side is not None
    state = RouteState(phase(name), phase(name).authority, missed=frozenset({side}))
    await proxy.serve(route("/*", name), states={"/*": state})
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == 200
    assert proxy.worker.missing == []


async def test_a_refused_write_has_missed_nothing_but_may_be_flagged(proxy: Proxy) -> None:
    """The flag comes before the outcome is known: on the safe side."""
    proxy.legacy.handler = replying(b"", "400 Bad Request")
    await proxy.serve(route("/*", "legacy-only"))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == 400
    assert len(proxy.worker.missing) == 1


# writes: split


@pytest.mark.parametrize("name", TABLE)
async def test_split_writes_go_to_the_side_that_answers_the_client(proxy: Proxy, name: str) -> None:
    sticky = Sticky("header", "X-User")
    await proxy.serve(route("/*", name, split_writes=True, sticky=sticky))
    async with await proxy.connect() as client:
        for user in range(20):
            read = await client.get("/", f"X-User: {user}")
            write = await client.post("/", b"x", f"X-User: {user}")
            assert read.body.split()[0] == write.body.split()[0]
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 40)
    posts = [
        call for backend in (proxy.legacy, proxy.new) for call in backend.calls
        if call.method == "POST"
    ]  # fmt: skip
    assert len(posts) == 20
    assert proxy.worker.missing == []


# Moving authority


def paused(name: str, authority: Side) -> RouteState:
    return RouteState(phase(name), authority, writes_paused=True)


@pytest.mark.parametrize(
    ("before", "after"), [("99%", "dual-write"), ("dual-write", "99%"), ("shadow-read", "new-only")]
)
async def test_authority_moves_through_a_pause(proxy: Proxy, before: str, after: str) -> None:
    missed = frozenset({Side.LEGACY, Side.NEW})
    old, new = phase(before).authority, phase(after).authority
    await proxy.serve(
        route("/*", before), states={"/*": RouteState(phase(before), old, missed=missed)}
    )
    async with await proxy.connect() as client:
        assert (await client.post("/", b"1")).body.startswith(old.value.encode())
        await proxy.legacy.changes.until(
            lambda: before == "shadow-read" or len(proxy.legacy.calls) + len(proxy.new.calls) == 2
        )
        proxy.legacy.reset()
        proxy.new.reset()
        await proxy.worker.set_states(
            {"/*": RouteState(phase(after), old, writes_paused=True, missed=missed)}
        )
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)
        assert proxy.worker.quiet[0].route == "/*"
        assert proxy.worker.quiet[0].revision == proxy.worker.revision
        client.write(b"POST /waits HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2")
        # Reads move at once and do not wait.
        async with await proxy.connect() as reader:
            assert (await reader.get("/read")).status == 200
        posts = [*proxy.legacy.calls, *proxy.new.calls]
        assert not [call for call in posts if call.method == "POST"]
        await proxy.worker.set_states({"/*": RouteState(phase(after), new, missed=missed)})
        response = await client.response()
        assert response.body == f"{new.value} POST /waits 1".encode()


async def test_quiet_is_said_only_when_no_write_is_under_way(proxy: Proxy) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    proxy.legacy.handler = held(first)
    proxy.new.handler = held(second)
    await proxy.serve(route("/*", "50%", ack="authoritative"))
    async with await proxy.connect() as client:
        client.write(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1")
        await proxy.legacy.complete()
        await proxy.worker.set_states({"/*": paused("dual-write", Side.LEGACY)})
        first.set()
        assert (await client.response()).status == 200
        # The client has its answer, the second side has not: the write is still under way.
        await proxy.new.complete()
        await proxy.worker.set_states({})
        assert proxy.worker.quiet == []
        second.set()
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)
        await proxy.worker.set_states({"/*": RouteState.of_phase(phase("dual-write"))})
        assert (await client.post("/2", b"x")).body == b"new POST /2 1"


@pytest.mark.parametrize("size", [5, 300_000])
@pytest.mark.parametrize("name", ["legacy-only", "99%", "dual-write"])
async def test_a_client_that_does_not_read_its_answer_holds_up_no_move(
    proxy: Proxy, name: str, size: int
) -> None:
    first, second = sides(proxy, name)
    first.handler = flooding(30 << 20)
    missed = frozenset({Side.NEW})
    state = RouteState(phase(name), phase(name).authority, missed=missed)
    await proxy.serve(route("/*", name, ack="authoritative"), states={"/*": state})
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.write(b"x" * size)
        assert (await client.head()).status == 200
        if TABLE[name][1]:
            await second.complete()
        await proxy.worker.set_states(
            {"/*": RouteState(phase(name), state.authority, writes_paused=True, missed=missed)}
        )
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)
        assert first.bytes_sent < 30 << 20
        # It gets the rest all the same, once it reads on.
        assert len(await client.exactly(30 << 20)) == 30 << 20


async def test_a_write_whose_answer_begins_early_is_under_way_until_its_body_has_gone(
    proxy: Proxy,
) -> None:
    async def handler(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await call.read()
        await call.hang()

    proxy.legacy.handler = handler
    missed = frozenset({Side.NEW})
    state = RouteState(phase("legacy-only"), Side.LEGACY, missed=missed)
    await proxy.serve(route("/*", "legacy-only"), states={"/*": state})
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert (await client.head()).status == 200
        await proxy.worker.set_states(
            {"/*": RouteState(phase("legacy-only"), Side.LEGACY, writes_paused=True, missed=missed)}
        )
        await proxy.worker.set_states({})
        assert proxy.worker.quiet == []
        client.write(b"0\r\n\r\n")
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)


@pytest.mark.parametrize("size", [5, 300_000])
async def test_waiting_writes_are_told_to_come_again(proxy: Proxy, size: int) -> None:
    await proxy.serve(
        route("/*", "dual-write"),
        states={"/*": paused("dual-write", Side.LEGACY)},
        switch_timeout_s=0.3,
    )
    async with await proxy.connect() as client:
        response = await client.post("/", b"x" * size)
        assert response.status == 503
        assert response.header("retry-after")
        assert response.header("content-type") == b"application/problem+json"
        assert b"wait for a change of its phase" in response.body
    assert proxy.legacy.connections == []
    assert proxy.new.connections == []


async def test_a_client_that_goes_away_while_its_write_waits_has_written_nothing(
    proxy: Proxy,
) -> None:
    await proxy.serve(route("/*", "dual-write"), states={"/*": paused("dual-write", Side.LEGACY)})
    client = await proxy.connect()
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 1)
    client.reset()
    await proxy.reported(lambda totals: totals.connections.get("client") == 0)
    await proxy.worker.set_states({"/*": RouteState.of_phase(phase("dual-write"))})
    async with await proxy.connect() as other:
        assert (await other.post("/other", b"x")).status == 200
    await proxy.legacy.complete()
    targets = [call.target for backend in (proxy.legacy, proxy.new) for call in backend.calls]
    assert targets == ["/other", "/other"]


async def test_a_pause_that_ends_where_it_began_lets_the_writes_on(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "99%"), states={"/*": paused("99%", Side.LEGACY)})
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)
        await proxy.worker.set_states({"/*": RouteState.of_phase(phase("99%"))})
        assert (await client.response()).body == b"legacy POST / 1"


async def test_a_new_table_lets_waiting_writes_on_too(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "99%"), states={"/*": paused("99%", Side.LEGACY)})
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)
        await proxy.serve(route("/*", "99%"), route("/other/*"))
        assert (await client.response()).body == b"legacy POST / 1"


async def test_a_write_that_waits_on_a_route_that_is_removed_gets_an_answer(
    proxy: Proxy,
) -> None:
    await proxy.serve(route("/*", "99%"), states={"/*": paused("99%", Side.LEGACY)})
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        await proxy.worker.changes.until(lambda: proxy.worker.quiet)
        await proxy.serve(route("/other/*"))
        assert (await client.response()).status in (200, 503)


@pytest.mark.parametrize("name", BOTH)
async def test_a_write_with_expect_is_read_before_either_side_is_asked(
    proxy: Proxy, name: str
) -> None:
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        await client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert (await client.head()).status == 100
        assert proxy.legacy.calls == []
        client.write(b"hello")
        response = await client.response()
        assert response.status == 200
        assert response.interim == []
    for backend in (proxy.legacy, proxy.new):
        assert (await backend.complete()).body == b"hello"


async def test_a_body_too_large_for_both_is_refused_without_a_100(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "50%", write_body_bytes=1000), limits=Limits())
    async with await proxy.connect() as client:
        client.write(
            b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"
        )
        response = await client.response()
        assert response.status == 413
        assert response.interim == []
