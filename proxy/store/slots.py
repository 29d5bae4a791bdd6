"""Two slots in one file, written in place by turns: what it says is the newest whole one.

The room of both is taken when the file is made, and none is asked for later: a full disk can be
written to (where the file system overwrites in place, as ext4, XFS and tmpfs do, and those that
copy on write do not). A write that is cut off, at whatever byte, leaves the other slot as it was.
"""

import hashlib
import os
from typing import Final, NamedTuple

_DIGEST_BYTES: Final = 16
# Sequence number, length of the text and digest of both and the text, in hexadecimal digits.
_HEAD_BYTES: Final = 16 + 1 + 16 + 1 + 2 * _DIGEST_BYTES + 1


class Kept(NamedTuple):
    """A text in its slot (0 or 1), and how many were written before it."""

    sequence: int
    slot: int
    text: bytes


def fits(text: bytes, slot_bytes: int) -> bool:
    """Whether a slot of this size takes the text."""
    return _HEAD_BYTES + len(text) <= slot_bytes


def newest(descriptor: int, slot_bytes: int) -> Kept | None:
    """The newest whole text of the file; None where there is none. Raises OSError."""
    found = [_read(descriptor, slot, slot_bytes) for slot in (0, 1)]
    return max((each for each in found if each is not None), default=None)


def put(descriptor: int, slot_bytes: int, text: bytes, last: Kept | None) -> None:
    """Write the text, which has to fit, where `last`, the newest one, is not. Raises OSError."""
    sequence, slot = (1, 0) if last is None else (last.sequence + 1, 1 - last.slot)
    at = slot * slot_bytes
    left = memoryview(_head(sequence, text) + text)
    while left:
        written = os.pwrite(descriptor, left, at)
        left, at = left[written:], at + written


def _read(descriptor: int, slot: int, slot_bytes: int) -> Kept | None:
    at = slot * slot_bytes
    head = os.pread(descriptor, _HEAD_BYTES, at)
    try:
        sequence, length = int(head[:16], 16), int(head[17:33], 16)
    except ValueError:
        return None
    if not 0 <= length <= slot_bytes:
        return None
    text = os.pread(descriptor, length, at + _HEAD_BYTES)
    return Kept(sequence, slot, text) if _head(sequence, text) == head else None


def _head(sequence: int, text: bytes) -> bytes:
    counted = b"%016x %016x " % (sequence, len(text))
    digest = hashlib.blake2b(counted + text, digest_size=_DIGEST_BYTES).hexdigest()
    return counted + digest.encode() + b"\n"
