"""Notices that a file may have changed, however its editor goes about it.

What is watched is not the file but its directory: an editor that writes beside it and renames
leaves a new inode, and a watch on the old one hears nothing. Where the path goes through symbolic
links (a Kubernetes ConfigMap swaps `..data`), the directory of each link is watched as well.
Some file systems send no events: the file's status is read twice a second besides.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import structlog
import watchfiles

POLL_S = 0.5
EVENT_STEP_MS = 50
EVENT_DEBOUNCE_MS = 100
WATCH_AGAIN_S = 5.0
MOST_LINKS = 40  # as the kernel

log = structlog.get_logger("proxy.control")

Fingerprint = tuple[int, int, int, int]


def fingerprint(path: Path) -> Fingerprint | None:
    """What changes when the file is written or replaced; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def places(path: Path) -> dict[Path, set[str]]:
    """The directories to watch, and the names in each whose change may change the file."""
    watched: dict[Path, set[str]] = {}
    left = list(path.absolute().parts)
    here = Path(left.pop(0))
    links = 0
    while left:
        part = left.pop(0)
        if part == "..":
            here = here.parent
            continue
        step = here / part
        if links < MOST_LINKS and step.is_symlink():
            links += 1
            watched.setdefault(here, set()).add(part)
            target = Path(os.readlink(step))
            if target.is_absolute():
                here = Path(target.anchor)
                left = [*target.parts[1:], *left]
            else:
                left = [*target.parts, *left]
            continue
        if not left:
            watched.setdefault(here, set()).add(part)
        here = step
    return watched


class Watcher:
    """Calls `changed` when the file may have changed. Says so once too often rather than never."""

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self._path = path
        self._changed = changed
        self._moved = asyncio.Event()  # the places are others now

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll())
            group.create_task(self._listen())

    async def _poll(self) -> None:
        last = await asyncio.to_thread(fingerprint, self._path)
        while True:
            await asyncio.sleep(POLL_S)
            now = await asyncio.to_thread(fingerprint, self._path)
            if now != last:
                last = now
                self._changed()
                self._moved.set()

    async def _listen(self) -> None:
        warned = False
        while True:
            watched = await asyncio.to_thread(places, self._path)
            self._moved.clear()
            try:
                await self._hear(watched)
            except (OSError, RuntimeError) as error:
                if not warned:
                    log.warning("no file events, the file is looked at instead", reason=str(error))
                warned = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_AGAIN_S):
                        await self._moved.wait()

    async def _hear(self, watched: dict[Path, set[str]]) -> None:
        """Listen to these directories until they are no longer the right ones."""
        present = [directory for directory in watched if directory.is_dir()]
        if not present:
            raise OSError("the directory does not exist")
        names = set().union(*watched.values())
        async for _ in watchfiles.awatch(
            *present,
            watch_filter=lambda _change, changed: os.path.basename(changed) in names,
            debounce=EVENT_DEBOUNCE_MS,
            step=EVENT_STEP_MS,
            stop_event=self._moved,
            recursive=False,
        ):
            self._changed()
            if await asyncio.to_thread(places, self._path) != watched:
                return
