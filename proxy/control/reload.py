"""Reads the configuration again when it may have changed: a good edit is used, a bad one reported.

An editor may truncate the file and write it later: the file is read once it stands still, and a
bad one is read again for a moment before it is called bad. The reading and checking run in a
thread. Nothing here decides what an edit means.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.config import Finding, Loaded, Position, load_bytes
from proxy.config.findings import finding
from proxy.config.source import UnreadableError, read_source
from proxy.control.watching import Watcher, fingerprint

STANDS_STILL_S = 0.03
STANDS_STILL_TRIES = 10
BAD_AGAIN_S = 0.1
BAD_TRIES = 3


class Reloader:
    """Watches one file. `good` gets what was loaded, its bytes, and whether it was asked for.

    `bad` gets the findings of an edit that cannot be used.
    """

    def __init__(
        self,
        path: Path,
        good: Callable[[Loaded, bytes, bool], None],
        bad: Callable[[Sequence[Finding]], None],
    ) -> None:
        self._path = path
        self._good = good
        self._bad = bad
        self._wake = asyncio.Event()
        self._asked = False
        # What was read last, and why it could not be: another reason is another bad edit.
        self._last: tuple[bytes | None, str] | None = None

    def ask(self) -> None:
        """Read it again even if it looks the same (SIGHUP)."""
        self._asked = True
        self._wake.set()

    async def run(self) -> None:
        """Read it once, then after each change, until cancelled."""
        self._wake.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(Watcher(self._path, self._wake.set).run())
            while True:
                await self._wake.wait()
                self._wake.clear()
                asked, self._asked = self._asked, False
                await self._read(asked)

    async def _read(self, asked: bool) -> None:
        for attempt in range(BAD_TRIES):
            await self._until_it_stands_still()
            data, loaded = await asyncio.to_thread(self._load, asked or attempt > 0)
            if loaded is None:
                return
            if loaded.config is not None:
                assert data is not None
                self._good(loaded, data, asked)
                return
            # It may be half written: the other half may take a moment.
            await asyncio.sleep(BAD_AGAIN_S)
        assert loaded is not None
        self._bad(loaded.findings)

    def _load(self, even_if_same: bool) -> tuple[bytes | None, Loaded | None]:
        """The bytes (None: unreadable) and what they load to; None if nothing changed."""
        data: bytes | None = None
        why = ""
        try:
            data = read_source(self._path)
        except UnreadableError as error:
            why = str(error)
        same = self._last == (data, why)
        self._last = data, why
        if same and not even_if_same:
            return data, None
        if data is None:
            return None, Loaded(
                None, (finding("UNREADABLE", str(self._path), Position(), "", why),)
            )
        return data, load_bytes(data, self._path, os.environ)

    async def _until_it_stands_still(self) -> None:
        before = await asyncio.to_thread(fingerprint, self._path)
        for _ in range(STANDS_STILL_TRIES):
            await asyncio.sleep(STANDS_STILL_S)
            now = await asyncio.to_thread(fingerprint, self._path)
            if now == before:
                return
            before = now
