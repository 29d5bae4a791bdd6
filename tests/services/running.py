"""A service of other people in its own process, up once it says where it listens."""

import asyncio
import contextlib
import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.harness.waiting import Changes, soon

START_S = 30.0
# Two processes of one service walk their sets in the same order (the methods in `Allow`).
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
LISTENS = re.compile(r"(?:Listening at:|running on) http://(127\.0\.0\.1):(\d+)")


class Service:
    """`python -m ...words` that serves HTTP on a port of its choice. An async context manager."""

    def __init__(self, python: Path, words: Sequence[str], folder: Path) -> None:
        self.words = words
        self.said: deque[str] = deque(maxlen=200)
        self.address = ("", 0)
        self._python = python
        self._folder = folder
        self._changes = Changes()
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    async def __aenter__(self) -> "Service":
        self._process = await asyncio.create_subprocess_exec(
            str(self._python),
            "-m",
            *self.words,
            cwd=self._folder,
            env=os.environ | ENVIRONMENT | {"HOME": str(self._folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._listening = asyncio.create_task(self._listen())
        try:
            await self._changes.until(
                lambda: self.address[1] or self._is_gone(), f"{self.words} to listen", START_S
            )
            assert self.address[1], "\n".join(self.said)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._listening is not None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            await soon(self._process.wait(), f"the end of {self.words}", 5)
        except AssertionError:
            self._process.kill()
            await self._process.wait()
        await soon(self._listening, "the end of its output")

    def _is_gone(self) -> bool:
        assert self._listening is not None
        return self._listening.done()

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                text = line.decode(errors="replace").rstrip("\n")
                self.said.append(text)
                if found := LISTENS.search(text):
                    self.address = (found[1], int(found[2]))
                    self._changes.notify()
        finally:
            self._changes.notify()
