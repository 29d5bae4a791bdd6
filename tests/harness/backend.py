"""A scripted backend: a raw server in the test's loop that records what it gets, byte by byte.

A handler is an async function of one Call. It answers with exact bytes, or hangs, resets, floods.
When it returns and the connection still stands, the next request of the connection is read.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType

from tests.harness.waiting import DEADLINE_S, Changes
from tests.harness.wire import Headers, parse_headers, read_chunked, value, values

Handler = Callable[["Call"], Awaitable[None]]


class Call:
    """One request that a backend got."""

    def __init__(self, backend: "Backend", connection: "Connection", head: bytes) -> None:
        self.backend = backend
        self.connection = connection
        self.head = head
        self.line, self.headers = parse_headers(head)
        self.method, self.target = (part.decode() for part in self.line.split(b" ")[:2])
        self.body = b""
        self.raw_body = b""
        self.trailers: Headers = []
        self.complete = False
        self.failed = False
        self._read = False

    def header(self, name: str) -> bytes | None:
        return value(self.headers, name)

    def headers_named(self, name: str) -> list[bytes]:
        return values(self.headers, name)

    @property
    def chunked(self) -> bool:
        return self.header("transfer-encoding") == b"chunked"

    async def read(self) -> bytes:
        """The whole body."""
        if self._read:
            return self.body
        self._read = True
        reader = self.connection.reader
        body = bytearray()
        try:
            if self.chunked:
                self.raw_body, self.trailers = await read_chunked(reader, body)
            elif length := self.header("content-length"):
                body += await reader.readexactly(int(length))
                self.raw_body = bytes(body)
            self.complete = True
        except (asyncio.IncompleteReadError, ConnectionError):
            self.failed = True
            raise
        finally:
            self.body = bytes(body)
            self.backend.changes.notify()
        return self.body

    async def read_some(self, most: int = 1 << 16) -> bytes:
        """Raw bytes of the body, as they come; b"" at the end of the connection."""
        self._read = True
        return await self.connection.reader.read(most)

    async def drop_body(self) -> int:
        """Read a body of declared length and forget it: how many bytes it had."""
        self._read = True
        left = int(self.header("content-length") or b"0")
        total = left
        while left:
            piece = await self.connection.reader.read(min(left, 1 << 18))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
        self.complete = True
        self.backend.changes.notify()
        return total

    async def send(self, data: bytes) -> None:
        self.connection.writer.write(data)
        await self.connection.writer.drain()

    async def answer(
        self, body: bytes = b"", status: str = "200 OK", *lines: str, read: bool = True
    ) -> None:
        """A response of known length, after the request's body."""
        if read:
            await self.read()
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""])
        data = head.encode("latin-1")
        await self.send(data if self.method == "HEAD" else data + body)

    async def hang(self) -> None:
        """Say nothing until the peer goes away."""
        while await self.connection.reader.read(1 << 16):
            pass
        self.failed = True
        self.connection.over = True
        self.backend.changes.notify()

    def close(self) -> None:
        self.connection.over = True
        self.connection.writer.close()

    def reset(self) -> None:
        self.connection.reset()


class Connection:
    """One accepted connection."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.over = False
        self.ended = False  # the peer has gone
        self.by_reset = False
        self.calls = 0

    def reset(self) -> None:
        self.over = True
        sock = self.writer.get_extra_info("socket")
        # The peer may have been first, and the socket be closed already.
        if sock is not None and sock.family == socket.AF_INET and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def plain(call: Call) -> None:
    """The default handler: says who it is and what it was asked."""
    body = await call.read()
    text = f"{call.backend.name} {call.method} {call.target} {len(body)}".encode()
    await call.answer(text, "200 OK", "Content-Type: text/plain", "Date: x", "Server: raw")


def replying(body: bytes = b"ok", status: str = "200 OK", *lines: str) -> Handler:
    """A handler that answers each request with this."""

    async def handler(call: Call) -> None:
        await call.answer(body, status, *lines)

    return handler


def sending(*pieces: bytes, close: bool = False, read: bool = True) -> Handler:
    """A handler that answers with exact bytes."""

    async def handler(call: Call) -> None:
        if read:
            await call.read()
        for piece in pieces:
            await call.send(piece)
        if close:
            call.close()

    return handler


async def hanging(call: Call) -> None:
    """Never answers."""
    await call.hang()


async def resetting(call: Call) -> None:
    """Resets once the request is read."""
    await call.read()
    call.reset()


async def closing(call: Call) -> None:
    """Closes without an answer once the request is read."""
    await call.read()
    call.close()


def flooding(total: int, piece: bytes = b"f" * (1 << 16)) -> Handler:
    """Answers with `total` bytes of body, as fast as they are taken."""

    async def handler(call: Call) -> None:
        await call.read()
        await call.send(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: %d\r\n\r\n" % total)
        left = total
        while left:
            part = piece[:left]
            await call.send(part)
            left -= len(part)
            call.backend.bytes_sent += len(part)

    return handler


class Backend:
    """A listening backend; `calls` are the requests it got. Use as an async context manager."""

    def __init__(
        self,
        name: str = "legacy",
        handler: Handler = plain,
        *,
        tls: ssl.SSLContext | None = None,
        unix: str | None = None,
        port: int = 0,
    ) -> None:
        self.name = name
        self.handler = handler
        self.calls: list[Call] = []
        self.connections: list[Connection] = []
        self.changes = Changes()
        self.tls = tls
        self.unix = unix
        self.port = port
        self.bytes_sent = 0
        self.errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> "Backend":
        if self.unix is not None:
            self._server = await asyncio.start_unix_server(self._accept, self.unix, limit=1 << 20)
        else:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, limit=1 << 20, ssl=self.tls
            )
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self.connections:
            # CPython 3.11 cannot abort a transport that closed when its buffer had gone out.
            with contextlib.suppress(AttributeError):
                connection.writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> "Backend":
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        if self.errors and kind is None:
            raise self.errors[0]

    def reset(self, handler: Handler = plain) -> None:
        """Forget what was recorded and answer by `handler` from now on; connections stay."""
        self.handler = handler
        self.calls = []
        self.bytes_sent = 0

    @property
    def open_connections(self) -> int:
        return sum(not connection.ended for connection in self.connections)

    async def called(self, count: int = 1, within_s: float = DEADLINE_S) -> Call:
        """Wait for the `count`-th request; the last one that came."""
        await self.changes.until(
            lambda: len(self.calls) >= count, f"{count} requests at {self.name}", within_s
        )
        return self.calls[count - 1]

    async def complete(self, count: int = 1, within_s: float = DEADLINE_S) -> Call:
        """Wait until the `count`-th request has its whole body."""
        call = await self.called(count, within_s)
        await self.changes.until(lambda: call.complete, f"request {count} whole", within_s)
        return call

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(len(self.connections), reader, writer)
        self.connections.append(connection)
        self.changes.notify()
        try:
            await self._serve(connection)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.changes.notify()
        except ConnectionError:
            connection.by_reset = True
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.ended = True
            with contextlib.suppress(RuntimeError):
                writer.close()
            self.changes.notify()

    async def _serve(self, connection: Connection) -> None:
        while not connection.over:
            head = await connection.reader.readuntil(b"\r\n\r\n")
            call = Call(self, connection, head)
            connection.calls += 1
            self.calls.append(call)
            self.changes.notify()
            await self.handler(call)
            if call.header("content-length") is None and not call.chunked:
                call.complete = True
            self.changes.notify()
            # A body that the handler left unread is not the next request.
            if not call.complete and not connection.over:
                await call.read()
        # The peer may still want to read what was written.
        if connection.over and not connection.writer.is_closing():
            connection.writer.close()
