"""A whole `banyan serve`, in its own processes, on a configuration file in a folder of the test."""

import asyncio
import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from signal import SIGKILL, Signals
from types import TracebackType
from typing import Any

import aiohttp

from tests.harness.waiting import DEADLINE_S, Changes, asked_until, eventually, soon

START_S = 20.0


class Serving:
    """Starts when entered, unless `expect_ready` is off, and is gone when left."""

    def __init__(
        self,
        folder: Path,
        text: str | None = None,
        *,
        grace: str = "5s",
        config: Path | None = None,
        expect_ready: bool = True,
        open_files: int | None = None,
    ) -> None:
        self.folder = folder
        self.config = config or folder / "routes.yaml"
        if text is not None:
            self.config.write_text(text)
        self.log: list[dict[str, Any]] = []
        self.plain: list[str] = []  # lines that are no JSON
        self.changes = Changes()
        self._grace = grace
        self._expect_ready = expect_ready
        self._open_files = open_files  # the limit it is started under
        self._ready_file = folder / "ready.json"
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Serving":
        self._session = aiohttp.ClientSession()
        self._ready_file.unlink(missing_ok=True)  # of one that was killed
        command = ["-m", "proxy.cli.main", "serve", "--config", str(self.config)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *("--grace", self._grace),
            *("--ready-file", str(self._ready_file)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            preexec_fn=self._limit_open_files,
        )
        self._listening = asyncio.create_task(self._listen())
        if self._expect_ready:
            try:
                await eventually(self._is_ready_or_gone, "ready", START_S)
                assert self._ready_file.exists(), self.words
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
        assert self._session is not None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
                self._process.terminate()
        # Whatever a test did to the launcher, no child outlives the test.
        for pid in self.children().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        await soon(self._process.wait(), f"the end of banyan serve: {self.words}")
        await soon(self._listening, "the end of its log")
        await self._session.close()

    @property
    def words(self) -> str:
        """All that was said, for the message of a failure."""
        return "\n".join([*self.plain, *(json.dumps(line) for line in self.log)])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def ready(self) -> dict[str, Any]:
        found = json.loads(self._ready_file.read_text())
        assert isinstance(found, dict)
        return found

    @property
    def address(self) -> tuple[str, int]:
        """Where it serves: host and port."""
        host, _, port = self.ready()["listen"].removeprefix("http://").rpartition(":")
        return host, int(port)

    def children(self) -> dict[str, int]:
        """The process that was started last under each name."""
        return {line["child"]: line["pid"] for line in self.log if line["event"] == "child started"}

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The lines of the log with this event and these fields."""
        return [
            line
            for line in self.log
            if line["event"] == event and all(line.get(k) == v for k, v in fields.items())
        ]

    async def says(
        self, event: str, count: int = 1, within_s: float = DEADLINE_S, **fields: object
    ) -> dict[str, Any]:
        """Wait until it was said that often; the last of them."""
        await self.changes.until(
            lambda: len(self.said(event, **fields)) >= count,
            f"{count} times {event} {fields}\n",
            within_s,
        )
        return self.said(event, **fields)[count - 1]

    async def admin(self, path: str) -> Any:
        """The JSON of the admin API at `path`, whatever its status."""
        assert self._session is not None
        async with self._session.get(self.ready()["admin"] + path) as answer:
            return await answer.json()

    async def metrics(self) -> str:
        assert self._session is not None
        async with self._session.get(self.ready()["admin"] + "/metrics") as answer:
            return await answer.text()

    async def route(self, name: str) -> dict[str, Any]:
        found = await self.admin(f"/api/v1/routes/{name}")
        assert isinstance(found, dict)
        return found

    async def until_ready(self, generation: int = 1, within_s: float = DEADLINE_S) -> Any:
        """Wait until every worker serves that generation; the readiness."""

        async def look() -> Any:
            with contextlib.suppress(aiohttp.ClientError):
                return await self.admin("/readyz")
            return None

        def is_enough(ready: Any) -> bool:
            return (
                ready is not None
                and ready["status"] == "ready"
                and all(worker["generation"] >= generation for worker in ready["workers"])
            )

        what = f"generation {generation} everywhere\n{self.words}"
        return await asked_until(look, is_enough, what, within_s)

    def signal(self, signum: Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def signal_child(self, name: str, signum: Signals) -> None:
        os.kill(self.children()[name], signum)

    async def exit_code(self, within_s: float = DEADLINE_S) -> int:
        assert self._process is not None
        assert self._listening is not None
        code = await soon(self._process.wait(), f"its end\n{self.words}", within_s)
        await soon(self._listening, "the end of its log")
        return code

    def _limit_open_files(self) -> None:
        if self._open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._open_files, self._open_files))

    def _is_ready_or_gone(self) -> bool:
        assert self._process is not None
        return self._ready_file.exists() or self._process.returncode is not None

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            text = line.decode().rstrip("\n")
            try:
                self.log.append(json.loads(text))
            except ValueError:
                self.plain.append(text)
            self.changes.notify()
