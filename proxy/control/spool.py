"""What is owed to webhooks, in a file: the next controller goes on where this one ended.

A line for each message that a webhook is to get, and one for each that is done with. Both are
written at once and not waited for: they survive the process, though not a power cut of the same
second. The file is emptied when nothing is owed, and written anew when it has grown. One process at
a time has it; a second one of the same folder keeps what it owes in memory alone, as does one
whose disk is full.

Addresses may hold secrets: a webhook is a `mark` here, a keyed hash.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

NAME: Final = "alerts.spool"
MAX_BYTES: Final = 4 << 20  # then only what is still owed is kept, or what is new is not
LONGEST_BYTES: Final = 64 << 10  # of one message

log = structlog.get_logger("proxy.control")


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message that is owed, or that the one of this `serial` is `done`."""

    serial: int
    done: bool = False
    mark: str = ""
    text: msgspec.Raw = msgspec.Raw(b"null")


class Owed(NamedTuple):
    """A message of a controller before this one."""

    serial: int
    mark: str
    text: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Spool:
    """The file at `path`. Nothing here raises: what cannot be kept is the caller's to count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owed: dict[int, bytes] = {}  # the lines that still count, by their serial
        self._size = 0
        self._serial = 0
        self._descriptor: int | None = None
        self.left: list[Owed] = []  # of before, the oldest first
        try:
            self._descriptor = _locked(path)
            self._read()
        except BlockingIOError:
            log.warning("alerts are kept in memory alone: another process has their file")
        except OSError as error:
            self.close()
            log.error("alerts are kept in memory alone", reason=error.strerror)

    def put(self, mark: str, text: bytes) -> int | None:
        """Keep a message for this webhook; its serial, None where it could not be kept."""
        self._serial += 1
        line = _encode(Line(self._serial, False, mark, msgspec.Raw(text))) + b"\n"
        if len(line) > LONGEST_BYTES or not self._append(line):
            return None
        self._owed[self._serial] = line
        return self._serial

    def done(self, serial: int) -> None:
        """It was delivered, or dropped."""
        if self._owed.pop(serial, None) is None or self._descriptor is None:
            return
        if not self._owed:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                self._size = 0
                return
        # Where this fails the message comes again, as the same one.
        self._append(_encode(Line(serial, done=True)) + b"\n")

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> None:
        assert self._descriptor is not None
        read = os.pread(self._descriptor, 2 * MAX_BYTES, 0)
        data = read[: read.rfind(b"\n") + 1]
        unreadable = int(data != read)
        os.ftruncate(self._descriptor, len(data))  # a torn line would spoil the next one
        for line in data.splitlines(keepends=True):
            try:
                found = _decode(line)
            except msgspec.MsgspecError:
                unreadable += 1
                continue
            self._serial = max(self._serial, found.serial)
            if found.done:
                self._owed.pop(found.serial, None)
            else:
                self._owed[found.serial] = line
        if unreadable:
            log.warning("lines of the alerts' file cannot be read", lines=unreadable)
        for line in self._owed.values():
            found = _decode(line)
            self.left.append(Owed(found.serial, found.mark, bytes(found.text)))
        self._size = len(data)
        if data:
            self._shrink()

    def _append(self, line: bytes) -> bool:
        if self._descriptor is None:
            return False
        if self._size + len(line) > MAX_BYTES:
            self._shrink()
        if self._size + len(line) > MAX_BYTES:
            return False
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                os.ftruncate(self._descriptor, self._size)
                return False
        except OSError:
            return False
        self._size += len(line)
        return True

    def _shrink(self) -> None:
        """Write what is still owed to another file, and put that in the place of this one."""
        fresh = self._path.with_name(self._path.name + ".new")
        text = b"".join(self._owed.values())
        made = None
        try:
            fresh.unlink(missing_ok=True)
            made = _locked(fresh)
            if os.write(made, text) != len(text):
                raise OSError("it was not written whole")
            os.fsync(made)
            fresh.replace(self._path)
        except OSError:
            # The old one says the same, at more length.
            if made is not None:
                os.close(made)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            return
        self.close()
        self._descriptor, self._size = made, len(text)


def _locked(path: Path) -> int:
    """Raises BlockingIOError where another process has it, and OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
