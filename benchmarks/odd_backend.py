"""Backends that nginx cannot play: a slow one, a hanging one, and one for endless bodies.

    python -m benchmarks.odd_backend --slow PORT --hanging PORT --streams PORT

Slow answers each request after 200 ms. Hanging reads and never answers. Streams answers
`GET /streams/BYTES` with that many bytes, and any request with a body, once all of it has been
read, with its length as JSON; below `/streams/late` it starts to read a second late.
"""

import argparse
import asyncio
import re
import signal
from collections.abc import Awaitable, Callable

import uvloop

SLOW_S = 0.2
LATE_S = 1.0
BLOCK = b"x" * (256 << 10)
HEAD_LIMIT_BYTES = 64 << 10
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request gets the same small answer, late."""
    while await read_head(reader) is not None:
        await asyncio.sleep(SLOW_S)
        writer.write(answer(b'{"slow":true}'))
        await writer.drain()


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read whatever comes and say nothing."""
    while await reader.read(len(BLOCK)):
        pass


async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send or swallow a body of any size."""
    while (head := await read_head(reader)) is not None:
        if head.startswith(b"GET "):
            left = int(head.split(b" ", 2)[1].rsplit(b"/", 1)[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
            while left:
                writer.write(BLOCK[:left])
                left -= min(left, len(BLOCK))
                await writer.drain()
        else:
            if b"/late " in head:
                await asyncio.sleep(LATE_S)
            size = await swallow(head, reader)
            writer.write(answer(b'{"bytes":%d}' % size))
            await writer.drain()


async def swallow(head: bytes, reader: asyncio.StreamReader) -> int:
    """Read a request's body and return its size."""
    length = CONTENT_LENGTH.search(head)
    if length is not None:
        left = int(length[1])
        while left:
            left -= len(await reader.readexactly(min(left, len(BLOCK))))
        return int(length[1])
    total = 0
    while CHUNKED.search(head):
        size = int((await reader.readline()).split(b";")[0], 16)
        await reader.readexactly(size + 2)
        if size == 0:
            break
        total += size
    return total


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


async def serve(ports: dict[str, int]) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    handlers = {"slow": answer_slowly, "hanging": hang, "streams": stream}

    def closing(handler: Handler) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the proxy gave the exchange up, as it may
            finally:
                writer.close()

        return handle

    for name, port in ports.items():
        await asyncio.start_server(
            closing(handlers[name]), "127.0.0.1", port, limit=HEAD_LIMIT_BYTES, backlog=4096
        )
    await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.odd_backend", description=__doc__)
    parser.add_argument("--slow", type=int, required=True)
    parser.add_argument("--hanging", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    uvloop.run(serve(vars(parser.parse_args())))


if __name__ == "__main__":
    main()
