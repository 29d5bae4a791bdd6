"""The controller's end of the link against peers that speak well, badly, or not at all."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.control.link import LinkServer, WorkerLink
from proxy.core.framing import frame, worker_unframer
from proxy.core.messages import (
    Applied,
    EndpointHealth,
    FromWorker,
    Full,
    Hello,
    States,
    ToWorker,
)
from proxy.core.model import LEGACY_ONLY, RouteState, Snapshot
from tests.harness.waiting import Changes, soon

STATE = RouteState.of_phase(LEGACY_ONLY)


class Owner:
    """Records what it is told."""

    def __init__(self) -> None:
        self.workers: list[WorkerLink] = []
        self.gone: list[WorkerLink] = []
        self.messages: list[FromWorker] = []
        self.changes = Changes()

    def joined(self, worker: WorkerLink) -> None:
        self.workers.append(worker)
        self.changes.notify()

    def left(self, worker: WorkerLink) -> None:
        self.gone.append(worker)
        self.changes.notify()

    def received(self, worker: WorkerLink, message: FromWorker) -> None:
        self.messages.append(message)
        self.changes.notify()


class Link:
    """A link server on a socket of the test."""

    def __init__(self, path: Path, owner: Owner, server: LinkServer) -> None:
        self.path = path
        self.owner = owner
        self.server = server

    async def connect(self, *messages: FromWorker) -> "Peer":
        reader, writer = await asyncio.open_unix_connection(self.path, limit=1 << 16)
        peer = Peer(reader, writer)
        writer.write(b"".join(frame(message) for message in messages))
        return peer

    async def worker(self, slot: int = 0) -> tuple["Peer", WorkerLink]:
        """A peer that said Hello, and what the controller has of it."""
        before = len(self.owner.workers)
        peer = await self.connect(Hello("worker", slot, os.getpid()))
        await self.owner.changes.until(lambda: len(self.owner.workers) > before, "a Hello")
        return peer, self.owner.workers[-1]


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._unframer = worker_unframer()
        self._received: list[ToWorker] = []

    async def message(self) -> ToWorker:
        while not self._received:
            data = await soon(self.reader.read(1 << 16), "a message")
            assert data, "the link ended"
            self._received += self._unframer.feed(data)
        return self._received.pop(0)

    async def ended(self) -> None:
        async def drain() -> None:
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass

        await soon(drain(), "the end of the link")


@asynccontextmanager
async def serving(folder: Path, slots: int = 2, send_timeout_s: float = 5.0) -> AsyncIterator[Link]:
    path = folder / "link.sock"
    owner = Owner()
    server = LinkServer(slots, owner, send_timeout_s)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.serve(listening))
            yield Link(path, owner, server)
            task.cancel()


def full(revision: int = 1, filler: int = 0) -> bytes:
    networks = ("n" * filler,)
    return frame(Full(Snapshot(1, revision, {}, (), {}, trusted_proxies=networks)))


async def test_a_worker_hears_and_is_heard(tmp_path: Path) -> None:
    async with serving(tmp_path) as link:
        peer, worker = await link.worker(slot=1)
        worker.send_full(full())
        assert isinstance(await peer.message(), Full)
        worker.send_states(States(1, 2, {"a": STATE}))
        assert await peer.message() == States(1, 2, {"a": STATE})
        worker.send_health(EndpointHealth("legacy", "http://a", up=False))
        assert await peer.message() == EndpointHealth("legacy", "http://a", up=False)
        peer.writer.write(frame(Applied(1, 1, 2)))
        await link.owner.changes.until(lambda: link.owner.messages == [Applied(1, 1, 2)])
        peer.writer.close()
        await link.owner.changes.until(lambda: link.owner.gone == [worker])
        assert link.server.workers == {}


async def test_what_comes_with_the_hello_is_not_lost(tmp_path: Path) -> None:
    async with serving(tmp_path) as link:
        await link.connect(Hello("worker", 0, 1), Applied(0, 1, 1))
        await link.owner.changes.until(lambda: link.owner.messages == [Applied(0, 1, 1)])


async def test_a_newer_worker_of_a_slot_replaces_the_one_before(tmp_path: Path) -> None:
    async with serving(tmp_path) as link:
        old, _ = await link.worker()
        _, worker = await link.worker()
        await old.ended()
        assert link.server.workers == {0: worker}
        assert link.owner.gone == []


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([Applied(0, 1, 1)], id="no Hello"),
        pytest.param([Hello("worker", 2, 1)], id="a slot there is not"),
        pytest.param([Hello("worker", -1, 1)], id="a negative slot"),
        pytest.param([Hello("comparer", 0, 1)], id="a role there is not"),
        pytest.param([Hello("worker", 0, 1), Hello("worker", 0, 1)], id="two Hellos"),
        pytest.param([Hello("worker", 0, 1), Applied(1, 1, 1)], id="for another slot"),
    ],
)
async def test_who_breaks_the_rules_is_disconnected_and_counted(
    tmp_path: Path, messages: list[FromWorker]
) -> None:
    async with serving(tmp_path) as link:
        peer = await link.connect(*messages)
        await peer.ended()
        assert link.server.disconnects["protocol"] == 1
        assert link.server.workers == {}


async def test_bytes_that_are_no_message_end_the_link(tmp_path: Path) -> None:
    async with serving(tmp_path) as link:
        peer, _ = await link.worker()
        peer.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await peer.ended()
        assert link.server.disconnects["protocol"] == 1


async def test_a_worker_that_does_not_read_is_disconnected_and_counted(tmp_path: Path) -> None:
    async with serving(tmp_path, send_timeout_s=0.2) as link:
        peer, worker = await link.worker()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can read, too
        worker.send_full(full(filler=8 << 20))
        await link.owner.changes.until(lambda: link.owner.gone == [worker])
        assert link.server.disconnects["slow"] == 1


async def test_a_slow_worker_skips_what_was_overtaken(tmp_path: Path) -> None:
    async with serving(tmp_path) as link:
        peer, worker = await link.worker()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can read, too
        for revision in range(1, 50):
            worker.send_full(full(revision, filler=1 << 20))
            await asyncio.sleep(0)
        worker.send_states(States(1, 50, {"a": STATE}))
        worker.send_states(States(1, 51, {"b": STATE}))
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]  # it can read, too
        received = [await peer.message()]
        while not isinstance(received[-1], States):
            received.append(await peer.message())
        assert received[-1] == States(1, 51, {"a": STATE, "b": STATE})
        revisions = [each.snapshot.revision for each in received if isinstance(each, Full)]
        assert revisions[-1] == 49
        assert len(revisions) < 5
