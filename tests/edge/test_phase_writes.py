"""Writes in every phase (contract §2): order, once, refusals, acks, missed flags, authority."""

import asyncio

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import Shadow, Side
from tests.edge.conftest import Proxy
from tests.edge.writing import BOTH, TABLE, held, sides
from tests.harness.backend import Call, Handler, hanging, replying, sending
from tests.harness.snapshots import phase, route

ACK_BOTH = ["1%", "50%", "99%"]
WRITES = ["POST", "PUT", "PATCH", "DELETE", "X-OWN"]


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("name", TABLE)
async def test_where_a_write_goes(proxy: Proxy, name: str, method: str) -> None:
    first, second = sides(proxy, name)
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        response = await client.post("/a?b=c", b"hello", method=method)
    assert response.body == f"{first.name} {method} /a?b=c 5".encode()
    assert first.calls[0].body == b"hello"
    assert first.calls[0].header("banyan-role") is None
    misses = TABLE[name][2]
    if TABLE[name][1] is None:
        await proxy.reported(lambda totals: totals.client_requests["/*"] == 1)
        assert second.connections == []
        assert [message.side for message in proxy.worker.missing] == [misses]
    else:
        call = await second.complete()
        assert (call.method, call.target, call.body) == (method, "/a?b=c", b"hello")
        assert call.header("banyan-role") == b"shadow"
        await proxy.reported(lambda totals: len(totals.observations) == 1)
        assert proxy.worker.totals.observations[0].write
        assert proxy.worker.totals.observations[0].authoritative == Side(first.name)
        assert proxy.worker.missing == []
    assert len(first.calls) == 1
    assert proxy.worker.totals.eligible.total() == 0


@pytest.mark.parametrize("name", BOTH)
async def test_the_second_side_is_asked_after_the_first_has_succeeded(
    proxy: Proxy, name: str
) -> None:
    first, second = sides(proxy, name)
    gate = asyncio.Event()
    first.handler = held(gate)
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        await first.complete()
        # Another request through the same worker: the write would have been sent by now.
        async with await proxy.connect() as other:
            await other.get("/", "X: y")
        assert [call.method for call in second.calls if call.method == "POST"] == []
        gate.set()
        assert (await client.response()).status == 200
        await second.changes.until(lambda: [call for call in second.calls if call.method == "POST"])


SUCCESSES = ["200 OK", "201 Created", "202 Accepted", "204 No Content", "302 Found", "304 No"]
REFUSALS = ["400 Bad Request", "401 No", "404 Not Found", "409 Conflict", "422 No", "429 No"]


@pytest.mark.parametrize("status", SUCCESSES)
@pytest.mark.parametrize("name", ["0%", "50%", "dual-write"])
async def test_2xx_and_3xx_are_success(proxy: Proxy, name: str, status: str) -> None:
    first, second = sides(proxy, name)

    async def handler(call: Call) -> None:
        await call.read()
        end = "" if status[:3] in ("204", "304") else "Content-Length: 0\r\n"
        await call.send(f"HTTP/1.1 {status}\r\n{end}\r\n".encode())

    first.handler = handler
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == int(status[:3])
    await second.complete()
    await proxy.reported(lambda totals: totals.observations)
    assert len(second.calls) == 1


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("name", ["0%", "50%", "dual-write"])
async def test_4xx_is_refusal_and_the_other_side_is_not_asked(
    proxy: Proxy, name: str, status: str
) -> None:
    first, second = sides(proxy, name)
    first.handler = replying(b"no", status)
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == int(status[:3])
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 1)
    assert second.connections == []
    assert proxy.worker.missing == []
    assert proxy.worker.totals.errors.total() == 0
    assert not any("uncertain" in key for key in proxy.worker.totals.events)


UNCERTAIN: dict[str, tuple[Handler, int]] = {
    "500": (replying(b"no", "500 Internal Server Error"), 500),
    "503": (replying(b"no", "503 Service Unavailable"), 503),
    "closes": (sending(b"", close=True), 502),
    "half a head": (sending(b"HTTP/1.1 20", close=True), 502),
    "garbage": (sending(b"garbage\r\n\r\n", close=True), 502),
}


@pytest.mark.parametrize("failure", UNCERTAIN)
@pytest.mark.parametrize("name", ["0%", "50%", "dual-write"])
async def test_an_uncertain_write_is_shown_and_not_sent_on(
    proxy: Proxy, name: str, failure: str
) -> None:
    first, second = sides(proxy, name)
    first.handler, status = UNCERTAIN[failure]
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == status
    await proxy.reported(lambda totals: totals.events["/*|uncertain_write"] == 1)
    assert second.connections == []
    assert len(first.calls) == 1
    assert proxy.worker.totals.errors == {f"/*|{first.name}": 1}


async def test_a_write_that_times_out_is_uncertain(proxy: Proxy) -> None:

    proxy.legacy.handler = hanging
    slow = BackendSettings("legacy", (proxy.legacy.url,), timeout_s=0.3)
    await proxy.serve(route("/*", "0%"), backends={"legacy": slow})
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x")).status == 504
    await proxy.reported(lambda totals: totals.events["/*|uncertain_write"] == 1)
    assert proxy.new.connections == []


BODIES = {
    "none": (b"Content-Length: 0\r\n\r\n", b""),
    "small": (b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "large": (b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, b"x" * 1_000_000),
    "chunked": (
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
        b"hello!",
    ),
    "chunked with trailers": (
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"hello",
    ),
}


@pytest.mark.parametrize("name", ["0%", "50%", "dual-write"])
@pytest.mark.parametrize("body", BODIES)
async def test_both_sides_get_the_same_write(proxy: Proxy, body: str, name: str) -> None:
    wire, decoded = BODIES[body]
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        client.write(
            b"PUT /x HTTP/1.1\r\nHost: a\r\nX-A: b\r\nx-a: c\r\nContent-Type: text/x\r\n" + wire
        )
        assert (await client.response()).status == 200
    calls = [await backend.complete() for backend in (proxy.legacy, proxy.new)]
    for call in calls:
        assert call.body == decoded
        assert call.headers_named("x-a") == [b"b", b"c"]
        assert call.header("content-type") == b"text/x"
        if "trailers" in body:
            assert call.trailers == [(b"X-Sum", b"1")]
    own = {b"banyan-role", b"traceparent"}
    assert [(n, v) for n, v in calls[0].headers if n.lower() not in own] == [
        (n, v) for n, v in calls[1].headers if n.lower() not in own
    ]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("form", ["length", "chunked"])
async def test_write_body_bounds_what_is_owed_to_both(proxy: Proxy, form: str, name: str) -> None:
    await proxy.serve(route("/*", name, write_body_bytes=100_000))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x" * 100_000)).status == 200
        await proxy.legacy.complete()
        await proxy.new.complete()
        if form == "length":
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")
            client.write(b"x" * 100_001)
        else:
            client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(11):
                client.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            client.write(b"0\r\n\r\n")
        response = await client.response()
        assert response.status == 413
        assert response.header("content-type") == b"application/problem+json"
        # A body that was read to its end leaves the connection in order.
        if not response.closes:
            assert (await client.get("/")).status == 200
    for backend in (proxy.legacy, proxy.new):
        assert sum(call.method == "POST" for call in backend.calls) == 1


@pytest.mark.parametrize("name", ["legacy-only", "new-only"])
async def test_write_body_does_not_bound_what_one_side_gets(proxy: Proxy, name: str) -> None:
    await proxy.serve(route("/*", name, write_body_bytes=1000))
    async with await proxy.connect() as client:
        assert (await client.post("/", b"x" * 300_000)).status == 200


# ack


@pytest.mark.parametrize("name", ACK_BOTH)
async def test_a_client_reads_its_own_writes_at_1_to_99_per_cent(proxy: Proxy, name: str) -> None:
    gate = asyncio.Event()
    proxy.new.handler = held(gate)
    await proxy.serve(route("/*", name, ack_timeout_s=20))
    async with await proxy.connect() as client:
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        await proxy.new.complete()
        answer = asyncio.ensure_future(client.response())
        # The worker has had every chance to answer: it has served another request since.
        async with await proxy.connect() as other:
            await other.get("/")
        assert not answer.done()
        gate.set()
        assert (await answer).body == b"legacy POST /x 2"


@pytest.mark.parametrize(
    ("name", "ack"),
    [("0%", "auto"), ("dual-write", "auto"), ("50%", "authoritative"), ("0%", "authoritative")],
)
async def test_elsewhere_the_client_does_not_wait_for_the_second_side(
    proxy: Proxy, name: str, ack: str
) -> None:
    first, second = sides(proxy, name)
    gate = asyncio.Event()
    second.handler = held(gate)
    await proxy.serve(route("/*", name, ack=ack))
    async with await proxy.connect() as client:
        assert (await client.post("/x", b"ab")).body == f"{first.name} POST /x 2".encode()
    await second.complete()
    gate.set()
    await proxy.reported(lambda totals: len(totals.observations) == 1)


@pytest.mark.parametrize("name", ["0%", "dual-write"])
async def test_ack_both_waits_in_the_other_phases_too(proxy: Proxy, name: str) -> None:
    _, second = sides(proxy, name)
    gate = asyncio.Event()
    second.handler = held(gate)
    await proxy.serve(route("/*", name, ack="both", ack_timeout_s=20))
    async with await proxy.connect() as client:
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        await second.complete()
        answer = asyncio.ensure_future(client.response())
        async with await proxy.connect() as other:
            await other.get("/")
        assert not answer.done()
        gate.set()
        assert (await answer).status == 200


async def test_ack_both_waits_at_most_ack_timeout(proxy: Proxy) -> None:
    gate = asyncio.Event()
    proxy.new.handler = held(gate)
    await proxy.serve(route("/*", "50%", ack_timeout_s=0.2))
    async with await proxy.connect() as client:
        assert (await client.post("/x", b"ab")).body == b"legacy POST /x 2"
        await proxy.reported(lambda totals: totals.events["/*|ack_timeout"] == 1)
        # The write itself is not given up.
        gate.set()
        await proxy.reported(lambda totals: len(totals.observations) == 1)
    assert proxy.worker.totals.observations[0].new.status == 200


@pytest.mark.parametrize("failure", UNCERTAIN)
async def test_ack_both_answers_with_the_authoritative_answer_all_the_same(
    proxy: Proxy, failure: str
) -> None:
    proxy.new.handler = UNCERTAIN[failure][0]
    await proxy.serve(route("/*", "50%"))
    async with await proxy.connect() as client:
        assert (await client.post("/x", b"ab")).body == b"legacy POST /x 2"


async def test_ack_both_holds_a_large_answer_within_bounds(proxy: Proxy) -> None:
    gate = asyncio.Event()
    size = 32 << 20
    proxy.new.handler = held(gate)

    async def large(call: Call) -> None:
        await call.read()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await call.send(b"x" * 65536)

    proxy.legacy.handler = large
    await proxy.serve(route("/*", "50%", ack_timeout_s=20))
    async with await proxy.connect() as client:
        client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        await proxy.new.complete()
        assert proxy.worker.rss_mib() < 60
        gate.set()
        assert len((await client.response(within_s=30)).body) == size


# Once, and never torn


@pytest.mark.parametrize("name", TABLE)
async def test_a_client_that_goes_away_does_not_tear_a_write_that_started(
    proxy: Proxy, name: str
) -> None:
    first, second = sides(proxy, name)
    gate = asyncio.Event()
    first.handler = held(gate)
    await proxy.serve(route("/*", name))
    client = await proxy.connect()
    client.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    await first.complete()
    client.reset()
    # The reset is seen once another connection was answered.
    async with await proxy.connect() as other:
        other.write(b"\0")
        await other.response()
    gate.set()
    if TABLE[name][1]:
        assert (await second.complete()).body == b"hello"
    await proxy.reported(lambda totals: totals.requests[f"/*|{phase(name)}|{first.name}|200"] == 1)
    assert len(first.calls) == 1
    assert not first.calls[0].failed


@pytest.mark.parametrize("name", BOTH)
async def test_a_client_that_goes_away_before_its_body_is_whole_begins_nothing(
    proxy: Proxy, name: str
) -> None:
    await proxy.serve(route("/*", name))
    client = await proxy.connect()
    await client.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"x" * 200_000
    )
    client.reset()
    await proxy.reported(lambda totals: totals.connections.get("client") == 0)
    assert proxy.legacy.calls == []
    assert proxy.new.calls == []


@pytest.mark.parametrize("name", BOTH)
async def test_a_failed_second_write_is_sent_once_and_sets_the_flag(
    proxy: Proxy, name: str
) -> None:
    first, second = sides(proxy, name)
    second.handler = replying(b"", "500 Internal Server Error")
    await proxy.serve(route("/*", name))
    async with await proxy.connect() as client:
        assert (await client.post("/x", b"ab")).status == 200
    await proxy.reported(lambda totals: totals.events["/*|second_write_failed"] == 1)
    assert [(m.route, m.side) for m in proxy.worker.missing] == [("/*", Side(second.name))]
    assert len(second.calls) == 1
    assert len(first.calls) == 1
    assert proxy.worker.totals.errors == {f"/*|{second.name}": 1}


@pytest.mark.parametrize("failure", ["closes", "half a head", "garbage", "500"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_second_write_of_unknown_outcome_sets_the_flag(
    proxy: Proxy, method: str, failure: str
) -> None:
    proxy.new.handler = UNCERTAIN[failure][0]
    await proxy.serve(route("/*", "0%"))
    async with await proxy.connect() as client:
        assert (await client.post("/x", b"ab", method=method)).status == 200
    await proxy.worker.changes.until(lambda: proxy.worker.missing)
    assert proxy.worker.missing[0].side is Side.NEW
    if method == "POST":
        assert len(proxy.new.calls) == 1


async def test_a_refused_second_write_sets_the_flag(proxy: Proxy) -> None:
    """The two sides disagree from here on, whatever the reason."""
    proxy.new.handler = replying(b"", "409 Conflict")
    await proxy.serve(route("/*", "0%"))
    async with await proxy.connect() as client:
        assert (await client.post("/x", b"ab")).status == 200
    await proxy.worker.changes.until(lambda: proxy.worker.missing)


async def test_many_writes_reach_both_sides_once_each(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "50%"))
    count = 100

    async def one(start: int) -> None:
        async with await proxy.connect() as client:
            for number in range(start, start + 10):
                assert (await client.post(f"/{number}", b"%d" % number)).status == 200

    await asyncio.gather(*(one(start) for start in range(0, count, 10)))
    wanted = sorted(f"/{number}" for number in range(count))
    assert sorted(call.target for call in proxy.legacy.calls) == wanted
    assert sorted(call.target for call in proxy.new.calls) == wanted


async def test_writes_are_neither_sampled_nor_shed(proxy: Proxy) -> None:

    shadow = Shadow(sample=0.0, max_in_flight=1, max_body_bytes=10)
    await proxy.serve(route("/*", "0%", shadow=shadow))
    async with await proxy.connect() as client:
        for number in range(20):
            await client.post(f"/{number}", b"x" * 100)
    await proxy.new.complete(20)
