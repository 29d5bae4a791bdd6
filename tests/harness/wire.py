"""Reading HTTP/1 messages from a stream, written apart from the product on purpose."""

import asyncio
from dataclasses import dataclass, field

Headers = list[tuple[bytes, bytes]]


def parse_headers(head: bytes) -> tuple[bytes, Headers]:
    """The first line and the headers of a head, names as they were sent."""
    line, *rest = head[:-4].split(b"\r\n")
    return line, [(text.split(b":", 1)[0], text.split(b":", 1)[1].strip()) for text in rest]


def values(headers: Headers, name: str) -> list[bytes]:
    """Every value of a header, in order."""
    wanted = name.lower().encode()
    return [value for key, value in headers if key.lower() == wanted]


def value(headers: Headers, name: str) -> bytes | None:
    """The only value of a header, None where it is absent."""
    found = values(headers, name)
    assert len(found) < 2, f"{name} stands {len(found)} times"
    return found[0] if found else None


@dataclass
class Response:
    """One final response, with the interim ones before it."""

    status: int
    line: bytes
    headers: Headers
    body: bytes
    trailers: Headers = field(default_factory=list)
    interim: list["Response"] = field(default_factory=list)
    head: bytes = b""

    def header(self, name: str) -> bytes | None:
        return value(self.headers, name)

    def headers_named(self, name: str) -> list[bytes]:
        return values(self.headers, name)

    @property
    def closes(self) -> bool:
        return any(b"close" in text.lower() for text in values(self.headers, "connection"))


async def read_chunked(reader: asyncio.StreamReader, into: bytearray) -> tuple[bytes, Headers]:
    """A chunked body: its bytes as sent, and its trailers. Data is added to `into` as it comes."""
    raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line
        if size == 0:
            break
        data = await reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        into += data[:-2]
        raw += data if size < 65536 else b"(data)\r\n"
    trailers: Headers = []
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        raw += line
        name, _, text = line.partition(b":")
        trailers.append((name, text.strip()))
    return raw + b"\r\n", trailers


async def read_response(
    reader: asyncio.StreamReader, method: str = "GET", keep_body: bool = True
) -> Response:
    """The next final response. Raises IncompleteReadError where the peer ends too early."""
    interim: list[Response] = []
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        line, headers = parse_headers(head)
        status = int(line.split(b" ")[1])
        assert line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), line
        if status >= 200 or status == 101:
            break
        interim.append(Response(status, line, headers, b"", head=head))
    body = bytearray()
    trailers: Headers = []
    length = value(headers, "content-length")
    chunked = value(headers, "transfer-encoding")
    if method == "HEAD" or status in (101, 204, 304):
        pass
    elif chunked is not None:
        assert length is None
        assert chunked.lower() == b"chunked"
        _, trailers = await read_chunked(reader, body)
    elif length is not None:
        if keep_body:
            body += await reader.readexactly(int(length))
        else:
            left = int(length)
            while left:
                piece = await reader.read(min(left, 1 << 18))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(piece)
    else:
        body += await reader.read()
    return Response(status, line, headers, bytes(body), trailers, interim, head)
