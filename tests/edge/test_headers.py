"""Which headers a backend and a client get: hop-by-hop gone, the rest byte for byte."""

import json
import re

import pytest

from proxy.core.model import Backend as BackendSettings
from tests.edge.conftest import Proxy
from tests.harness.backend import sending
from tests.harness.client import Client
from tests.harness.snapshots import route, snapshot
from tests.harness.worker import Worker

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_case_order_and_duplicates_of_request_headers_survive(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    lines = [
        "ACCEPT: text/html",
        "x-lower: 1",
        "X-UPPER: 2",
        "Cookie: a=b; c=d",
        "x-lower: 3",
        "X-Empty:",
        "Cookie: e=f",
        "X-High: \xe4\xff",
        "X-Spaces:  inner  space ",
        "Authorization: Basic eDp5",
        "If-None-Match: W/\"x\"",
        "Baggage: a=b",
    ]  # fmt: skip
    async with await proxy.connect() as client:
        await client.get("/", *lines)
    sent = proxy.legacy.calls[0].head.decode("latin-1").split("\r\n")
    wanted = ["Host: shop.example", *lines]
    assert [line for line in sent if line in wanted] == wanted
    assert sent.index("Host: shop.example") == 1


async def test_case_order_and_duplicates_of_response_headers_survive(proxy: Proxy) -> None:
    head = (
        b"HTTP/1.1 200 Fine By Me\r\nServer: x\r\nset-cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2\r\n"
        b"x-a: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-High: \xe4\xff\r\nX-Empty:\r\n"
        b"Content-Length: 2\r\nETag: \"x\"\r\n\r\n"
    )  # fmt: skip
    proxy.legacy.handler = sending(head + b"ok")
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/")).head == head


async def test_hop_by_hop_request_headers_are_removed(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.get(
            "/",
            "Connection: X-Secret, keep-alive, x-other",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eDp5",
            "Proxy-Authenticate: Basic",
            "TE: gzip",
            "HTTP2-Settings: abc",
            "Upgrade: h2c",
            "x-secret: 1",
            "X-OTHER: 2",
            "X-Secret: 3",
            "X-Kept: 4",
        )
    call = proxy.legacy.calls[0]
    gone = ("connection", "keep-alive", "proxy-connection", "proxy-authorization", "te")
    more = ("proxy-authenticate", "http2-settings", "upgrade", "x-secret", "x-other")
    for name in (*gone, *more):
        assert call.headers_named(name) == [], name
    assert call.header("x-kept") == b"4"


async def test_hop_by_hop_response_headers_are_removed(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(
        b"HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nKeep-Alive: timeout=5\r\nX-Secret: 1\r\n"
        b"Proxy-Authenticate: Basic\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Kept: 2\r\n"
        b"Proxy-Authorization: y\r\nTE: trailers\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/")
    gone = ("keep-alive", "x-secret", "proxy-connection", "upgrade", "connection", "te")
    for name in (*gone, "proxy-authenticate", "proxy-authorization"):
        assert response.headers_named(name) == [], name
    assert response.header("x-kept") == b"2"


@pytest.mark.parametrize("line", ["Proxy-Authenticate: y", "Proxy-Authorization: y", "TE: gzip"])
async def test_a_hop_by_hop_header_alone_is_removed_in_both_directions(
    proxy: Proxy, line: str
) -> None:
    head = f"HTTP/1.1 200 OK\r\nDate: x\r\n{line}\r\nContent-Length: 2\r\n\r\nok"
    proxy.legacy.handler = sending(head.encode())
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.get("/", line)
    name = line.partition(":")[0]
    assert response.headers_named(name) == []
    assert proxy.legacy.calls[0].headers_named(name) == []


@pytest.mark.parametrize(
    "named",
    ["Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "Cookie", "Authorization"],
)
async def test_connection_cannot_strip_what_matters(proxy: Proxy, named: str) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        response = await client.post(
            "/", b"abc", f"Connection: close, {named}", "Cookie: a=b", "Authorization: x"
        )
        assert response.status in (200, 400)
    for call in proxy.legacy.calls:
        assert call.header("host") == b"shop.example"
        assert call.body == b"abc"
        assert call.header("x-forwarded-for") == b"127.0.0.1"
        assert call.header("cookie") == b"a=b"
        assert call.header("authorization") == b"x"


async def test_what_the_proxy_adds(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.get("/")
    call = proxy.legacy.calls[0]
    assert call.header("via") == b"1.1 banyan"
    assert call.header("x-forwarded-for") == b"127.0.0.1"
    assert call.header("x-forwarded-proto") == b"http"
    assert call.header("x-forwarded-host") == b"shop.example"
    trace = re.fullmatch(
        rb"00-([0-9a-f]{32})-[0-9a-f]{16}-0[01]", call.header("traceparent") or b""
    )
    assert trace
    assert call.header("x-request-id") == trace[1]
    assert call.header("banyan-role") is None


async def test_via_is_added_to_those_before(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.get("/", "Via: 1.0 fred, 1.1 p.example")
    assert proxy.legacy.calls[0].headers_named("via") == [
        b"1.0 fred, 1.1 p.example",
        b"1.1 banyan",
    ]


FORGED = (
    "X-Forwarded-For: 9.9.9.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /admin",
    "X-Forwarded-Ssl: on",
    "X-Real-IP: 9.9.9.9",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "Forwarded: for=9.9.9.9",
)


async def test_forwarded_headers_of_strangers_are_replaced(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.get("/", *FORGED, "X-Forwarded-For: 8.8.8.8")
    call = proxy.legacy.calls[0]
    assert call.header("x-forwarded-for") == b"127.0.0.1"
    assert call.header("x-forwarded-proto") == b"http"
    assert call.header("x-forwarded-host") == b"shop.example"
    for line in FORGED[3:]:
        assert call.header(line.partition(":")[0]) is None, line


async def test_forwarded_headers_of_trusted_proxies_are_believed(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), trusted_proxies=("127.0.0.0/8",))
    async with await proxy.connect() as client:
        await client.get("/", *FORGED)
    call = proxy.legacy.calls[0]
    assert call.header("x-forwarded-for") == b"9.9.9.9, 127.0.0.1"
    assert call.header("x-forwarded-proto") == b"https"
    assert call.header("x-forwarded-host") == b"evil.example"
    assert call.header("forwarded") == b"for=9.9.9.9"


async def test_connection_cannot_strip_what_a_trusted_proxy_says(proxy: Proxy) -> None:
    """The proxy in front passes its client's Connection on: it took away what was added behind."""
    said = ["X-Forwarded-Port: 1", "X-Real-IP: 9.9.9.9", "X-Original-URL: /x", "Forwarded: for=x"]
    said += ["X-Forwarded-For: 9.9.9.9", "X-Rewrite-URL: /x", "X-Forwarded-User: u"]
    named = ", ".join(line.partition(":")[0] for line in said)
    await proxy.serve(route("/*"), trusted_proxies=("127.0.0.0/8",))
    async with await proxy.connect() as client:
        await client.get("/", f"Connection: {named}, X-Own", "X-Own: 1", *said)
    call = proxy.legacy.calls[0]
    for line in said:
        name, _, value = line.partition(": ")
        assert (call.header(name) or b"").startswith(value.encode())
    assert call.header("x-own") is None


async def test_several_forwarded_for_lines_of_a_trusted_proxy_become_one_list(
    proxy: Proxy,
) -> None:
    await proxy.serve(route("/*"), trusted_proxies=("127.0.0.1/32",))
    async with await proxy.connect() as client:
        await client.get("/", "X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2")
    assert proxy.legacy.calls[0].header("x-forwarded-for") == b"1.1.1.1, 2.2.2.2, 127.0.0.1"


async def test_trust_follows_a_new_table_on_a_connection_that_stands(proxy: Proxy) -> None:
    await proxy.serve(route("/*"), trusted_proxies=("127.0.0.0/8",))
    async with await proxy.connect() as client:
        await client.get("/", "X-Forwarded-For: 9.9.9.9")
        await proxy.serve(route("/*"))
        await client.get("/", "X-Forwarded-For: 9.9.9.9")
    assert [call.header("x-forwarded-for") for call in proxy.legacy.calls] == [
        b"9.9.9.9, 127.0.0.1",
        b"127.0.0.1",
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123", True),
        ("0" * 128, True),
        ("0" * 129, False),
        ("with space", False),
        ("<script>", False),
        ("", False),
    ],
)
async def test_a_harmless_request_id_is_kept(proxy: Proxy, given: str, kept: bool) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", f"X-Request-Id: {given}")
    await proxy.new.called()
    for call in (proxy.legacy.calls[0], proxy.new.calls[0]):
        sent = call.header("x-request-id")
        assert sent
        assert (sent == given.encode()) is kept


async def test_a_trace_is_continued_to_both_sides(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read"))
    async with await proxy.connect() as client:
        await client.get("/", f"traceparent: {TRACEPARENT}")
    await proxy.new.called()
    for call in (proxy.legacy.calls[0], proxy.new.calls[0]):
        sent = (call.header("traceparent") or b"").decode().split("-")
        assert sent[1] == TRACEPARENT.split("-")[1]
        assert sent[2] != TRACEPARENT.split("-")[2]
        assert sent[3] == "01"


@pytest.mark.parametrize(
    "given",
    [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "nonsense",
        "",
    ],
)
async def test_an_invalid_trace_is_begun_anew(proxy: Proxy, given: str) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        assert (await client.get("/", f"traceparent: {given}")).status == 200
    sent = proxy.legacy.calls[0].header("traceparent") or b""
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", sent)
    assert b"4bf92f35" not in sent
    assert sent.split(b"-")[1].strip(b"0")


async def test_each_request_of_a_connection_has_its_own_id(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        for _ in range(20):
            await client.get("/")
    ids = {call.header("x-request-id") for call in proxy.legacy.calls}
    assert len(ids) == 20


async def test_host_is_preserved_by_default_and_that_of_the_backend_where_asked(
    proxy: Proxy,
) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        await client.get("/")
        own = BackendSettings("legacy", (proxy.legacy.url,), host="backend")
        await proxy.serve(route("/*"), backends={"legacy": own})
        await client.get("/")
    first, second = proxy.legacy.calls
    assert first.header("host") == b"shop.example"
    assert second.header("host") == b"127.0.0.1:%d" % proxy.legacy.port
    assert second.header("x-forwarded-host") == b"shop.example"


async def test_an_absolute_target_overrides_the_host(proxy: Proxy) -> None:
    await proxy.serve(route("other.example/*", "new-only"), route("/*"))
    async with await proxy.connect() as client:
        response = await client.ask(
            b"GET http://OTHER.example:81/a?b=c HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        )
        assert response.body == b"new GET /a?b=c 0"
    assert (proxy.new.calls[0].header("host") or b"").lower() == b"other.example:81"


@pytest.mark.parametrize("more", ["", "Connection: x\r\n"])
@pytest.mark.parametrize("host", ["preserve", "backend"])
async def test_the_host_that_an_absolute_target_overrides_is_told_to_nobody(
    proxy: Proxy, host: str, more: str
) -> None:
    """A backend that builds its links from X-Forwarded-Host was given the ignored one."""
    await proxy.serve(
        route("/*"), backends={"legacy": BackendSettings("legacy", (proxy.legacy.url,), host=host)}
    )
    async with await proxy.connect() as client:
        await client.ask(
            b"GET http://admin.example/a HTTP/1.1\r\nHost: public.example\r\n%b\r\n" % more.encode()
        )
    call = proxy.legacy.calls[0]
    assert call.headers_named("x-forwarded-host") == [b"admin.example"]
    assert b"public.example" not in call.head


async def test_an_options_request_for_the_whole_server(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "new-only"))
    async with await proxy.connect() as client:
        response = await client.get("*", method="OPTIONS")
        assert response.body == b"legacy OPTIONS * 0"


async def test_a_date_is_added_where_the_backend_sent_none(proxy: Proxy) -> None:
    proxy.legacy.handler = sending(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        date = (await client.get("/")).header("date") or b""
    assert re.fullmatch(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)


@pytest.mark.parametrize("phase", ["legacy-only", "shadow-read", "dual-write", "new-only"])
async def test_a_shadow_of_another_proxy_is_not_served_again(proxy: Proxy, phase: str) -> None:
    await proxy.serve(route("/*", phase))
    async with await proxy.connect() as client:
        response = await client.get("/", "Banyan-Role: shadow")
        assert response.status == 508
        assert json.loads(response.body)["code"]
    assert proxy.legacy.calls == []
    assert proxy.new.calls == []


async def test_a_loop_through_ourselves_ends(proxy: Proxy) -> None:
    """A backend URL that leads back to the proxy must not multiply one request without end."""
    assert isinstance(proxy.worker.address, tuple)
    await proxy.serve(
        route("/*"), backends={"legacy": f"http://127.0.0.1:{proxy.worker.address[1]}"}
    )
    async with await proxy.connect() as client:
        assert (await client.get("/")).status == 508


async def test_the_client_of_a_unix_socket(tmp_path: object) -> None:
    from tests.harness.backend import Backend

    worker = await Worker(unix=True).start()
    try:
        async with Backend("legacy") as legacy:
            await worker.apply(snapshot([route("/*")], {"legacy": legacy.url, "new": legacy.url}))
            async with await Client.to(worker.address) as client:
                assert (await client.get("/")).status == 200
                # Whoever reaches the socket is a proxy on this machine, and is believed.
                await client.get("/", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https")
            assert (legacy.calls[1].header("x-forwarded-for") or b"").startswith(b"9.9.9.9")
            assert legacy.calls[1].header("x-forwarded-proto") == b"https"
    finally:
        await worker.stop()


@pytest.mark.parametrize("trusted", [(), ("127.0.0.0/8",)])
async def test_look_alikes_of_forwarding_headers_never_reach_a_backend(
    proxy: Proxy, trusted: tuple[str, ...]
) -> None:
    await proxy.serve(route("/*"), trusted_proxies=trusted)
    async with await proxy.connect() as client:
        await client.get(
            "/",
            "X_Forwarded_For: 6.6.6.6",
            "x-forwarded_proto: https",
            "X_REQUEST_ID: forged",
            "X_Forwarded_Port: 6.6.6.6",
            "X_REAL_IP: 6.6.6.6",
            "X_Own: stays",
        )
    head = proxy.legacy.calls[0].head.lower()
    assert b"6.6.6.6" not in head
    assert b"forged" not in head
    assert b"forwarded_proto" not in head
    assert b"x_own: stays" in head


async def test_a_repeated_trace_context_or_request_id_begins_a_new_one(proxy: Proxy) -> None:
    await proxy.serve(route("/*"))
    async with await proxy.connect() as client:
        reply = await client.get(
            "/",
            f"traceparent: {TRACEPARENT}",
            f"traceparent: {TRACEPARENT}",
            "X-Request-Id: one",
            "X-Request-Id: two",
        )
    assert reply.status == 200
    call = proxy.legacy.calls[0]
    assert TRACEPARENT[3:35].encode() not in call.head
    assert call.header("x-request-id") == call.header("traceparent")[3:35]  # type: ignore[index]
