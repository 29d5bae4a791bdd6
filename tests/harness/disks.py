"""A small file system of its own, for what happens when a disk is full or takes no writes."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PIECE_BYTES = 4096


class Disk:
    """One that is mounted, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take all that is free, to the last block."""
        with open(self._filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * PIECE_BYTES)
        assert os.statvfs(self.path).f_bavail == 0

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()

    def lock(self) -> None:
        """Let nobody write any more."""
        _run("mount", "-o", "remount,ro", str(self.path))

    def unlock(self) -> None:
        _run("mount", "-o", "remount,rw", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path, size: str = "4m") -> Iterator[Disk]:
    """Mounted at `path`, gone afterwards. Skips the test where nothing may be mounted."""
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system that can be full takes a mount, and so root")
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)
