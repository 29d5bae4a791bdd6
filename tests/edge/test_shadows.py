"""The bounds of a read's shadow, each with its counted reason."""

import time

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Shadow
from proxy.edge.pool import REPLACED_A_SECOND
from proxy.edge.table import COSTLY_A_SECOND
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, Handler, hanging, replying, resetting, sending
from tests.harness.ports import unused_port
from tests.harness.snapshots import route
from tests.harness.waiting import asked_until

LEGACY, NEW = "legacy", "new"


async def answered(proxy: Proxy, times: int) -> float:
    """Ask over one connection; the seconds it took until the worker had told of all of them."""
    began = time.monotonic()
    async with await proxy.connect() as client:
        for _ in range(times):
            assert (await client.get("/")).status == 200
    await proxy.reported(lambda totals: totals.client_requests["/*"] == times)
    return time.monotonic() - began


# Bounds of the shadow, each with its counted reason


async def test_a_sample_of_none_shadows_nothing_and_counts_it(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(sample=0.0)))
    async with await proxy.connect() as client:
        for _ in range(10):
            await client.get("/")
    await proxy.reported(lambda totals: totals.skipped["/*|sampled"] == 10)
    assert proxy.new.connections == []
    assert proxy.worker.totals.eligible["/*"] == 10


async def test_a_sample_of_half_shadows_about_half(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(sample=0.5)))
    async with await proxy.connect() as client:
        for _ in range(200):
            await client.get("/")
    await proxy.reported(
        lambda totals: totals.skipped["/*|sampled"] + totals.comparisons.total() == 200
    )
    assert 55 < proxy.worker.totals.skipped["/*|sampled"] < 145


async def test_shadows_in_flight_are_bounded(proxy: Proxy) -> None:
    proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(max_in_flight=3, timeout_s=30)))
    async with await proxy.connect() as client:
        for _ in range(10):
            assert (await client.get("/")).status == 200
    await proxy.reported(lambda totals: totals.skipped["/*|in_flight"] == 7)
    assert len(proxy.new.calls) == 3


@pytest.mark.parametrize(
    ("handler", "code", "skipped"),
    [
        (resetting, "reset", "no_connection"),
        (sending(b"\0 no HTTP\r\n\r\n"), "protocol", "no_connection"),
        (replying(b"x" * 300_000), "", "body_too_large"),
    ],
    ids=["resets", "talks garbage", "answers too much"],
)
async def test_shadows_cost_few_connections(
    proxy: Proxy, handler: Handler, code: str, skipped: str
) -> None:
    """Opening one for each would take a worker longer than all the answers."""
    proxy.legacy.handler, proxy.new.handler = replying(b"ok"), handler
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(max_body_bytes=1000)))
    asked = 5 * int(COSTLY_A_SECOND)
    most = COSTLY_A_SECOND * (1 + await answered(proxy, asked))
    opened = len(proxy.new.connections)
    # Those that were begun before the first one had failed are beyond it.
    assert COSTLY_A_SECOND <= opened <= most + 10
    # Each of the others is counted, and is no error of that side.
    totals = proxy.worker.totals
    if code:
        assert totals.requests[f"/*|shadow-read|new|{code}"] == opened
    assert totals.skipped[f"/*|{skipped}"] == (asked - opened if code else asked)
    # It is well again, and so are shadows, as soon as a connection may be opened.
    proxy.new.handler = replying(b"ok")
    async with await proxy.connect() as client:

        async def shadowed() -> bool:
            await client.get("/")
            return totals.comparisons["/*|equal"] > 0

        await asked_until(shadowed, bool)
        before = len(proxy.new.connections)
        for _ in range(50):
            await client.get("/")
        await proxy.reported(lambda totals: totals.comparisons["/*|equal"] > 50)
        assert len(proxy.new.connections) == before


async def test_reused_connections_that_die_are_replaced_so_many_times_a_second(
    proxy: Proxy,
) -> None:
    async def every_second(call: Call) -> None:
        if call.connection.calls > 1:
            call.reset()
        else:
            await call.answer(b"ok")

    proxy.legacy.handler, proxy.new.handler = replying(b"ok"), every_second
    await proxy.serve(route("/*", "shadow-read"))
    most = REPLACED_A_SECOND * (1 + await answered(proxy, 3 * int(REPLACED_A_SECOND)))
    assert len(proxy.new.connections) <= most + 10


async def test_clients_that_leave_hold_no_shadow_up(proxy: Proxy) -> None:
    """It is not the side that is ill."""
    proxy.legacy.handler = proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(max_in_flight=1000)))
    gone = int(1.5 * COSTLY_A_SECOND)
    for number in range(gone):
        async with await proxy.connect() as client:
            client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await proxy.new.called(number + 1)
            client.reset()
    await proxy.reported(lambda totals: totals.events["/*|client_gone"] == gone)
    proxy.legacy.handler = proxy.new.handler = replying(b"ok")
    async with await proxy.connect() as client:
        for _ in range(50):
            await client.get("/")
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 50)


async def test_a_shadow_without_a_place_is_no_error_of_its_side(proxy: Proxy) -> None:
    few = BackendSettings("new", (proxy.new.url,), max_connections=2)
    proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read"), backends={"new": few})
    async with await proxy.connect() as client:
        for number in range(10):
            assert (await client.get(f"/{number}")).status == 200
    await proxy.reported(lambda totals: totals.skipped["/*|no_connection"] == 9)
    assert +proxy.worker.totals.trials == {}


async def test_a_route_that_hangs_leaves_connections_to_the_others(proxy: Proxy) -> None:
    some = BackendSettings("new", (proxy.new.url,), max_connections=16)

    async def handler(call: Call) -> None:
        await (hanging if call.target == "/hanging" else replying(b"ok"))(call)

    proxy.legacy.handler, proxy.new.handler = replying(b"ok"), handler
    routes = [route(name, "shadow-read") for name in ("/hanging", "/well")]
    await proxy.serve(*routes, backends={"new": some})
    async with await proxy.connect() as client:
        for target in ["/hanging"] * 20 + ["/well"] * 20:
            assert (await client.get(target)).status == 200
    await proxy.reported(lambda totals: totals.comparisons["/well|equal"] > 0)
    # Half are for the shadows of any route, two more for those of routes that have few.
    await proxy.reported(lambda totals: totals.skipped["/hanging|no_connection"] == 12)
    assert len([call for call in proxy.new.calls if call.target == "/hanging"]) == 8


async def test_few_of_the_shadows_that_are_refused_are_told(proxy: Proxy) -> None:
    nobody = f"http://127.0.0.1:{unused_port()}"
    await proxy.serve(route("/*", "shadow-read"), backends={"new": nobody})
    asked = 5 * int(COSTLY_A_SECOND)
    most = COSTLY_A_SECOND * (1 + await answered(proxy, asked))
    totals = proxy.worker.totals
    told = totals.requests["/*|shadow-read|new|refused"]
    assert COSTLY_A_SECOND <= told <= most + 10
    assert totals.skipped["/*|no_connection"] == asked - told
    assert totals.comparisons["/*|new_failed"] == told
    assert totals.eligible["/*"] == asked


@pytest.mark.parametrize("large", [LEGACY, NEW, "both"])
async def test_a_body_beyond_max_body_gives_the_shadow_up(proxy: Proxy, large: str) -> None:
    for backend in (proxy.legacy, proxy.new):
        size = 50_000 if large in (backend.name, "both") else 10
        backend.handler = replying(b"x" * size)
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(max_body_bytes=10_000)))
    async with await proxy.connect() as client:
        response = await client.get("/")
        assert len(response.body) == (10 if large == NEW else 50_000)
    await proxy.reported(lambda totals: totals.skipped["/*|body_too_large"] == 1)
    assert proxy.worker.totals.comparisons.total() == 0


async def test_a_chunked_body_beyond_max_body_gives_the_shadow_up(proxy: Proxy) -> None:
    piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    proxy.legacy.handler = proxy.new.handler = sending(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[piece] * 10, b"0\r\n\r\n"
    )
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(max_body_bytes=50_000)))
    async with await proxy.connect() as client:
        assert len((await client.get("/")).body) == 100_000
    await proxy.reported(lambda totals: totals.skipped["/*|body_too_large"] == 1)


@pytest.mark.parametrize("size", [5_000, 200_000])
async def test_a_request_body_is_teed_to_the_shadow(proxy: Proxy, size: int) -> None:
    await proxy.serve(
        route("/*", "shadow-read", safe_methods=frozenset({"GET", "POST"})),
    )
    async with await proxy.connect() as client:
        await client.post("/search", b"q" * size)
    shadow = await proxy.new.complete()
    assert shadow.body == b"q" * size
    assert shadow.header("banyan-role") == b"shadow"
    assert proxy.legacy.calls[0].body == b"q" * size


async def test_a_request_body_beyond_max_body_has_no_shadow(proxy: Proxy) -> None:
    await proxy.serve(
        route(
            "/*",
            "shadow-read",
            safe_methods=frozenset({"POST"}),
            shadow=Shadow(max_body_bytes=10_000),
        ),
    )
    async with await proxy.connect() as client:
        assert (await client.post("/search", b"q" * 200_000)).status == 200
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            client.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert (await client.ask(b"0\r\n\r\n")).body == b"legacy POST /x 50000"
    await proxy.reported(lambda totals: totals.skipped["/*|body_too_large"] == 2)
    assert proxy.new.calls == []


async def test_a_shadow_has_a_time_limit(proxy: Proxy) -> None:
    proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read", shadow=Shadow(timeout_s=0.3)))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 200
    await proxy.reported(lambda totals: totals.errors["/*|new"] == 1)
    await proxy.new.changes.until(lambda: not proxy.new.open_connections)
