"""The local snapshot of a store: what is used while the store is out of reach.

It is written after each commit, of whoever shares the store, and before anything of it is
published, so it is never older than what the workers were told. What it said before is never given
up before the new one is durable: it is overwritten in place, slot by slot, or replaced by a larger
file. On a disk that takes neither it stays as it is, and the memory that the launcher holds has
what it lacks (LastKnown).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from proxy.store import slots
from proxy.store.records import Stored
from proxy.store.state import StoreError

SCHEMA_VERSION: Final = 1
SPARE_BYTES: Final = 64 << 10  # of a slot, beside twice what it holds first: a revert takes one
MEMORY_SLOT_BYTES: Final = 64 << 20  # of which only what is written takes memory


class _File(msgspec.Struct):
    schema: int
    stored: Stored


def snapshot_path(store: Path) -> Path:
    """The snapshot's place beside a store: `state.db` has `state.snapshot.json`."""
    return store.with_suffix(".snapshot.json")


def write_snapshot(path: Path, stored: Stored) -> None:
    """Replace what the snapshot says, durably. Raises StoreError, and then leaves what it said."""
    _write(path, _encoded(stored))


def read_snapshot(path: Path) -> Stored | None:
    """What the snapshot holds; None if there is none. Raises StoreError if it cannot be read."""
    try:
        with _opened(path, os.O_RDONLY) as descriptor:
            size = os.fstat(descriptor).st_size
            kept = slots.newest(descriptor, size // 2)
            # Banyan wrote the mere text before there were slots.
            text = os.pread(descriptor, size, 0) if kept is None else kept.text
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the snapshot {path} cannot be read: {error.strerror}") from error
    return _decoded(text, str(path))


class LastKnown:
    """What this machine knows: the snapshot, and the same in memory that outlives this process.

    `memory` is a descriptor of the launcher, which holds it for as long as there are workers. It
    needs no disk: whatever they were told last is there for the next controller.
    """

    def __init__(self, path: Path, memory: int | None = None) -> None:
        self.path = path
        self._memory = memory
        self._kept: Stored | None = None

    def read(self) -> Stored | None:
        """What is known; None if nothing is. Raises StoreError if it cannot be read."""
        if self._memory is not None:
            kept = slots.newest(self._memory, MEMORY_SLOT_BYTES)
            if kept is not None:
                return _decoded(kept.text, "of the launcher")
        return read_snapshot(self.path)

    def keep(self, stored: Stored) -> None:
        """Write both. Raises StoreError where the file, which outlives all, cannot be written."""
        self._kept, text = None, _encoded(stored)
        try:
            self._remember(text)
        finally:
            _write(self.path, text)
        self._kept = stored

    def lacks(self, stored: Stored) -> bool:
        """Whether something of this was not kept by this process."""
        kept = self._kept
        return kept is None or (kept.table, kept.records) != (stored.table, stored.records)

    def remember(self, stored: Stored) -> None:
        """Write the memory alone. Raises StoreError where there is none left."""
        self._kept = None
        self._remember(_encoded(stored))

    def _remember(self, text: bytes) -> None:
        if self._memory is None:
            return
        if not slots.fits(text, MEMORY_SLOT_BYTES):
            raise StoreError(f"{len(text):,} bytes of state do not fit in the launcher's memory")
        try:
            last = slots.newest(self._memory, MEMORY_SLOT_BYTES)
            slots.put(self._memory, MEMORY_SLOT_BYTES, text, last)
        except OSError as error:
            why = f"the launcher's memory cannot be written: {error.strerror}"
            raise StoreError(why) from error


def _encoded(stored: Stored) -> bytes:
    # Others that share the store are to be waited for; what they held back is over.
    others = tuple(msgspec.structs.replace(each, quiet={}) for each in stored.replicas)
    own = Stored(stored.starts, stored.table, stored.records, replicas=others)
    return msgspec.json.format(msgspec.json.encode(_File(SCHEMA_VERSION, own)), indent=1)


def _decoded(text: bytes, name: str) -> Stored:
    try:
        file = msgspec.json.decode(text, type=_File)
    except msgspec.MsgspecError as error:
        raise StoreError(f"the snapshot {name} is damaged: {error}") from error
    if file.schema > SCHEMA_VERSION:
        raise StoreError(f"the snapshot {name} was written by a newer Banyan")
    return file.stored


def _write(path: Path, text: bytes) -> None:
    try:
        if not _overwritten(path, text):
            _replace(path, text)
    except OSError as error:
        raise StoreError(f"the snapshot {path} cannot be written: {error.strerror}") from error


def _overwritten(path: Path, text: bytes) -> bool:
    """Whether it was written in place: not where there is no room for it, or nothing whole."""
    try:
        with _opened(path, os.O_RDWR) as descriptor:
            slot_bytes = os.fstat(descriptor).st_size // 2
            if not slots.fits(text, slot_bytes):
                return False
            # Replicas of one folder would write into each other's slot.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last = slots.newest(descriptor, slot_bytes)
            if last is None:
                return False
            slots.put(descriptor, slot_bytes, text, last)
            os.fsync(descriptor)
            return True
    except (FileNotFoundError, BlockingIOError):
        return False


def _replace(path: Path, text: bytes) -> None:
    """Write a file with room for more, then put it in the place of the old one."""
    fresh = path.with_name(path.name + ".new")
    slot_bytes = 2 * len(text) + SPARE_BYTES
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _opened(fresh, os.O_CREAT | os.O_TRUNC | os.O_RDWR) as descriptor:
            _take_room(descriptor, 2 * slot_bytes)
            slots.put(descriptor, slot_bytes, text, None)
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)  # what it takes of a full disk
        raise
    with _opened(path.parent, os.O_RDONLY) as directory:
        os.fsync(directory)


def _take_room(descriptor: int, size: int) -> None:
    """Write all of it: a hole, or what is merely reserved, may take a block when it is written."""
    left = memoryview(b"\n" * size)
    while left:
        left = left[os.write(descriptor, left) :]


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
