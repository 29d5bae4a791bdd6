"""The chunked transfer coding (RFC 9112 §7.1) as a sans-I/O decoder, and its encoding.

Sizes are hexadecimal digits and nothing else, line ends are CRLF; chunk extensions are dropped,
since nobody agrees on how they are read. Data comes out as it goes in: no chunk is collected.
"""

import re
from typing import Final

from proxy.core.message import parse_field_lines

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_MAX_SIZE_LINE_BYTES: Final = 4096
_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILERS: Final = 3
_DONE: Final = 4


class ChunkedError(Exception):
    """The bytes are not a chunked body. Raised by `feed`; the message says why."""


class ChunkedDecoder:
    """Decodes one chunked body fed piece by piece.

    `done` turns true at the end; then `rest` has the bytes behind it and `trailers` the trailer
    lines, each ended by CRLF. Which of them may be sent on is said by `forwarding`.
    """

    __slots__ = (
        "_buffer",
        "_left",
        "_max_trailer_bytes",
        "_overhead",
        "_state",
        "done",
        "rest",
        "trailers",
    )

    def __init__(self, max_trailer_bytes: int = 64 << 10) -> None:
        self._state = _SIZE
        self._left = 0
        self._buffer = b""
        self._overhead = 0
        self._max_trailer_bytes = max_trailer_bytes
        self.done = False
        self.rest = b""
        self.trailers = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the pieces of body in them. Raises ChunkedError.

        The outcome does not depend on how the bytes are cut. Bytes fed after the end join `rest`.
        """
        if self.done:
            self.rest += data
            return []
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        at = 0
        size = len(data)
        while True:
            if self._state == _DATA:
                end = at + self._left
                if end > size:
                    if at < size:
                        pieces.append(data[at:size] if at else data)
                        self._left -= size - at
                    return pieces
                pieces.append(data[at:end])
                at = end
                self._state = _DATA_END
            if self._state == _DATA_END:
                if size - at < 2:
                    if at < size and data[at] != 13:
                        raise ChunkedError("a chunk is not followed by CRLF")
                    self._buffer = data[at:]
                    return pieces
                if data[at : at + 2] != b"\r\n":
                    raise ChunkedError("a chunk is not followed by CRLF")
                at += 2
                self._state = _SIZE
            if self._state == _SIZE:
                match = _SIZE_LINE.match(data, at)
                if match is None:
                    self._buffer = data[at:]
                    if b"\n" in self._buffer or len(self._buffer) > _MAX_SIZE_LINE_BYTES:
                        raise ChunkedError("a chunk size is not a hexadecimal number")
                    if self._buffer and self._buffer[:1] not in b"0123456789abcdefABCDEF":
                        raise ChunkedError("a chunk size is not a hexadecimal number")
                    return pieces
                if match.end() - at > _MAX_SIZE_LINE_BYTES:
                    raise ChunkedError("a chunk extension is too long")
                # Extensions cost bytes that carry nothing: a bound over the whole body (as nginx
                # and Go have) keeps a client from sending an endless body of them.
                self._overhead += max(0, match.end() - at - 18)
                if self._overhead > 16 * 1024:
                    raise ChunkedError("too many bytes in chunk extensions")
                self._left = int(match[1], 16)
                at = match.end()
                self._state = _DATA if self._left else _TRAILERS
            if self._state == _TRAILERS:
                if not self._take_trailers(data, at):
                    return pieces
                return pieces

    def _take_trailers(self, data: bytes, at: int) -> bool:
        if data.startswith(b"\r\n", at):
            end = at
        else:
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                self._buffer = data[at:]
                # Beside the lines, the CR of the empty line may be here already.
                if len(self._buffer) > self._max_trailer_bytes + 1:
                    raise ChunkedError("the trailers are too long")
                return False
            lines = data[at : end + 2]
            if len(lines) > self._max_trailer_bytes or not parse_field_lines(lines):
                raise ChunkedError("the trailers are not valid header lines")
            self.trailers = lines
            end += 2
        self.rest = data[end + 2 :]
        self._state = _DONE
        self.done = True
        return True


def chunk(piece: bytes) -> bytes:
    """One chunk. An empty piece has no chunk: it would end the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def last_chunk(trailers: bytes = b"") -> bytes:
    """The end of a chunked body."""
    return b"0\r\n" + trailers + b"\r\n"
