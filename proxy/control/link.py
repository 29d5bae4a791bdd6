"""The controller's end of the link: who is connected, what they say, what they are still to hear.

A connection belongs to a slot from its Hello on; a newer one of the same slot replaces it. A
worker that does not say Hello, sends what is no message, or does not read for SEND_TIMEOUT_S is
disconnected, logged and counted: it serves its last table, connects again and gets a Full.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from proxy.control.outbox import Outbox
from proxy.core.framing import LinkError, controller_unframer
from proxy.core.messages import AskAgain, EndpointHealth, FromWorker, Hello, States

HELLO_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 5.0
READ_BYTES = 256 << 10
SPARE_CONNECTIONS = 16  # beyond two a slot: an old one may still be closing

log = structlog.get_logger()


class WorkerLink:
    """One connection of a worker that said Hello."""

    def __init__(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        self.slot = hello.slot
        self.pid = hello.pid
        self.compiled = hello.compiled
        self._writer = writer
        self._outbox = Outbox()
        self._filled = asyncio.Event()

    def send_full(self, framed: bytes) -> None:
        """Queue a Full that `frame` made."""
        self._outbox.put_full(framed)
        self._filled.set()

    def send_states(self, states: States) -> None:
        """Queue new states."""
        self._outbox.put_states(states)
        self._filled.set()

    def send_health(self, health: EndpointHealth) -> None:
        """Queue the health of an endpoint."""
        self._outbox.put_health(health)
        self._filled.set()

    def ask(self, question: AskAgain) -> bool:
        """Queue a request to ask again; False where too many wait already."""
        taken = self._outbox.put_question(question)
        self._filled.set()
        return taken

    def close(self) -> None:
        """Disconnect it at once."""
        self._writer.transport.abort()

    async def keep_sending(self, timeout_s: float) -> None:
        """Send what is queued until the connection ends. Raises TimeoutError if nobody reads."""
        # A mark of zero makes drain() wait until the kernel has taken everything, so that what
        # is overtaken meanwhile can still be dropped from the outbox.
        self._writer.transport.set_write_buffer_limits(high=0)
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._outbox:
                self._writer.write(self._outbox.take())
                async with asyncio.timeout(timeout_s):
                    await self._writer.drain()


class LinkOwner(Protocol):
    """Who is told what happens on the link; the calls are quick and never wait."""

    def joined(self, worker: WorkerLink) -> None:
        """A worker connected: it needs a Full."""
        ...

    def left(self, worker: WorkerLink) -> None:
        """Its connection ended."""
        ...

    def received(self, worker: WorkerLink, message: FromWorker) -> None:
        """It said something other than Hello."""
        ...


class LinkServer:
    """Accepts workers on the socket that the launcher opened."""

    def __init__(
        self, slots: int, owner: LinkOwner, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        self.workers: dict[int, WorkerLink] = {}  # by slot
        self.disconnects: dict[str, int] = {"slow": 0, "protocol": 0, "hello": 0, "crowded": 0}
        self._slots = slots
        self._owner = owner
        self._send_timeout_s = send_timeout_s
        self._open = 0

    async def serve(self, listening: socket.socket) -> None:
        """Serve until cancelled. The server holds the tasks of its connections."""
        server = await asyncio.start_unix_server(self._connected, sock=listening)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for worker in self.workers.values():
                worker.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > 2 * self._slots + SPARE_CONNECTIONS:
                self._refused("crowded", "too many connections")
                return
            await self._speak(reader, writer)
        except LinkError as error:
            self._refused("protocol", str(error))
        except (ConnectionError, asyncio.CancelledError):
            # The peer is gone, or the controller stops: nothing is left to say either way.
            pass
        finally:
            self._open -= 1
            writer.transport.abort()

    def _refused(self, why: str, detail: str, slot: int | None = None) -> None:
        self.disconnects[why] += 1
        log.error("worker disconnected", why=why, detail=detail, slot=slot)

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unframer = controller_unframer()
        early: list[FromWorker] = []
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                while not early:
                    data = await reader.read(READ_BYTES)
                    if not data:
                        return
                    early = list(unframer.feed(data))
        except TimeoutError:
            self._refused("hello", "no Hello in time")
            return
        hello = early.pop(0)
        if not isinstance(hello, Hello):
            raise LinkError(f"the first message was {type(hello).__name__}, not Hello")
        if hello.role != "worker" or not 0 <= hello.slot < self._slots:
            raise LinkError(f"no place for {hello.role} {hello.slot}")
        worker = WorkerLink(hello, writer)
        replaced = self.workers.get(hello.slot)
        if replaced is not None:
            replaced.close()
        self.workers[hello.slot] = worker
        self._owner.joined(worker)
        try:
            await self._exchange(worker, reader, unframer.feed, early)
        finally:
            if self.workers.get(worker.slot) is worker:
                del self.workers[worker.slot]
                self._owner.left(worker)

    async def _exchange(
        self,
        worker: WorkerLink,
        reader: asyncio.StreamReader,
        feed: Callable[[bytes], Iterable[FromWorker]],
        early: list[FromWorker],
    ) -> None:
        refused: LinkError | None = None
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send(worker))
            try:
                for message in early:
                    self._deliver(worker, message)
                while data := await reader.read(READ_BYTES):
                    for message in feed(data):
                        self._deliver(worker, message)
            except LinkError as error:
                refused = error  # out of the group, which would wrap it
            except ConnectionError:
                pass
            sending.cancel()
        if refused is not None:
            raise refused

    def _deliver(self, worker: WorkerLink, message: FromWorker) -> None:
        if isinstance(message, Hello):
            raise LinkError("a second Hello")
        if message.slot != worker.slot:
            raise LinkError(f"slot {worker.slot} spoke for slot {message.slot}")
        # A connection that was replaced says nothing that counts any more.
        if self.workers.get(worker.slot) is worker:
            self._owner.received(worker, message)

    async def _send(self, worker: WorkerLink) -> None:
        try:
            await worker.keep_sending(self._send_timeout_s)
        except TimeoutError:
            self._refused("slow", f"did not read for {self._send_timeout_s:g} s", worker.slot)
            worker.close()
        except ConnectionError:
            worker.close()
