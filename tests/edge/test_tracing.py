"""Trace context at the edge: what each side is sent, and what is told of the request."""

from time import perf_counter as client_time

import pytest

from proxy.core.messages import NOT_ASKED, NOT_SHADOWED, Observation
from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Side
from proxy.core.tracing import span_ids
from proxy.edge.context import TRACES_ASKED_A_SECOND
from tests.edge.conftest import Proxy
from tests.harness.backend import Call, hanging, replying
from tests.harness.snapshots import route
from tests.harness.worker import Totals

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
TRACE_ID = PARENT[3:35]
UNSAMPLED, SAMPLED = PARENT + "00", PARENT + "01"


def context_of(call: Call) -> tuple[str, str, str]:
    """Trace id, parent-id and flags that a backend was sent; there is one traceparent."""
    (sent,) = call.headers_named("traceparent")
    version, trace_id, span_id, flags = sent.decode().split("-")
    assert version == "00"
    return trace_id, span_id, flags


def observed(count: int = 1) -> object:
    def enough(totals: Totals) -> bool:
        return len(totals.observations) >= count

    return enough


async def the_observation(proxy: Proxy) -> Observation:
    await proxy.reported(observed(), "an observation")
    (seen,) = proxy.worker.totals.observations
    return seen


# What each side is sent

HEADS = {
    "plain": (),
    "continued": (f"traceparent: {SAMPLED}", "tracestate: a=b"),
    "rebuilt": ("Keep-Alive: timeout=5", "X-Request-Id: one"),
    "with trailers": ("TE: trailers", "Connection: TE"),
}


@pytest.mark.parametrize("lines", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("host", ["preserve", "backend"])
@pytest.mark.parametrize("name", ["shadow-read", "0%", "dual-write"])
async def test_each_side_of_a_shadowed_read_has_its_own_parent(
    proxy: Proxy, name: str, host: str, lines: tuple[str, ...]
) -> None:
    backends: dict[str, object] = {
        "legacy": BackendSettings("legacy", (proxy.legacy.url,), host=host),
        "new": BackendSettings("new", (proxy.new.url,), host=host),
    }
    await proxy.serve(route("/*", name), backends=backends, trace_sample=1.0)
    async with await proxy.connect() as client:
        assert (await client.get("/a", *lines)).status == 200
    seen = await the_observation(proxy)
    first, second = proxy.legacy.calls[0], proxy.new.calls[0]
    if name == "dual-write":
        first, second = second, first
    ids = span_ids(seen.span_id)
    assert context_of(first) == (seen.trace_id, ids.first, "01")
    assert context_of(second) == (seen.trace_id, ids.second, "01")
    assert second.header("banyan-role") == b"shadow"
    if lines == HEADS["continued"]:
        assert seen.trace_id == TRACE_ID
    # Nothing else of the two heads differs.
    same = [
        [line for line in call.headers if line[0].lower() not in (b"traceparent", b"banyan-role")]
        for call in (first, second)
    ]
    if host == "preserve":
        assert same[0] == same[1]
    assert seen.sampled


async def test_a_side_alone_has_the_first_parent(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), trace_sample=1.0)
    async with await proxy.connect() as client:
        await client.get("/a?secret=1")
    seen = await the_observation(proxy)
    assert context_of(proxy.legacy.calls[0]) == (seen.trace_id, seen.span_id, "01")


@pytest.mark.parametrize("name", ["1%", "dual-write"])
async def test_each_side_of_a_write_has_its_own_parent(proxy: Proxy, name: str) -> None:
    await proxy.serve(route("/*", name), trace_sample=1.0)
    async with await proxy.connect() as client:
        await client.post("/a", b"body", "Keep-Alive: x")
    seen = await the_observation(proxy)
    first, second = proxy.legacy.calls[0], proxy.new.calls[0]
    if name == "dual-write":
        first, second = second, first
    ids = span_ids(seen.span_id)
    assert context_of(first) == (seen.trace_id, ids.first, "01")
    assert context_of(second) == (seen.trace_id, ids.second, "01")
    assert first.body == second.body == b"body"
    assert seen.write


@pytest.mark.parametrize("lines", [(), ("Keep-Alive: x",)], ids=["plain", "rebuilt"])
async def test_a_fallback_without_a_pair_has_the_second_parent(
    proxy: Proxy, lines: tuple[str, ...]
) -> None:
    proxy.new.handler = replying(b"bad", "503 Service Unavailable")
    await proxy.serve(route("/*", "new-only"), trace_sample=0.0)
    async with await proxy.connect() as client:
        assert (await client.get("/a", *lines)).body == b"legacy GET /a 0"
    seen = await the_observation(proxy)
    ids = span_ids(seen.span_id)
    assert context_of(proxy.new.calls[0]) == (seen.trace_id, ids.first, "00")
    assert context_of(proxy.legacy.calls[0]) == (seen.trace_id, ids.second, "00")
    assert proxy.legacy.calls[0].header("banyan-role") is None
    assert (seen.authoritative, seen.fell_back) == (Side.NEW, True)
    assert (seen.new.status, seen.legacy.status) == (503, 200)
    assert seen.skipped == NOT_SHADOWED


async def test_a_fallback_to_the_shadow_is_told(proxy: Proxy) -> None:
    proxy.new.handler = hanging
    await proxy.serve(route("/*", "dual-write", fallback_after_s=0.3))
    async with await proxy.connect() as client:
        assert (await client.get("/a")).body == b"legacy GET /a 0"
    seen = await the_observation(proxy)
    assert (seen.authoritative, seen.fell_back) == (Side.NEW, True)
    assert (seen.new.failure, seen.legacy.status) == ("timeout", 200)
    assert context_of(proxy.legacy.calls[0])[1] == span_ids(seen.span_id).second


# The client's trace


async def test_the_clients_span_and_state_are_told(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", f"traceparent: {SAMPLED}", "tracestate: a=b", "Tracestate: c=d")
    seen = await the_observation(proxy)
    assert (seen.trace_id, seen.parent) == (TRACE_ID, "00f067aa0ba902b7")
    assert (seen.tracestate, seen.sampled) == ("a=b, c=d", True)
    for call in (proxy.legacy.calls[0], proxy.new.calls[0]):
        assert call.headers_named("tracestate") == [b"a=b", b"c=d"]


@pytest.mark.parametrize("lines", [(), ("traceparent: nonsense",)], ids=["none", "invalid"])
async def test_a_state_without_a_trace_is_dropped(proxy: Proxy, lines: tuple[str, ...]) -> None:
    """Trace Context §4.2: it is invalid and must be discarded."""
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", "tracestate: a=b", *lines)
    seen = await the_observation(proxy)
    assert (seen.parent, seen.tracestate) == ("", "")
    for call in (proxy.legacy.calls[0], proxy.new.calls[0]):
        assert call.headers_named("tracestate") == []


async def test_a_trusted_client_decides_what_is_traced(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), trusted_proxies=("127.0.0.0/8",), trace_sample=1.0)
    async with await proxy.connect() as client:
        await client.get("/", f"traceparent: {UNSAMPLED}")
        for _ in range(50):
            await client.get("/", f"traceparent: {SAMPLED}")
    await proxy.reported(observed(50))
    assert len(proxy.worker.totals.observations) == 50
    assert [context_of(call)[2] for call in proxy.legacy.calls] == ["00"] + ["01"] * 50


async def test_a_stranger_cannot_have_every_request_traced(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), trace_sample=0.0)
    async with await proxy.connect() as client:
        began = client_time()
        for _ in range(200):
            await client.get("/", f"traceparent: {SAMPLED}")
        seconds = client_time() - began
    flags = [context_of(call)[2] for call in proxy.legacy.calls]
    traced = flags.count("01")
    assert 1 <= traced <= TRACES_ASKED_A_SECOND * (seconds + 1.1)
    assert {context_of(call)[0] for call in proxy.legacy.calls} == {TRACE_ID}
    await proxy.reported(observed(traced))


# What is told of a side alone


async def test_a_request_that_is_not_traced_and_not_shadowed_is_not_told(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), route("/b", "shadow-read"), trace_sample=0.0)
    async with await proxy.connect() as client:
        await client.get("/a")
        await client.post("/a", b"x")
        await client.get("/b")
    assert (await the_observation(proxy)).target == "/b"


@pytest.mark.parametrize(
    ("handler", "status", "failure"),
    [
        (replying(b"bad", "500 Internal Server Error"), 500, ""),
        (hanging, 0, "timeout"),
    ],
    ids=["500", "timeout"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_failure_of_a_side_alone_is_told(
    proxy: Proxy, handler: object, status: int, failure: str, method: str
) -> None:
    proxy.legacy.handler = handler  # type: ignore[assignment]  # a handler
    legacy = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=0.3)
    await proxy.serve(route("/*"), backends={"legacy": legacy}, trace_sample=0.0)
    async with await proxy.connect() as client:
        await client.get("/a?b=c", method=method)
    seen = await the_observation(proxy)
    assert (seen.method, seen.target, seen.write) == (method, "/a", method == "POST")
    assert (seen.legacy.status, seen.legacy.failure) == (status, failure)
    assert seen.legacy.ms > 0
    assert seen.new.failure == NOT_ASKED
    assert (seen.equal, seen.skipped, seen.authoritative) == (None, NOT_SHADOWED, Side.LEGACY)
    assert not seen.sampled


@pytest.mark.parametrize("name", ["legacy-only", "shadow-read"])
async def test_which_url_of_several_was_asked_is_told(proxy: Proxy, name: str) -> None:
    legacy = BackendSettings("legacy", (proxy.legacy.url, proxy.new.url))
    await proxy.serve(route("/*", name), backends={"legacy": legacy}, trace_sample=1.0)
    async with await proxy.connect() as client:
        for _ in range(20):
            await client.get("/a")
    await proxy.reported(observed(20))
    for seen in proxy.worker.totals.observations:
        assert seen.new.url == -1
        sent = {call.header("traceparent") for call in proxy.legacy.calls}
        own = f"00-{seen.trace_id}-{seen.span_id}-01".encode()
        assert seen.legacy.url == (0 if own in sent else 1)
