"""The corpus of framing tricks against a running worker: refused, closed, and no backend knows."""

import json

import pytest

from tests.edge.conftest import Proxy
from tests.harness.backend import sending
from tests.harness.client import Client
from tests.harness.probes import BODIES, HEADS, BodyProbe, Probe
from tests.harness.snapshots import route
from tests.harness.wire import Response

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def check_problem(response: Response, status: int) -> None:
    """The answer is RFC 9457 with the request id, and closes."""
    assert response.status == status
    assert response.header("content-type") == b"application/problem+json"
    problem = json.loads(response.body)
    assert problem["status"] == status
    assert problem["request_id"]
    assert problem["detail"]
    assert response.header("x-request-id") == problem["request_id"].encode()
    assert response.closes


async def refused(client: Client, status: int) -> None:
    check_problem(await client.response(), status)
    await client.ended()


@pytest.mark.parametrize("probe", HEADS, ids=[probe.name for probe in HEADS])
async def test_a_request_that_could_be_read_in_two_ways(proxy: Proxy, probe: Probe) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        client.write(probe.raw + HIDDEN)
        await refused(client, probe.status)
    assert proxy.legacy.calls == []
    assert proxy.legacy.connections == []
    assert proxy.new.connections == []


@pytest.mark.parametrize("probe", HEADS[::7], ids=[probe.name for probe in HEADS[::7]])
async def test_the_same_behind_a_good_request_in_one_write(proxy: Proxy, probe: Probe) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n" + probe.raw + HIDDEN)
        assert (await client.response()).body == b"legacy GET /good 0"
        await refused(client, probe.status)
    assert [call.target for call in proxy.legacy.calls] == ["/good"]


@pytest.mark.parametrize("phase", ["legacy-only", "dual-write"])
@pytest.mark.parametrize("probe", BODIES, ids=[probe.name for probe in BODIES])
async def test_a_chunked_body_that_could_be_read_in_two_ways(
    proxy: Proxy, probe: BodyProbe, phase: str
) -> None:
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        client.write(
            b"POST /outer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + probe.body
            + HIDDEN
        )
        await refused(client, 400)
    for backend in (proxy.legacy, proxy.new):
        assert not any(call.complete for call in backend.calls)
        assert all(call.target == "/outer" for call in backend.calls)


TARGETS = {
    "no slash": (b"foo", 400),
    "question mark": (b"?a=b", 400),
    "fragment": (b"#a", 400),
    "fragment behind a path": (b"/a#b", 400),
    "at sign": (b"@a", 400),
    "asterisk for GET": (b"*", 400),
    "unknown scheme": (b"ftp://a/b", 400),
    "absolute without host": (b"http:///b", 400),
    "userinfo": (b"http://user:secret@a/b", 400),
    "backslash": (b"/a\\b", 400),
    "escaped NUL": (b"/a%00b", 400),
    "a lone percent": (b"/a%", 400),
    "half an escape": (b"/a%4", 400),
    "a false escape": (b"/a%zz", 400),
    "above the root": (b"/../a", 400),
    "above the root, escaped": (b"/%2e%2e/a", 400),
    "above the root, half escaped": (b"/a/..%2f/%2E./../../b", 400),
}


@pytest.mark.parametrize(("target", "status"), TARGETS.values(), ids=TARGETS.keys())
async def test_a_target_that_is_no_path(proxy: Proxy, target: bytes, status: int) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN)
        await refused(client, status)
    assert proxy.legacy.calls == []


@pytest.mark.parametrize("target", [b"a:443", b"/a", b"/", b"*", b"http://a/"])
async def test_connect_is_not_implemented(proxy: Proxy, target: bytes) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"CONNECT " + target + b" HTTP/1.1\r\nHost: a:443\r\n\r\n" + HIDDEN)
        await refused(client, 501)
    assert proxy.legacy.calls == []


async def test_a_request_of_line_feeds_only_is_refused_at_once(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(b"GET / HTTP/1.1\nHost: a\n\n")
        await refused(client, 400)


@pytest.mark.parametrize(
    "garbage",
    [b"\0\0\0\0", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"SSH-2.0-x\r\n", b"\xff" * 100],
    ids=["NUL", "TLS", "SSH", "high bytes"],
)
async def test_another_protocol_is_refused_before_its_first_line_ends(
    proxy: Proxy, garbage: bytes
) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        client.write(garbage)
        await refused(client, 400)


async def test_a_backend_cannot_split_its_response(proxy: Proxy) -> None:
    """Values are carried as bytes of one line: a bare CR or LF in one is a bad gateway."""
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nX: a\nX-Evil: b\r\nContent-Length: 0\r\n\r\n"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/")
        assert response.status == 502
        assert b"Evil" not in response.head


async def test_refusals_are_counted_by_reason(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    await proxy.worker.forget_refusals()
    for _ in range(3):
        async with await proxy.connect() as client:
            client.write(b"GET / HTTP/1.1\r\n\r\n")
            await refused(client, 400)
    await proxy.reported(lambda totals: totals.refused["host"] == 3)
