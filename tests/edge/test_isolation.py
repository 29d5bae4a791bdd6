"""Nothing that the shadow side does changes the client's answer or, beyond noise, its time."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.messages import NOT_SHADOWED
from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Shadow
from tests.edge.conftest import Proxy
from tests.harness.apart import backend_apart
from tests.harness.backend import (
    Backend,
    Call,
    Handler,
    closing,
    flooding,
    hanging,
    plain,
    replying,
    resetting,
    sending,
)
from tests.harness.ports import unused_port
from tests.harness.snapshots import route


async def authoritative(call: Call) -> None:
    """Answers of several forms, by target."""
    await call.read()
    date = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    match call.target.split("?")[0]:
        case "/chunked":
            await call.send(
                b"HTTP/1.1 200 OK\r\n" + date + b"Transfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
            )
        case "/large":
            await call.send(
                b"HTTP/1.1 200 OK\r\n" + date + b"Content-Length: 300000\r\n\r\n" + b"y" * 300_000
            )
        case "/missing":
            await call.send(b"HTTP/1.1 404 Nope\r\n" + date + b"Content-Length: 4\r\n\r\nnope")
        case "/error":
            await call.send(b"HTTP/1.1 500 Oops\r\n" + date + b"Content-Length: 4\r\n\r\noops")
        case "/empty":
            await call.send(b"HTTP/1.1 204 No Content\r\n" + date + b"\r\n")
        case _:
            await call.send(
                b"HTTP/1.1 200 OK\r\n" + date + b"Set-Cookie: a\r\nX-A: 1\r\nContent-Length: 2"
                b"\r\n\r\nok"
            )


TARGETS = ["/", "/chunked", "/large", "/missing", "/error", "/empty", "/?q=1"]


async def slow(call: Call) -> None:
    await call.read()
    gone = asyncio.ensure_future(call.connection.reader.read(1))
    await asyncio.wait([gone], timeout=0.3)
    gone.cancel()
    await asyncio.wait([gone])
    await call.answer(b"at last")


async def trickling(call: Call) -> None:
    await call.read()
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    gone = asyncio.ensure_future(call.connection.reader.read(1))
    for _ in range(1000):
        await call.send(b"x")
        done, _ = await asyncio.wait([gone], timeout=0.02)
        if done:
            break
    call.close()


async def interim_flood(call: Call) -> None:
    await call.read()
    while True:
        await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)


async def head_flood(call: Call) -> None:
    await call.read()
    await call.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await call.send(b"A: b\r\n" * 1000)


HANDLERS: dict[str, Handler] = {
    "answers as legacy does": authoritative,
    "slow": slow,
    "hangs": hanging,
    "resets": resetting,
    "closes": closing,
    "floods 10 GiB": flooding(10 << 30),
    "floods with interim answers": interim_flood,
    "floods with headers": head_flood,
    "trickles": trickling,
    "garbage": sending(b"\0\xff" * 1000 + b"\r\n\r\n", close=True),
    "half a head": sending(b"HTTP/1.1 200 OK\r\nContent-Le", close=True),
    "ambiguous framing": sending(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "bad chunks": sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "cut in the middle": sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc", close=True),
    "two answers": sending(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 2),
    "errors": replying(b"", "500 Internal Server Error"),
    "switches protocols": sending(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    ),
    "redirects": replying(b"", "302 Found", "Location: http://elsewhere/"),
    "asks to close": replying(b"x", "200 OK", "Connection: close"),
    "event stream": sending(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"
    ),
}
PLACES = ["refuses connections", "missing from DNS", "accepts nothing", "TLS without TLS"]


@asynccontextmanager
async def bad_side(kind: str) -> AsyncIterator[tuple[str, Backend | None]]:
    """The URL of a side that misbehaves so."""
    if kind == "refuses connections":
        yield f"http://127.0.0.1:{unused_port()}", None
    elif kind == "missing from DNS":
        yield "http://no-such-host.invalid", None
    elif kind == "accepts nothing":
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            sockets = [socket.socket() for _ in range(4)]
            for sock in sockets:
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", None
            for sock in sockets:
                sock.close()
    else:
        handler = HANDLERS.get(kind, plain)
        async with Backend("bad", handler) as backend:
            url = backend.url.replace("http:", "https:") if kind not in HANDLERS else backend.url
            yield url, backend


def kernel_buffers() -> int:
    """The most that one connection's sending and receiving buffers hold, in bytes."""
    limits = (Path(f"/proc/sys/net/ipv4/{name}").read_text() for name in ("tcp_rmem", "tcp_wmem"))
    return sum(int(limit.split()[2]) for limit in limits)


async def dialogue(proxy: Proxy) -> tuple[list[bytes], list[float]]:
    """Everything a client gets for a fixed list of requests, and how long each took."""
    got, times = [], []
    async with await proxy.connect() as client:
        for turn in range(3):
            for target in TARGETS:
                for method in ("GET", "HEAD", "OPTIONS"):
                    started = time.perf_counter()
                    response = await client.get(target, f"X-Turn: {turn}", method=method)
                    times.append(time.perf_counter() - started)
                    got.append(response.head + response.body + repr(response.trailers).encode())
    return got, times


@pytest.mark.parametrize("phase", ["shadow-read", "dual-write"])
@pytest.mark.parametrize("kind", [*HANDLERS, *PLACES])
async def test_the_client_sees_the_authoritative_side_alone(
    proxy: Proxy, kind: str, phase: str
) -> None:
    bound = Shadow(timeout_s=0.5, max_in_flight=32)
    async with Backend("good", authoritative) as good, bad_side(kind) as (url, bad):
        names = ("legacy", "new") if phase == "shadow-read" else ("new", "legacy")
        both = {
            names[0]: good.url,
            names[1]: BackendSettings(names[1], (url,), connect_timeout_s=0.5),
        }
        # Pausing for DNS and the like would show in the times of the same worker.
        alone = "legacy-only" if phase == "shadow-read" else "new-only"
        await proxy.serve(route("/*", alone, fallback=False), backends=both)
        reference, times = await dialogue(proxy)
        assert {seen.skipped for seen in proxy.worker.totals.observations} <= {NOT_SHADOWED}
        await proxy.serve(route("/*", phase, shadow=bound), backends=both)
        shadowed, with_shadow = await dialogue(proxy)
        assert shadowed == reference
        # No answer waited for the shadow: far below its 300 ms, its time-outs and back-offs.
        assert sorted(with_shadow)[len(with_shadow) // 2] < sorted(times)[len(times) // 2] + 0.02
        assert sorted(with_shadow)[-2] < 0.25
        count = len(times)
        await proxy.reported(
            lambda totals: (
                totals.client_requests["/*"] >= 2 * count
                and totals.comparisons.total() + totals.skipped.total() >= count
            ),
            "every read compared or skipped for a counted reason",
        )
        assert (
            proxy.worker.totals.comparisons.total() + proxy.worker.totals.skipped.total() == count
        )
        if bad is not None:
            # Of each shadow what is kept, and what the kernel took before it was given up.
            assert bad.bytes_sent < count * ((1 << 20) + kernel_buffers())
    assert proxy.worker.rss_mib() < 100


@pytest.mark.parametrize("kind", ["hangs", "resets", "floods 10 GiB", "garbage", *PLACES])
async def test_a_write_is_answered_whatever_the_second_side_does(proxy: Proxy, kind: str) -> None:
    async with bad_side(kind) as (url, _):
        slow_one = BackendSettings("new", (url,), timeout_s=0.5, connect_timeout_s=0.5)
        await proxy.serve(
            route("/0/*", "0%"),
            route("/50/*", "50%", ack_timeout_s=0.3),
            backends={"new": slow_one},
        )
        async with await proxy.connect() as client:
            for target in ("/0/x", "/50/x"):
                started = time.perf_counter()
                assert (await client.post(target, b"ab")).body == f"legacy POST {target} 2".encode()
                assert time.perf_counter() - started < 2
        await proxy.reported(
            lambda totals: (
                totals.events["/0/*|second_write_failed"] == 1
                and totals.events["/50/*|second_write_failed"] == 1
            )
        ) if kind != "floods 10 GiB" else None


async def test_a_shadow_takes_no_connection_that_an_answer_needs(proxy: Proxy) -> None:
    """Both sides on one backend with few connections: shadows never queue before answers."""
    release = asyncio.Event()

    async def handler(call: Call) -> None:
        if call.header("banyan-role"):
            await release.wait()
        await plain(call)

    proxy.legacy.handler = handler
    few = BackendSettings("legacy", (proxy.legacy.url,), max_connections=4)
    await proxy.serve(route("/*", "shadow-read", new="legacy"), backends={"legacy": few})
    clients = [await proxy.connect() for _ in range(2)]
    for client in clients:
        for _ in range(20):
            assert (await client.get("/")).status == 200
    await proxy.reported(lambda totals: totals.skipped["/*|no_connection"] > 0)
    release.set()
    for client in clients:
        client.close()


async def test_a_slow_client_is_not_the_shadows_fault(proxy: Proxy) -> None:
    """The shadow is done long before the client has read: it is counted with its own time."""
    body = b"x" * 900_000
    proxy.legacy.handler = proxy.new.handler = replying(body)
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect(receive_buffer=8192) as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        await proxy.new.called()
        left = len(body)
        while left:
            left -= len(await client.reader.read(1 << 16))
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 1)


async def test_the_shadows_of_a_drained_client_are_still_observed(proxy: Proxy) -> None:
    gate = asyncio.Event()

    async def late(call: Call) -> None:
        await gate.wait()
        await plain(call)

    proxy.new.handler = late
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 200
    gate.set()
    await proxy.reported(lambda totals: len(totals.observations) == 1)
    assert proxy.worker.totals.observations[0].new.status == 200


@pytest.mark.extended
@pytest.mark.parametrize("kind", ["slow", "hangs", "resets", "errors", "answers as legacy does"])
async def test_the_added_p99_is_within_noise(proxy: Proxy, kind: str) -> None:
    """At a fixed rate far from saturation, both backends in processes of their own."""
    async with (
        backend_apart("answers as legacy does") as good,
        backend_apart(kind) as bad,
    ):
        both: dict[str, object] = {"legacy": good, "new": bad}

        async def p99(phase: str) -> float:
            await proxy.serve(route("/*", phase), backends=both)
            times = []
            async with await proxy.connect() as client:
                for _ in range(400):
                    started = time.perf_counter()
                    await client.get("/")
                    times.append(time.perf_counter() - started)
                    await asyncio.sleep(0.003)
            return sorted(times)[395]

        rounds = [(await p99("legacy-only"), await p99("shadow-read")) for _ in range(5)]
        # What else the machine does only adds: the best round of each is the least disturbed.
        alone = min(first for first, _ in rounds)
        shadowed = min(second for _, second in rounds)
        assert shadowed <= max(1.1 * alone, alone + 0.001)
