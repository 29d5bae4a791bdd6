"""Copies of the configuration in the private directory: as it began, as it was good last.

They outlive a controller, so that the next one finds what the one before it had.
"""

import os
from pathlib import Path
from typing import Final

import structlog

from proxy.config import Config, load_bytes

FIRST: Final = "first.yaml"  # as the launcher read it
LAST_GOOD: Final = "last-good.yaml"

log = structlog.get_logger("proxy.control")


class Copies:
    """Of the configuration at `path`, in `directory`."""

    def __init__(self, directory: Path, path: Path) -> None:
        self._directory = directory
        self._path = path

    def kept(self, name: str) -> Config | None:
        """A copy of the file, checked again: the directory is private, its age is not known."""
        try:
            data = (self._directory / name).read_bytes()
        except OSError:
            return None
        return load_bytes(data, self._path, os.environ).config

    def keep(self, data: bytes, name: str) -> None:
        """Replace a copy, whole or not at all."""
        fresh = self._directory / f"{name}.new"
        try:
            fresh.write_bytes(data)
            fresh.replace(self._directory / name)
        except OSError as error:
            log.error("copy of the configuration not kept", copy=name, reason=str(error))
