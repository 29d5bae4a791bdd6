"""Reads in every phase (contract §2): who answers, who shadows, what is compared and counted."""

from collections.abc import Callable

import msgspec
import pytest

from proxy.core.model import (
    Override,
    RouteState,
    Side,
    Sticky,
)
from tests.edge.conftest import Proxy
from tests.harness.backend import hanging
from tests.harness.snapshots import phase, route

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
    await proxy.serve(route("/*", name, override=OVERRIDE), trace_sample=0.0)
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
