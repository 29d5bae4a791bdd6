"""Divergences as bytes: what a list shows, and the recorded answers, compressed, apart from it."""

import zlib

import msgspec

from proxy.core.divergences import Divergence, RecordedAnswer
from proxy.store.state import DamagedError

LARGEST_SHARE = 16  # answers of more than this part of all bytes are not kept

_record = msgspec.msgpack.Decoder(Divergence).decode
_answers = msgspec.msgpack.Decoder(tuple[RecordedAnswer | None, RecordedAnswer | None]).decode
_encode = msgspec.msgpack.Encoder().encode


def packed(divergence: Divergence, bound_bytes: int) -> tuple[bytes, bytes | None]:
    """The divergence without its recorded answers, and these, unless they are too large."""
    answers = (divergence.legacy_answer, divergence.new_answer)
    record = _encode(msgspec.structs.replace(divergence, legacy_answer=None, new_answer=None))
    if answers == (None, None):
        return record, None
    compressed = zlib.compress(_encode(answers), 1)
    return record, compressed if len(compressed) <= bound_bytes // LARGEST_SHARE else None


def unpacked(record: bytes, answers: bytes | None) -> Divergence:
    """What `packed` packed. Raises DamagedError."""
    try:
        divergence = _record(record)
        if not answers:
            return divergence
        legacy, new = _answers(zlib.decompress(answers))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise DamagedError(f"a recorded divergence cannot be read: {error}") from error
    return msgspec.structs.replace(divergence, legacy_answer=legacy, new_answer=new)
