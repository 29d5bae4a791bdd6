"""Request bodies: how one is read off the client's connection, and how one is kept.

Kept bodies count against one budget of the whole worker, so that many large writes at once are
refused rather than held in memory. They are held once, in the pieces they came in: whoever sends
one has these pieces, and sends the next when the one before is taken.
"""

from typing import TYPE_CHECKING

from proxy.core.chunked import ChunkedDecoder, ChunkedError
from proxy.core.message import CHUNKED, Refusal

if TYPE_CHECKING:
    from proxy.edge.context import Edge


class BodyReader:
    """Takes a request's body out of the bytes of its connection.

    After each `feed`: `rest` has the bytes behind the body once it is `done`, and `trailers` then
    its trailer lines.
    """

    __slots__ = ("_decoder", "_left", "_limit", "_received", "done", "rest", "trailers")

    def __init__(self, framing: int, limit: int | None, max_trailer_bytes: int) -> None:
        self._left = framing
        self._decoder = ChunkedDecoder(max_trailer_bytes) if framing == CHUNKED else None
        self._limit = limit  # for chunked bodies: a length was checked when it was declared
        self._received = 0
        self.done = False
        self.rest = b""
        self.trailers = b""

    def feed(self, data: bytes) -> bytes | Refusal:
        """The body in these bytes, or why it is refused."""
        decoder = self._decoder
        if decoder is None:
            size = len(data)
            left = self._left
            if size < left:
                self._left = left - size
                return data
            self._left = 0
            self.done = True
            if size > left:
                self.rest = data[left:]
                return data[:left]
            return data
        try:
            pieces = decoder.feed(data)
        except ChunkedError as error:
            return Refusal(400, "chunked", str(error))
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._received += len(body)
        if self._limit is not None and self._received > self._limit:
            return body_too_large(self._limit)
        if decoder.done:
            self.done = True
            self.rest = decoder.rest
            self.trailers = decoder.trailers
        return body


class KeptBody:
    """A request body held in memory, for as long as it may have to be sent (again)."""

    __slots__ = ("_edge", "_held", "pieces", "size")

    def __init__(self, edge: "Edge") -> None:
        self._edge = edge
        self._held = 0
        self.pieces: list[bytes] = []  # what has these shares them; they are never changed
        self.size = 0

    def add(self, data: bytes) -> bool:
        """Keep a piece; False where the worker has no room for it."""
        held = self._edge.hold(len(data))
        if not held:
            return False
        self._held += held
        self.size += len(data)
        self.pieces.append(data)
        return True

    def release(self) -> None:
        """Give the room back."""
        self._edge.held_bytes -= self._held
        self._held = 0
        self.size = 0
        self.pieces = []


def body_too_large(limit: int) -> Refusal:
    """For bodies above `limits.request_body`."""
    return Refusal(413, "request_body", f"the body is larger than {limit} bytes")
