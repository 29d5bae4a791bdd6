"""A tap on the way to a backend: passes bytes on as they are, and keeps what was said both ways."""

import asyncio
import contextlib
from types import TracebackType

from tests.harness.wire import Response, parse_headers, read_chunked, read_response, value

PIECE = 1 << 16


class Tap:
    """Listens in front of `target`; `answers` has what was said. An async context manager."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.url = ""
        self._conversations: list[tuple[bytearray, bytearray]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Tap":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answers(self, marked_by: str) -> dict[str, Response | None]:
        """Each answer under the value of this header in its request; None for an incomplete one."""
        found: dict[str, Response | None] = {}
        for asked, answered in self._conversations:
            requests, responses = _reader(asked), _reader(answered)
            while not requests.at_eof():
                method, mark = await _next_request(requests, marked_by)
                try:
                    answer = await read_response(responses, method)
                except asyncio.IncompleteReadError:
                    found.setdefault(mark, None)  # perhaps asked again on a fresh connection
                else:
                    assert found.get(mark) is None, f"{mark} was answered twice"
                    found[mark] = answer
        return found

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        asked, answered = bytearray(), bytearray()
        self._conversations.append((asked, answered))
        with contextlib.suppress(ConnectionError):
            to_reader, to_writer = await asyncio.open_connection(*self.target)
            self._writers.add(to_writer)
            await asyncio.gather(
                _pass_on(reader, to_writer, asked), _pass_on(to_reader, writer, answered)
            )
            self._writers.discard(to_writer)
        self._writers.discard(writer)
        self._tasks.discard(task)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    try:
        while piece := await reader.read(PIECE):
            kept += piece
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        writer.transport.abort()
    finally:
        writer.close()


def _reader(data: bytearray) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 20)
    reader.feed_data(bytes(data))
    reader.feed_eof()
    return reader


async def _next_request(reader: asyncio.StreamReader, marked_by: str) -> tuple[str, str]:
    """The method of the next request and the value of that header; its body is read over."""
    line, headers = parse_headers(await reader.readuntil(b"\r\n\r\n"))
    # A body is cut where the answer came before its end.
    with contextlib.suppress(asyncio.IncompleteReadError):
        if value(headers, "transfer-encoding") is not None:
            await read_chunked(reader, bytearray())
        elif length := value(headers, "content-length"):
            await reader.readexactly(int(length))
    return line.split(b" ")[0].decode(), (value(headers, marked_by) or b"").decode()
