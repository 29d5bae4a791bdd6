"""TLS handshakes of clients: bounded, counted, and never in the way of those who mean it."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from proxy.core.model import Limits
from tests.harness.backend import Backend
from tests.harness.certificates import Certificates
from tests.harness.client import Client
from tests.harness.snapshots import route, snapshot
from tests.harness.waiting import soon
from tests.harness.worker import Worker

MOST = 8 + 1 + 16  # of `connections: 8`: the bound, and those that are told so


@pytest_asyncio.fixture(loop_scope="session")
async def secure(certificates: Certificates, legacy: Backend) -> AsyncIterator[Worker]:
    """A worker that speaks TLS, for 8 clients."""
    worker = await Worker(extra=certificates.worker_arguments()).start()
    sides = snapshot(
        [route("/*")], {"legacy": legacy.url, "new": legacy.url}, limits=Limits(connections=8)
    )
    await worker.apply(sides)
    yield worker
    output = worker.output()
    await worker.stop()
    assert "Traceback" not in output, output
    assert "rror" not in output, output


async def test_a_flood_of_handshakes_is_bounded_and_costs_no_client_his_place(
    secure: Worker, certificates: Certificates
) -> None:
    """They were counted nowhere, and had descriptors and memory without a bound."""
    context = certificates.client_context()
    floods = [await secure.connect() for _ in range(60)]
    await secure.reported(lambda totals: totals.refused["tls_oldest"] == 60 - MOST)
    await secure.reported(lambda totals: totals.connections.get("client") == MOST)
    assert secure.open_files() < MOST + 30
    async with await Client.to(secure.address, tls=context) as client:
        assert (await client.get("/x")).body == b"legacy GET /x 0"
        floods += [await secure.connect() for _ in range(60)]
        await secure.reported(lambda totals: totals.refused["tls_oldest"] == 120 + 1 - MOST)
        assert (await client.get("/x")).body == b"legacy GET /x 0"
    ended = [asyncio.ensure_future(flood.ended()) for flood in floods]
    await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    for flood in floods:
        flood.close()
    await secure.reported(lambda totals: totals.connections.get("client") == 0)
    await asyncio.gather(*ended, return_exceptions=True)


async def test_clients_that_are_too_many_are_told_so(
    secure: Worker, certificates: Certificates
) -> None:
    context = certificates.client_context()
    clients = [await Client.to(secure.address, tls=context) for _ in range(9)]
    statuses = [(await client.get("/x")).status for client in clients]
    assert statuses == [200] * 8 + [503]
    for client in clients:
        client.close()


async def test_a_handshake_that_fails_is_counted(secure: Worker) -> None:
    async with await secure.connect() as client:
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.rest()
    await secure.reported(lambda totals: totals.refused["tls_failed"] == 1)
    await secure.reported(lambda totals: totals.connections.get("client") == 0)


async def test_a_worker_that_stops_ends_the_handshakes_it_has_begun(
    secure: Worker, certificates: Certificates
) -> None:
    """One that was under way was cut; one in the queue that says nothing held up the end."""
    silent = await secure.connect()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = certificates.client_context()
    speaking = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with await secure.connect() as client:
        await secure.reported(lambda totals: totals.connections.get("client") == 2)
        secure.signal(signal.SIGTERM)
        await secure.reported(lambda totals: totals.draining)
        assert await answer_over(client, incoming, outgoing, speaking)
        assert await secure.exit_code() == 0
    silent.close()


async def answer_over(
    client: Client, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, tls: ssl.SSLObject
) -> bytes:
    """Shake hands on this connection, ask, and read the answer's first bytes."""
    steps: list[Callable[[], object]] = [
        tls.do_handshake,
        lambda: tls.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        tls.read,
    ]
    result: object = b""
    while steps:
        try:
            result = steps[0]()
            steps.pop(0)
        except ssl.SSLWantReadError:
            await client.send(outgoing.read())
            incoming.write(await soon(client.reader.read(1 << 16)))
    assert isinstance(result, bytes)
    return result
