"""TLS to backends (own CA, client certificate, verification on) and from clients."""

import asyncio

import pytest

from proxy.core.model import Backend as BackendSettings
from proxy.core.model import BackendTls
from tests.edge.conftest import Proxy
from tests.harness.backend import Backend, Call, replying, sending
from tests.harness.certificates import Certificates
from tests.harness.client import Client
from tests.harness.snapshots import route, snapshot
from tests.harness.waiting import soon
from tests.harness.worker import Worker


async def test_a_backend_is_verified_against_our_ca(
    proxy: Proxy, certificates: Certificates
) -> None:
    async with Backend("secure", tls=certificates.server_context()) as secure:
        tls = BackendTls(ca=certificates.path("ca.pem"))
        await proxy.serve(
            route("/*"), backends={"legacy": BackendSettings("legacy", (secure.url,), tls=tls)}
        )
        async with await proxy.connect() as client:
            for _ in range(3):
                assert (await client.get("/x")).body == b"secure GET /x 0"
            body = b"x" * 300_000
            assert (await client.post("/x", body)).body == b"secure POST /x 300000"
        assert len(secure.connections) == 1
        assert secure.calls[0].header("x-forwarded-proto") == b"http"


async def test_an_unknown_ca_is_not_believed(proxy: Proxy, certificates: Certificates) -> None:
    async with Backend("secure", tls=certificates.server_context()) as secure:
        await proxy.serve(route("/*"), backends={"legacy": secure.url})
        async with await proxy.connect() as client:
            assert (await client.get("/x")).status == 502
        assert secure.calls == []


async def test_a_certificate_for_another_name_is_not_believed(
    proxy: Proxy, certificates: Certificates
) -> None:
    async with Backend("secure", tls=certificates.server_context("elsewhere")) as secure:
        tls = BackendTls(ca=certificates.path("ca.pem"))
        await proxy.serve(
            route("/*"), backends={"legacy": BackendSettings("legacy", (secure.url,), tls=tls)}
        )
        async with await proxy.connect() as client:
            assert (await client.get("/x")).status == 502
        assert secure.calls == []


async def test_verification_can_be_turned_off(proxy: Proxy, certificates: Certificates) -> None:
    async with Backend("secure", tls=certificates.server_context("elsewhere")) as secure:
        await proxy.serve(
            route("/*"),
            backends={
                "legacy": BackendSettings("legacy", (secure.url,), tls=BackendTls(verify=False))
            },
        )
        async with await proxy.connect() as client:
            assert (await client.get("/x")).status == 200


async def test_a_client_certificate_is_shown(proxy: Proxy, certificates: Certificates) -> None:
    context = certificates.server_context(client_ca=True)
    async with Backend("secure", tls=context) as secure:
        ca = certificates.path("ca.pem")
        with_client = BackendTls(
            ca=ca, cert=certificates.path("client.pem"), key=certificates.path("client.key")
        )
        for tls, status in ((with_client, 200), (BackendTls(ca=ca), 502)):
            settings = BackendSettings("legacy", (secure.url,), tls=tls)
            await proxy.serve(route("/*"), backends={"legacy": settings})
            async with await proxy.connect() as client:
                assert (await client.get("/x")).status == status
        assert len(secure.calls) == 1


async def test_a_plain_backend_behind_an_https_url_is_a_bad_gateway(proxy: Proxy) -> None:
    url = proxy.legacy.url.replace("http:", "https:")
    settings = BackendSettings("legacy", (url,), tls=BackendTls(verify=False))
    await proxy.serve(route("/*"), backends={"legacy": settings})
    async with await proxy.connect() as client:
        assert (await client.get("/x")).status in (502, 504)


async def test_a_listener_with_a_certificate(certificates: Certificates) -> None:
    worker = await Worker(extra=certificates.worker_arguments()).start()
    try:
        async with Backend("legacy") as legacy:
            await worker.apply(snapshot([route("/*")], {"legacy": legacy.url, "new": legacy.url}))
            context = certificates.client_context()
            async with await Client.to(worker.address, tls=context) as client:
                for _ in range(3):
                    assert (await client.get("/x")).body == b"legacy GET /x 0"
                assert (await client.post("/x", b"y" * 300_000)).status == 200
                legacy.handler = sending(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"z" * 3_000_000
                )
                assert len((await client.get("/big")).body) == 3_000_000
                client.write(b"GET / HTTP/1.1\r\n\r\n")
                assert (await client.response()).status == 400
                await client.ended()
            assert legacy.calls[0].header("x-forwarded-proto") == b"https"
            # A client that speaks plain HTTP to it harms nobody.
            async with await Client.to(worker.address) as plain:
                plain.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await plain.ended()
            async with await Client.to(worker.address, tls=context) as client:
                legacy.handler = answering
                assert (await client.get("/x")).body == b"ok"
        assert "Traceback" not in worker.output()
    finally:
        await worker.stop()


@pytest.mark.extended
async def test_a_slow_reader_over_tls_gets_the_end_of_its_last_answer(
    certificates: Certificates,
) -> None:
    """Half a minute after the last byte was written the rest of it was thrown away."""
    size = 6 << 20
    worker = await Worker(extra=certificates.worker_arguments()).start()
    loop = asyncio.get_running_loop()
    try:
        async with Backend("legacy", replying(b"x" * size)) as legacy:
            await worker.apply(snapshot([route("/*")], {"legacy": legacy.url, "new": legacy.url}))
            async with await Client.to(
                worker.address, tls=certificates.client_context(), receive_buffer=4096
            ) as client:
                client.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                received, quick_until, slow_until = 0, size // 6, loop.time() + 40
                while data := await soon(client.reader.read(10_000)):
                    received += len(data)
                    # Slow while the rest stands in the buffers of the proxy and the kernel.
                    if received > quick_until and loop.time() < slow_until:
                        await asyncio.sleep(0.5)
                assert received > size
    finally:
        await worker.stop()


async def answering(call: Call) -> None:
    await call.answer(b"ok")
