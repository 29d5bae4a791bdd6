"""A raw client: sends exact bytes, reads whole responses or until the end, with deadlines."""

import asyncio
import socket
import ssl
import struct
from types import TracebackType

from tests.harness.waiting import DEADLINE_S, soon
from tests.harness.wire import Response, parse_headers, read_response

LIMIT = 1 << 20


class Client:
    """One connection to a proxy. Use as an async context manager."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(
        cls,
        address: tuple[str, int] | str,
        tls: ssl.SSLContext | None = None,
        source: str | None = None,
        receive_buffer: int | None = None,
    ) -> "Client":
        """Connect; `address` is (host, port) or the path of a Unix socket."""
        if isinstance(address, str):
            return cls(*await asyncio.open_unix_connection(address, limit=LIMIT))
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            sock.bind((source, 0))
        await soon(asyncio.get_running_loop().sock_connect(sock, address), "a connection")
        name = "localhost" if tls else None
        return cls(
            *await asyncio.open_connection(sock=sock, limit=LIMIT, ssl=tls, server_hostname=name)
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def send(self, data: bytes, within_s: float = DEADLINE_S) -> None:
        self.writer.write(data)
        await soon(self.writer.drain(), "the proxy to read", within_s)

    async def response(
        self, method: str = "GET", within_s: float = DEADLINE_S, keep_body: bool = True
    ) -> Response:
        return await soon(read_response(self.reader, method, keep_body), "a response", within_s)

    async def head(self, within_s: float = DEADLINE_S) -> Response:
        """The next head alone, also a 1xx; its body stays to be read."""
        head = await soon(self.reader.readuntil(b"\r\n\r\n"), "a head", within_s)
        line, headers = parse_headers(head)
        return Response(int(line.split(b" ")[1]), line, headers, b"", head=head)

    async def ask(self, data: bytes, method: str = "GET") -> Response:
        """Send a request, get its response."""
        self.writer.write(data)
        return await self.response(method)

    async def get(self, target: str = "/", *lines: str, method: str = "GET") -> Response:
        """A bodiless request with these further header lines."""
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: shop.example", *lines, "", ""])
        return await self.ask(head.encode("latin-1"), method)

    async def post(
        self, target: str = "/", body: bytes = b"x", *lines: str, method: str = "POST"
    ) -> Response:
        """A request with a body of known length."""
        head = "\r\n".join(
            [
                f"{method} {target} HTTP/1.1",
                "Host: shop.example",
                f"Content-Length: {len(body)}",
                *lines,
                "",
                "",
            ]
        )
        return await self.ask(head.encode("latin-1") + body, method)

    async def exactly(self, count: int, within_s: float = DEADLINE_S) -> bytes:
        return await soon(self.reader.readexactly(count), f"{count} bytes", within_s)

    async def until(self, end: bytes, within_s: float = DEADLINE_S) -> bytes:
        return await soon(self.reader.readuntil(end), repr(end), within_s)

    async def rest(self, within_s: float = DEADLINE_S) -> bytes:
        """Everything up to the end of the connection. Raises ConnectionResetError on a reset."""
        return await soon(self.reader.read(), "the end of the connection", within_s)

    async def ended(self, within_s: float = DEADLINE_S) -> bool:
        """Wait for the end, clean or by reset, with nothing before it. True for a clean one."""
        try:
            left = await self.rest(within_s)
        except ConnectionResetError:
            return False
        assert left == b"", f"unexpected bytes: {left[:200]!r}"
        return True

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Vanish with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
