"""The launcher's private directory: the link's socket, and copies of the configuration.

It is of mode 0700, short enough for a socket's path, and locked while its launcher lives. One that
is not locked was left behind by a launcher that was killed; the next launcher removes it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

LINK_NAME = "link.sock"
RESULTS_NAME = "results.sock"
PREFIX = "banyan-run-"
LOCK_NAME = "lock"
LONGEST_SOCKET_PATH_BYTES = 107  # sockaddr_un


def comparer_name(number: int) -> str:
    """The socket on which a comparer takes suspects."""
    return f"compare{number}.sock"


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A fresh one, gone afterwards."""
    parent = Path(tempfile.gettempdir())
    # mkdtemp adds eight characters.
    longest = len(os.fsencode(parent / f"{PREFIX}12345678" / comparer_name(255)))
    if longest > LONGEST_SOCKET_PATH_BYTES:
        parent = Path("/tmp")
    _remove_what_was_left(parent)
    while True:
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with _locked(made / LOCK_NAME, create=True):
            # Another launcher may have taken it for a leftover before it was locked.
            if (made / LOCK_NAME).exists():
                try:
                    yield made
                finally:
                    shutil.rmtree(made, ignore_errors=True)
                return


def _remove_what_was_left(parent: Path) -> None:
    for left in parent.glob(f"{PREFIX}*"):
        # Not ours, alive, or just being made (without a lock yet): somebody else's business.
        with contextlib.suppress(OSError):
            if left.stat().st_uid == os.geteuid():
                with _locked(left / LOCK_NAME, create=False):
                    shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, create: bool) -> Iterator[None]:
    """Hold the lock. Raises OSError if somebody else does, or there is none."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        # Whoever makes a directory waits for the moment in which another one looks at it.
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if create else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
