"""Backends that nginx cannot play: ill ones of each kind, and one for endless bodies.

    python -m benchmarks.odd_backend --slow PORT --different PORT --hanging PORT --garbage PORT
        --resetting PORT --streams PORT

Slow answers each request after 200 ms, as the others do; different too, but with something else.
Hanging reads and never answers. Garbage answers with what is no HTTP, resetting with a reset.
Streams answers `GET /streams/BYTES` with that many bytes, and any request with a body, once all of
it has been read, with its length as JSON; below `/streams/late` it starts to read a second late.
"""

import argparse
import asyncio
import re
import signal
import socket
import struct
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.documents import SMALL_BYTES, json_document

ODD = ("slow", "different", "hanging", "garbage", "resetting", "streams")
SLOW_S = 0.2
# Those headers of benchmarks/config/backend.conf that are the same in each answer.
LIKE_THE_OTHERS = (
    b"Cache-Control: private, max-age=0\r\n"
    b"Vary: Accept-Encoding, Accept-Language\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
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


def answer_slowly(body: bytes) -> Handler:
    """Every request gets the same small answer, late."""
    whole = answer(body)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader) is not None:
            await asyncio.sleep(SLOW_S)
            writer.write(whole)
            await writer.drain()

    return handle


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read whatever comes and say nothing."""
    while await reader.read(len(BLOCK)):
        pass


async def talk_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What is no answer, to each request."""
    while await read_head(reader) is not None:
        writer.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        await writer.drain()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection once there is a request."""
    if await read_head(reader) is not None:
        one = writer.get_extra_info("socket")
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


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
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
    return head % (len(body), LIKE_THE_OTHERS, body)


async def serve(ports: dict[str, int]) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    handlers: dict[str, Handler] = {
        "slow": answer_slowly(json_document(SMALL_BYTES)),
        "different": answer_slowly(b'{"slow":true}'),
        "hanging": hang,
        "garbage": talk_garbage,
        "resetting": reset,
        "streams": stream,
    }

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
    for name in ODD:
        parser.add_argument(f"--{name}", type=int, required=True)
    uvloop.run(serve(vars(parser.parse_args())))


if __name__ == "__main__":
    main()
