"""Reads in every phase (contract §2): who answers, who shadows, what is compared and counted."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from proxy.core.model import (
    Compare,
    Override,
    RouteState,
    Shadow,
    Side,
    Sticky,
)
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, flooding, hanging, replying, sending
from tests.harness.worker import phase, route

LEGACY, NEW = "legacy", "new"
# Phase: (who answers, who is asked as well). The weighted phases stand for the drawn side.
TABLE: dict[str, tuple[str, str | None]] = {
    "legacy-only": (LEGACY, None),
    "shadow-read": (LEGACY, NEW),
    "0%": (LEGACY, NEW),
    "100%": (NEW, LEGACY),
    "dual-write": (NEW, LEGACY),
    "new-only": (NEW, None),
}
READS = ["GET", "HEAD", "OPTIONS"]
ALL = [*TABLE, "25%", "99%"]


@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("name", TABLE)
async def test_who_answers_a_read_and_who_shadows_it(proxy: Proxy, name: str, method: str) -> None:
    answers, shadows = TABLE[name]
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        response = await client.get("/a?b=c", method=method)
    backends = {LEGACY: proxy.legacy, NEW: proxy.new}
    if method != "HEAD":
        assert response.body == f"{answers} {method} /a?b=c 0".encode()
    assert backends[answers].calls[0].header("banyan-role") is None
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 1)
    if shadows is None:
        assert (proxy.new if answers == LEGACY else proxy.legacy).connections == []
        assert proxy.worker.totals.eligible["/*"] == 0
    else:
        call = await backends[shadows].called()
        assert call.header("banyan-role") == b"shadow"
        assert (call.method, call.target) == (method, "/a?b=c")
        await proxy.reported(lambda totals: len(totals.observations) == 1)
        assert proxy.worker.totals.eligible["/*"] == 1
        observation = proxy.worker.totals.observations[0]
        assert observation.authoritative == Side(answers)
        assert (observation.method, observation.target) == (method, "/a")
        assert observation.phase == phase(name).progress
        assert observation.legacy.status == observation.new.status == 200
        assert not observation.write
    assert len(proxy.legacy.calls) <= 1
    assert len(proxy.new.calls) <= 1


@pytest.mark.parametrize("weight", [1, 25, 50, 75, 99])
async def test_a_weighted_read_is_answered_by_the_drawn_side_and_shadowed_by_the_other(
    proxy: Proxy, weight: int
) -> None:
    sticky = Sticky("header", "X-User")
    await proxy.serve(route("/*", f"{weight}%", sticky=sticky, ack="authoritative"))
    count = 300
    answered = []
    async with await proxy.connect() as client:
        for user in range(count):
            response = await client.get(f"/{user}", f"X-User: user-{user}")
            answered.append(response.body.split()[0].decode())
    # Within five standard deviations.
    share = answered.count(NEW) / count * 100
    assert abs(share - weight) < 5 * (weight * (100 - weight) / count) ** 0.5
    await proxy.reported(lambda totals: len(totals.observations) == count)
    for observation in proxy.worker.totals.observations:
        assert observation.authoritative.value == answered[int(observation.target[1:])]
    shadows = {
        call.target: call.backend.name
        for backend in (proxy.legacy, proxy.new)
        for call in backend.calls
        if call.header("banyan-role")
    }
    assert len(shadows) == count
    assert all(
        shadows[f"/{user}"] == (LEGACY if side == NEW else NEW)
        for user, side in enumerate(answered)
    )


@pytest.mark.parametrize("name", ALL)
async def test_raising_the_weight_only_adds_clients(proxy: Proxy, name: str) -> None:
    """Whoever new answers at 10 % it answers at every later phase too."""
    sticky = Sticky("header", "X-User")
    await proxy.serve(route("/*", "10%", sticky=sticky))

    async def on_new() -> set[int]:
        async with await proxy.connect() as client:
            return {
                user
                for user in range(60)
                if (await client.get("/", f"X-User: {user}")).body.startswith(b"new")
            }

    before = await on_new()
    if name == "legacy-only":
        return
    await proxy.serve(route("/*", name, sticky=sticky))
    after = await on_new()
    assert before
    if phase(name).progress >= 10:
        assert before <= after
    elif phase(name).progress <= 0:
        assert after == set()


STICKY: dict[str, tuple[Sticky, str, Callable[[str], list[str]]]] = {
    "cookie": (Sticky("cookie", "session"), "/x", lambda user: [f"Cookie: a=b; session={user}"]),
    "header": (Sticky("header", "X-User"), "/x", lambda user: [f"x-user: {user}"]),
    "param": (Sticky("param", "id"), "/u/{user}/y", lambda user: []),
    "client-ip": (
        Sticky("client-ip"),
        "/x",
        lambda user: [f"X-Forwarded-For: 10.{int(user) // 256}.{int(user) % 256}.7"],
    ),
}


@pytest.mark.parametrize("kind", STICKY)
async def test_a_client_stays_on_its_side(proxy: Proxy, kind: str) -> None:
    sticky, target, lines = STICKY[kind]
    routes = [route("/u/{id}/*", "50%", sticky=sticky), route("/*", "50%", sticky=sticky)]
    if kind == "param":
        routes.pop()
    await proxy.serve(*routes, trusted_proxies=("127.0.0.0/8",))
    sides: dict[str, set[bytes]] = {}
    for _ in range(2):
        async with await proxy.connect() as client:
            for user in range(40):
                path = target.replace("{user}", str(user))
                response = await client.get(path, *lines(str(user)))
                sides.setdefault(str(user), set()).add(response.body.split()[0])
    assert all(len(side) == 1 for side in sides.values())
    assert {side for both in sides.values() for side in both} == {b"legacy", b"new"}
    await proxy.reported(lambda totals: sum(totals.client_requests.values()) == 80)
    assert not [key for key in proxy.worker.totals.events if key.endswith("sticky_missing")]


@pytest.mark.parametrize(
    "sticky", [Sticky("cookie", "session"), Sticky("header", "X-User")], ids=["cookie", "header"]
)
async def test_a_missing_key_falls_back_to_the_address_and_is_counted(
    proxy: Proxy, sticky: Sticky
) -> None:
    await proxy.serve(route("/*", "50%", sticky=sticky))
    sides = set()
    async with await proxy.connect() as client:
        for _ in range(10):
            sides.add((await client.get("/", "Cookie: other=1")).body.split()[0])
    assert len(sides) == 1
    await proxy.reported(lambda totals: totals.events["/*|sticky_missing"] == 10)


# Comparing


SAME = replying(b'{"a": 1}', "200 OK", "Content-Type: application/json", "Date: x")
DIFFERENCES = {
    "same": (SAME, True),
    "other headers differ": (
        replying(b'{"a": 1}', "200 OK", "Content-Type: application/json", "X: y"), True),
    "case of a compared header's name": (
        replying(b'{"a": 1}', "200 OK", "content-type: application/json"), True),
    "body": (replying(b'{"a": 2}', "200 OK", "Content-Type: application/json"), False),
    "longer body": (replying(b'{"a": 11}', "200 OK", "Content-Type: application/json"), False),
    "status": (replying(b'{"a": 1}', "201 Created", "Content-Type: application/json"), False),
    "content type": (replying(b'{"a": 1}', "200 OK", "Content-Type: text/plain"), False),
    "location": (
        replying(b'{"a": 1}', "200 OK", "Content-Type: application/json", "Location: /x"), False),
    "chunked": (
        sending(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 1}\r\n0\r\n\r\n"), True),
    "server error": (replying(b"", "500 Internal Server Error"), False),
}  # fmt: skip


@pytest.mark.parametrize("name", ["shadow-read", "0%", "dual-write"])
@pytest.mark.parametrize("difference", DIFFERENCES)
async def test_both_answers_are_compared_byte_by_byte(
    proxy: Proxy, difference: str, name: str
) -> None:
    other, equal = DIFFERENCES[difference]
    proxy.legacy.handler, proxy.new.handler = (
        (other, SAME) if name == "dual-write" else (SAME, other)
    )
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.get("/")).body == b'{"a": 1}'
    await proxy.reported(lambda totals: totals.observations)
    assert proxy.worker.totals.observations[0].equal is equal
    result = "equal" if equal else "differing"
    assert proxy.worker.totals.comparisons == {f"/*|{result}": 1}


async def test_status_may_be_compared_by_class(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"x", "201 Created")
    proxy.legacy.handler = replying(b"x", "200 OK")
    await proxy.serve(route("/*", "shadow-read", compare=Compare(status="class")))
    async with await proxy.connect() as client:
        await client.get("/")
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 1)


async def test_where_both_fail_nothing_is_compared(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 500
    await proxy.reported(lambda totals: totals.comparisons["/*|both_failed"] == 1)
    assert proxy.worker.totals.errors == {"/*|legacy": 1, "/*|new": 1}


@pytest.mark.parametrize(
    "line",
    ["If-None-Match: x", "If-Modified-Since: x", "If-Match: x", "If-Range: x", "Range: bytes=0-1"],
)
async def test_conditional_requests_are_shadowed_and_not_compared(proxy: Proxy, line: str) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", line)
    call = await proxy.new.called()
    assert line.encode() in call.head
    await proxy.reported(lambda totals: totals.skipped["/*|conditional"] == 1)
    assert proxy.worker.totals.observations[0].equal is None
    assert proxy.worker.totals.eligible["/*"] == 0


async def test_errors_of_conditional_requests_count_all_the_same(proxy: Proxy) -> None:
    proxy.new.handler = replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", "Range: bytes=0-1")
    await proxy.reported(lambda totals: totals.errors["/*|new"] == 1)


@pytest.mark.parametrize("name", ["shadow-read", "dual-write"])
@pytest.mark.parametrize(
    "line", ["Accept: text/event-stream", "accept: text/html, Text/Event-Stream;q=0.5"]
)
async def test_event_streams_are_not_shadowed(proxy: Proxy, name: str, line: str) -> None:
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        await client.get("/", line)
    await proxy.reported(lambda totals: totals.skipped["/*|event_stream"] == 1)
    assert len(proxy.legacy.calls) + len(proxy.new.calls) == 1


async def test_the_words_elsewhere_are_no_event_stream(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = replying(b"x", "200 OK", "X: text/event-stream")
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/text/event-stream", "X-A: text/event-stream")
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 1)


async def test_a_stream_that_was_not_announced_ends_its_shadow(proxy: Proxy) -> None:
    stop = asyncio.Event()

    async def streaming(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        await call.send(b"data: 1\n\n")
        await stop.wait()
        call.close()

    proxy.legacy.handler = streaming
    proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        await proxy.new.changes.until(
            lambda: proxy.new.connections and not proxy.new.open_connections
        )
        stop.set()
        assert await client.until(b"0\r\n\r\n") == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
    await proxy.reported(lambda totals: totals.skipped["/*|event_stream"] == 1)


async def test_compare_off_still_shadows(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=None))
    async with await proxy.connect() as client:
        await client.get("/")
    await proxy.new.called()
    await proxy.reported(lambda totals: totals.observations)
    assert proxy.worker.totals.observations[0].equal is None
    assert proxy.worker.totals.eligible["/*"] == 0


async def test_a_query_is_not_observed(proxy: Proxy) -> None:
    """It may hold secrets."""
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/a?token=secret")
    await proxy.reported(lambda totals: totals.observations)
    assert "secret" not in repr(proxy.worker.totals.observations)


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


# safe_methods, override, rewrite, maintenance


async def test_safe_methods_decide_what_a_read_is(proxy: Proxy) -> None:
    await proxy.serve(
        route("/*", "dual-write", safe_methods=frozenset({"POST"}), ack="both"),
    )
    async with await proxy.connect() as client:
        await client.post("/search", b"q")
        await client.get("/logout")
    # The POST is a read of new, shadowed to legacy; the GET a write to new, then legacy.
    await proxy.legacy.called(2)
    await proxy.reported(lambda totals: len(totals.observations) == 2)
    writes = {item.target: item.write for item in proxy.worker.totals.observations}
    assert writes == {"/search": False, "/logout": True}


OVERRIDE = Override("X-Side", ("127.0.0.0/8",))


@pytest.mark.parametrize("side", [LEGACY, NEW])
@pytest.mark.parametrize("name", ALL)
async def test_testers_choose_their_side(proxy: Proxy, name: str, side: str) -> None:
    await proxy.serve(route("/*", name, override=OVERRIDE))
    async with await proxy.connect() as client:
        response = await client.get("/", f"X-Side: {side}", "X-Kept: 1")
        assert response.body == f"{side} GET / 0".encode()
    await proxy.reported(lambda totals: totals.events["/*|override"] == 1)
    calls = [*proxy.legacy.calls, *proxy.new.calls]
    assert len(calls) == 1
    assert calls[0].header("x-side") is None
    assert calls[0].header("x-kept") == b"1"
    assert proxy.worker.totals.eligible["/*"] == 0
    assert proxy.worker.totals.observations == []


async def test_strangers_do_not_choose_and_the_header_is_stripped(proxy: Proxy) -> None:
    override = Override("X-Side", ("10.0.0.0/8",))
    await proxy.serve(route("/*", "legacy-only", override=override))
    async with await proxy.connect() as client:
        assert (await client.get("/", "X-Side: new")).body.startswith(b"legacy")
        # A forged address helps nobody.
        forged = await client.get("/", "X-Side: new", "X-Forwarded-For: 10.0.0.1")
        assert forged.body.startswith(b"legacy")
    assert all(call.header("x-side") is None for call in proxy.legacy.calls)


async def test_testers_behind_a_trusted_proxy(proxy: Proxy) -> None:
    override = Override("X-Side", ("10.0.0.0/8",))
    await proxy.serve(
        route("/*", "legacy-only", override=override), trusted_proxies=("127.0.0.1/32",)
    )
    async with await proxy.connect() as client:
        tester = await client.get("/", "X-Side: new", "X-Forwarded-For: 10.0.0.1")
        assert tester.body.startswith(b"new")
        other = await client.get("/", "X-Side: new", "X-Forwarded-For: 11.0.0.1")
        assert other.body.startswith(b"legacy")


async def test_an_override_does_not_move_writes(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "0%", override=OVERRIDE, ack="both"))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x", "X-Side: new")).body.startswith(b"legacy")
    assert (await proxy.new.complete()).header("x-side") is None


@pytest.mark.parametrize("name", ["shadow-read", "0%", "dual-write", "new-only"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_rewrite_is_for_new_alone(proxy: Proxy, name: str, method: str) -> None:
    states = {
        "/users/{id}": RouteState(
            phase(name), phase(name).authority, missed=frozenset({Side.NEW, Side.LEGACY})
        )
    }
    await proxy.serve(route("/users/{id}", name, rewrite="/v2/people/{id}/card"), states=states)
    async with await proxy.connect() as client:
        if method == "GET":
            await client.get("/users/a%20b?x=%2f&y")
        else:
            await client.post("/users/a%20b?x=%2f&y", b"x")
    if name != "new-only":
        assert (await proxy.legacy.called()).target == "/users/a%20b?x=%2f&y"
    if method == "GET" or name != "shadow-read":
        assert (await proxy.new.called()).target == "/v2/people/a%20b/card?x=%2f&y"


@pytest.mark.parametrize(
    ("maintenance", "get", "post"),
    [("reads", 503, 200), ("writes", 200, 503), ("all", 503, 503), (None, 200, 200)],
)
async def test_maintenance(proxy: Proxy, maintenance: str | None, get: int, post: int) -> None:
    await proxy.serve(route("/*", "dual-write", maintenance=maintenance))
    async with await proxy.connect() as client:
        for response, status in (
            (await client.get("/"), get),
            (await client.post("/", b"abc"), post),
        ):
            assert response.status == status
            assert (response.header("retry-after") is not None) is (status == 503)
    if maintenance == "all":
        assert proxy.legacy.connections == proxy.new.connections == []


async def test_what_no_route_matches_goes_to_legacy(proxy: Proxy) -> None:
    await proxy.serve(route("/api/*", "new-only"))
    async with await proxy.connect() as client:
        assert (await client.get("/other")).body == b"legacy GET /other 0"
        assert (await client.post("/other", b"abc")).body == b"legacy POST /other 3"
        assert (await client.get("/api/x")).body == b"new GET /api/x 0"
    await proxy.legacy.called(2)
    assert len(proxy.new.calls) == 1


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


async def test_a_client_that_goes_away_ends_its_read_and_the_shadow(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = hanging
    await proxy.serve(route("/*", "shadow-read"))
    client = await proxy.connect()
    client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await proxy.legacy.called()
    await proxy.new.called()
    client.reset()
    for backend in (proxy.legacy, proxy.new):
        await backend.changes.until(lambda b=backend: not b.open_connections)  # type: ignore[misc]  # bound early on purpose
    await proxy.reported(lambda totals: totals.skipped["/*|client_gone"] == 1)
    # Nobody's error.
    assert proxy.worker.totals.errors.total() == 0


async def test_a_new_state_is_for_the_next_request(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "legacy-only"))
    async with await proxy.connect() as client:
        for name in ("dual-write", "shadow-read", "new-only", "legacy-only"):
            state = RouteState.of_phase(phase(name))
            await proxy.worker.set_states({"/*": state})
            side = TABLE[name][0]
            assert (await client.get("/")).body == f"{side} GET / 0".encode()


async def test_states_of_an_older_table_are_ignored(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "legacy-only"))
    worker = proxy.worker
    old = worker.generation
    await proxy.serve(route("/*", "legacy-only"))
    worker.generation, new = old, worker.generation
    worker.send_states({worker.marked("/*"): RouteState.of_phase(phase("new-only"))})
    worker.generation = new
    await worker.set_states({})
    async with await proxy.connect() as client:
        assert (await client.get("/")).body.startswith(b"legacy")


def test_the_defaults_of_the_model_are_those_of_the_contract() -> None:
    plain_route = route("/x")
    assert plain_route.safe_methods == {"GET", "HEAD", "OPTIONS"}
    assert plain_route.fallback
    assert msgspec.structs.asdict(plain_route.shadow) == {
        "sample": 1.0,
        "max_body_bytes": 1 << 20,
        "timeout_s": 10.0,
        "max_in_flight": 128,
    }
