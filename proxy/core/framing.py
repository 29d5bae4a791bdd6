"""The framing of the link: a 4-byte big-endian length, then that many bytes of msgpack.

Pure functions of bytes, used by the controller and the workers alike. A frame that is too long,
an unknown tag or a field of the wrong type raises LinkError: the peer is not one of ours (or is
of another version) and the link is closed.
"""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

from proxy.core.messages import MAX_MESSAGE_BYTES, Batch, FromWorker, Judged, ToWorker

HEADER_BYTES: Final = 4

Message = TypeVar("Message")

_encoder: Final = msgspec.msgpack.Encoder()


class LinkError(Exception):
    """The peer sent what is not a message of the link."""


def frame(message: msgspec.Struct) -> bytes:
    """The bytes of one message, its length in front. Raises LinkError if it is too long."""
    buffer = bytearray(HEADER_BYTES)
    _encoder.encode_into(message, buffer, HEADER_BYTES)
    length = len(buffer) - HEADER_BYTES
    if length > MAX_MESSAGE_BYTES:
        raise LinkError(f"a message of {length} bytes is longer than the link carries")
    buffer[:HEADER_BYTES] = length.to_bytes(HEADER_BYTES, "big")
    return bytes(buffer)


class Unframer(Generic[Message]):
    """Turns a stream of bytes into messages: `feed` what was read, iterate what it completed."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[Message]") -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Each message that `data` completes, in order. Raises LinkError on a bad one."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER_BYTES:
                body = start + HEADER_BYTES
                length = int.from_bytes(buffer[start:body], "big")
                if length > MAX_MESSAGE_BYTES:
                    raise LinkError(f"a frame of {length} bytes is longer than the link carries")
                if len(buffer) - body < length:
                    break
                start = body + length
                try:
                    # A copy: the decoder's view would forbid resizing the buffer.
                    message = self._decoder.decode(bytes(buffer[body:start]))
                except msgspec.MsgspecError as error:
                    raise LinkError(f"a frame that is no message of the link: {error}") from error
                yield message
        finally:
            del buffer[:start]


def worker_unframer() -> Unframer[ToWorker]:
    """What a worker reads with: decodes what the controller sends."""
    return Unframer(msgspec.msgpack.Decoder(ToWorker))


def controller_unframer() -> Unframer[FromWorker]:
    """What the controller reads with: decodes what workers send."""
    return Unframer(msgspec.msgpack.Decoder(FromWorker))


def comparer_unframer() -> Unframer[Batch]:
    """What a comparer reads with: decodes what workers send."""
    return Unframer(msgspec.msgpack.Decoder(Batch))


def judged_unframer() -> Unframer[Judged]:
    """What a worker reads with from a comparer."""
    return Unframer(msgspec.msgpack.Decoder(Judged))
