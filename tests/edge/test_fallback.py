"""Reads that new fails (contract §2, Fallback): answered by legacy, once, where they may be."""

import asyncio

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import RouteState, Side, Sticky
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, flooding, hanging, plain, replying, sending
from tests.harness.snapshots import phase, route

# Fallback

FAILURES = {
    "502": replying(b"bad", "502 Bad Gateway"),
    "503": replying(b"bad", "503 Service Unavailable"),
    "504": replying(b"bad", "504 Gateway Timeout"),
    "closes": sending(b"", close=True),
    "half a head": sending(b"HTTP/1.1 20", close=True),
    "garbage": sending(b"garbage\r\n\r\n", close=True),
    "hangs": hanging,
}


@pytest.mark.parametrize("name", ["50%", "dual-write", "new-only"])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_read_that_new_fails_is_answered_by_legacy(
    proxy: Proxy, failure: str, name: str
) -> None:
    proxy.new.handler = FAILURES[failure]
    sticky = Sticky("header", "X-User")
    await proxy.serve(route("/*", name, fallback_after_s=0.3, sticky=sticky))
    async with await proxy.connect() as client:
        asked = 0
        for user in range(6 if name == "50%" else 1):
            response = await client.get("/a", f"X-User: {user}")
            assert (response.status, response.body) == (200, b"legacy GET /a 0")
            asked += 1
    assert len(proxy.legacy.calls) == asked
    await proxy.reported(
        lambda totals: totals.events["/*|fallback"] and totals.errors["/*|new"] >= 1
    )


@pytest.mark.parametrize("name", ["dual-write", "new-only"])
async def test_the_fallback_is_asked_of_legacy_once(proxy: Proxy, name: str) -> None:
    """The running shadow's answer is used where there is one; no second request then."""
    proxy.new.handler = replying(b"bad", "503 Service Unavailable")
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.get("/a")).body == b"legacy GET /a 0"
    await proxy.reported(lambda totals: totals.events["/*|fallback"] == 1)
    assert len(proxy.legacy.calls) == 1
    assert (proxy.legacy.calls[0].header("banyan-role") == b"shadow") is (name == "dual-write")


async def test_a_shadow_that_found_no_place_is_no_failure_of_legacy(proxy: Proxy) -> None:
    async def legacy(call: Call) -> None:
        await (hanging if call.target == "/hangs" else plain)(call)

    async def new(call: Call) -> None:
        await call.answer(b"", "200 OK" if call.target == "/hangs" else "503 Service Unavailable")

    proxy.legacy.handler, proxy.new.handler = legacy, new
    few = BackendSettings("legacy", (proxy.legacy.url,), max_connections=2)
    await proxy.serve(route("/*", "dual-write"), backends={"legacy": few})
    async with await proxy.connect() as client:
        assert (await client.get("/hangs")).status == 200
        await proxy.legacy.called()  # the only place of a shadow is taken
        response = await client.get("/a")
        assert (response.status, response.body) == (200, b"legacy GET /a 0")
    await proxy.reported(lambda totals: totals.events["/*|fallback"] == 1)
    # What clients got wrong of new alone is told as that.
    await proxy.reported(lambda totals: totals.trials["failed"] == 1)


async def test_the_shadow_that_has_already_answered_serves_the_fallback(proxy: Proxy) -> None:
    answered = asyncio.Event()

    async def late(call: Call) -> None:
        await answered.wait()
        await call.answer(b"", "503 Service Unavailable")

    async def first(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
            b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )

    proxy.new.handler = late
    proxy.legacy.handler = first
    await proxy.serve(route("/*", "dual-write"))
    async with await proxy.connect() as client:
        client.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await proxy.legacy.called()
        # The answer is in the worker once its connection carries another request.
        async with await proxy.connect() as other:
            other.write(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
            await proxy.legacy.called(2)
            answered.set()
            response = await client.response()
            assert response.body == b"onetwo"
            assert response.header("x-a") == b"b"
            assert (await other.response()).body == b"onetwo"
        assert (await client.get("/c")).body == b"onetwo"
    assert len(proxy.legacy.calls) == 3


async def test_the_shadow_in_the_middle_of_its_answer_serves_the_fallback(proxy: Proxy) -> None:
    half, go_on = asyncio.Event(), asyncio.Event()

    async def legacy(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        half.set()
        await go_on.wait()
        await call.send(b"more")

    async def new(call: Call) -> None:
        await half.wait()
        call.reset()
        go_on.set()

    proxy.legacy.handler, proxy.new.handler = legacy, new
    await proxy.serve(route("/*", "dual-write"))
    async with await proxy.connect() as client:
        assert (await client.get("/a")).body == b"halfmore"
    assert len(proxy.legacy.calls) == 1


async def test_no_fallback_once_a_byte_was_sent(proxy: Proxy) -> None:
    proxy.new.handler = sending(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000, close=True
    )
    await proxy.serve(route("/*", "new-only"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.response()
    assert proxy.legacy.calls == []


@pytest.mark.parametrize("status", ["500 Internal Server Error", "501 Not Implemented", "404 No"])
async def test_other_statuses_are_answers(proxy: Proxy, status: str) -> None:
    proxy.new.handler = replying(b"mine", status)
    await proxy.serve(route("/*", "new-only"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).body == b"mine"
    assert proxy.legacy.calls == []


@pytest.mark.parametrize("name", ["50%", "dual-write", "new-only"])
async def test_no_fallback_while_legacy_has_missed_writes(proxy: Proxy, name: str) -> None:
    proxy.new.handler = replying(b"bad", "503 Service Unavailable")
    state = RouteState(phase(name), phase(name).authority, missed=frozenset({Side.LEGACY}))
    await proxy.serve(route("/*", name, sticky=Sticky("header", "X-User")), states={"/*": state})
    async with await proxy.connect() as client:
        statuses = {(await client.get("/", f"X-User: {user}")).status for user in range(16)}
    assert 503 in statuses
    if name != "50%":
        assert statuses == {503}


async def test_fallback_can_be_off(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"bad", "503 Service Unavailable")
    await proxy.serve(route("/*", "new-only", fallback=False))
    async with await proxy.connect() as client:
        assert (await client.get("/")).body == b"bad"
    assert proxy.legacy.calls == []


async def test_where_both_fail_the_client_hears_of_it(proxy: Proxy) -> None:
    proxy.new.handler = sending(b"", close=True)
    proxy.legacy.handler = sending(b"", close=True)
    await proxy.serve(route("/*", "new-only"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 502


async def test_where_both_answer_badly_one_of_them_is_the_answer(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"new is down", "503 Service Unavailable")
    proxy.legacy.handler = replying(b"legacy is down", "503 Service Unavailable")
    await proxy.serve(route("/*", "dual-write"), route("/only/*", "new-only"))
    async with await proxy.connect() as client:
        for target in ("/", "/only/x"):
            response = await client.get(target)
            assert response.status == 503
            assert response.body in (b"new is down", b"legacy is down")


async def test_writes_never_fall_back(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"bad", "503 Service Unavailable")
    await proxy.serve(route("/*", "dual-write"))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == 503
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 1)
    assert proxy.legacy.connections == []


@pytest.mark.parametrize("size", [1000, 200_000])
async def test_a_read_with_a_body_falls_back_with_its_body(proxy: Proxy, size: int) -> None:
    async def refuse(call: Call) -> None:
        await call.answer(b"", "503 Service Unavailable")

    proxy.new.handler = refuse
    await proxy.serve(route("/*", "new-only", safe_methods=frozenset({"POST"})))
    async with await proxy.connect() as client:
        response = await client.post("/search", b"q" * size)
        assert response.body == f"legacy POST /search {size}".encode()
    assert proxy.legacy.calls[0].body == b"q" * size


async def test_the_flood_of_a_failing_new_side_is_not_waited_for(proxy: Proxy) -> None:
    """A 503 with an endless body: legacy's answer does not wait for its end."""

    async def endless(call: Call) -> None:
        await call.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10000000000\r\n\r\n")
        await flooding(10_000_000_000)(call)

    proxy.new.handler = endless
    await proxy.serve(route("/*", "new-only"))
    async with await proxy.connect() as client:
        assert (await client.get("/a")).body == b"legacy GET /a 0"
    await proxy.new.changes.until(lambda: not proxy.new.open_connections)
    assert proxy.new.bytes_sent < 10 << 20
