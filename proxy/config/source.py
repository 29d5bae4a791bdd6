"""The bytes of a configuration file, or one clear reason why there are none."""

import os
import stat
from pathlib import Path

MAX_FILE_BYTES = 4 << 20


class UnreadableError(Exception):
    """The file gives no usable text; `str()` says why and what to do, in one paragraph."""


def read_source(path: Path) -> bytes:
    """What the file holds. Raises UnreadableError; never waits (a named pipe is refused)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnreadableError(
            "there is no such file; name another one with --config or BANYAN_CONFIG"
        ) from None
    except ValueError as error:
        raise UnreadableError(f"this cannot be the name of a file ({error})") from None
    except OSError as error:
        raise UnreadableError(f"the file cannot be opened ({error.strerror})") from None
    try:
        kind = os.fstat(descriptor)
        if stat.S_ISDIR(kind.st_mode):
            raise UnreadableError("this is a directory; name the file in it, such as routes.yaml")
        if not stat.S_ISREG(kind.st_mode):
            raise UnreadableError("this is not a regular file; save the configuration as one")
        if kind.st_size > MAX_FILE_BYTES:
            raise UnreadableError(_too_large(kind.st_size))
        # The size may have grown since: read one byte more than is legal, never all of it.
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    return data


def decode_source(data: bytes) -> str:
    """The text of the bytes. Raises UnreadableError with the place of the first bad byte."""
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableError(_too_large(len(data)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError(
            f"the file is not UTF-8: byte {error.start} (0x{data[error.start]:02x}, line {line}) "
            "starts no character; save it as UTF-8"
        ) from None
    if not text.strip():
        raise UnreadableError("the file is empty; it needs at least the keys backends and routes")
    return text


def _too_large(size: int) -> str:
    return (
        f"the file has {size:,} bytes or more, and at most {MAX_FILE_BYTES:,} are read (room for "
        "some 40,000 routes); was another file meant? Patterns such as /api/orders/* or {id} "
        "stand for many paths"
    )
