"""A page of memory in which each process says that its loop turns, and the launcher who hung.

The launcher makes it and hands it to its children: writing to it never waits, and it outlives them.
At its beginning stand the counts of HUNG, from the launcher to the controller; then a beat for each
child, a number that changes.
"""

import asyncio
import os
import struct
import time
from collections.abc import Mapping
from typing import Final

BEAT_EVERY_S: Final = 0.5
HUNG: Final = ("controller", "worker", "comparer")  # kinds of children

_COUNTS: Final = struct.Struct(f"={len(HUNG)}Q")
_BEAT: Final = struct.Struct("=Q")


def place(number: int) -> int:
    """Where the child of this number has its beat, in bytes."""
    return _COUNTS.size + number * _BEAT.size


def write_beat(page: int, at: int) -> None:
    """Say that the loop turns."""
    os.pwrite(page, _BEAT.pack(time.monotonic_ns()), at)


def clear_beat(page: int, at: int) -> None:
    """Take back what was said there, by one that has ended."""
    os.pwrite(page, _BEAT.pack(0), at)


def read_beat(page: int, at: int) -> int:
    """The last beat; 0 where there was none yet."""
    found = os.pread(page, _BEAT.size, at)
    return int(_BEAT.unpack(found)[0]) if len(found) == _BEAT.size else 0


def write_hung(page: int, counts: Mapping[str, int]) -> None:
    """Say how many of each kind hung and were killed."""
    os.pwrite(page, _COUNTS.pack(*(counts.get(kind, 0) for kind in HUNG)), 0)


def read_hung(page: int) -> dict[str, int]:
    """How many of each kind hung and were killed since the launcher began."""
    found = os.pread(page, _COUNTS.size, 0).ljust(_COUNTS.size, b"\0")
    return dict(zip(HUNG, _COUNTS.unpack(found), strict=True))


async def beat(page: int, at: int) -> None:
    """Say so until cancelled."""
    while True:
        write_beat(page, at)
        await asyncio.sleep(BEAT_EVERY_S)
