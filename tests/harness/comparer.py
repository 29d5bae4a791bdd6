"""A real comparer process under test, with both of its peers in the hands of the test."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from proxy.core.framing import frame, judged_unframer
from proxy.core.messages import AnswerRecord, Batch, ExchangeRecord, Observation, Suspect
from proxy.core.model import Compare, Side
from proxy.observe.compared import Result, Results, Ruleset, results_unframer
from tests.harness.waiting import Changes, soon

KEY = b"k" * 32


def answer(
    body: bytes, content_type: str = "application/json", status: int = 200, *lines: str
) -> AnswerRecord:
    """An answer as a worker hands it on."""
    head = [f"HTTP/1.1 {status} OK", f"Content-Type: {content_type}", *lines, "", ""]
    return AnswerRecord(status, "\r\n".join(head).encode("latin-1"), body)


def observation(route: str = "a", method: str = "GET", target: str = "/a") -> Observation:
    record = ExchangeRecord(200, 1.0)
    return Observation(
        1000.0, route, method, target, -1, "0" * 32, Side.LEGACY, record, record, False
    )


def suspect(
    number: int, legacy: AnswerRecord, new: AnswerRecord, route: str = "a", target: str = "/a"
) -> Suspect:
    """A pair that is not alike."""
    return Suspect(number, "read", True, observation(route, target=target), legacy, new)


class Comparer:
    """Starts when entered. `rules` are sent to it when it connects; None: it gets none."""

    def __init__(self, folder: Path, rules: dict[str, Compare] | None, search: str = "/") -> None:
        self.rules = rules
        self.search = search
        self.folder = folder
        self.results: list[Result] = []
        self.dropped: dict[str, int] = {}
        self.raw = b""  # all that it told the controller
        self.judged: list[int] = []
        self.seconds: dict[int, list[float]] = {}  # by batch
        self.changes = Changes()
        self.process: asyncio.subprocess.Process | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._controller: asyncio.Server | None = None
        self._controllers: list[asyncio.StreamWriter] = []
        self._worker: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Comparer":
        self._socket.bind(str(self.folder / "compare0.sock"))
        self._socket.listen(64)
        self._socket.setblocking(False)
        await self.open_controller()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.close_controller()
        if self._worker is not None:
            self._worker.transport.abort()
        if self._reading is not None:
            await self._reading
        self._socket.close()

    async def start(self) -> None:
        """Start the process (again): the listening socket stays."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "proxy.observe.comparer", "--number", "0"),
            *("--listen-fd", str(self._socket.fileno())),
            *("--controller", str(self.folder / "results.sock")),
            pass_fds=(self._socket.fileno(),),
        )

    async def exit_code(self) -> int:
        assert self.process is not None
        return await soon(self.process.wait(), "the comparer's exit")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    # The controller's end

    async def open_controller(self) -> None:
        path = self.folder / "results.sock"
        path.unlink(missing_ok=True)
        self._controller = await asyncio.start_unix_server(self._on_controller, str(path))

    async def close_controller(self) -> None:
        if self._controller is not None:
            self._controller.close()
        (self.folder / "results.sock").unlink(missing_ok=True)
        for writer in self._controllers:
            writer.transport.abort()
        self._controllers.clear()

    def send_rules(self, rules: dict[str, Compare]) -> None:
        self.rules = rules
        for writer in self._controllers:
            writer.write(self._ruleset())

    def _ruleset(self) -> bytes:
        assert self.rules is not None
        names = {name: at for at, name in enumerate(self.rules)}
        return frame(Ruleset(1, list(self.rules.values()), names, KEY, self.search))

    async def _on_controller(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._controllers.append(writer)
        if self.rules is not None:
            writer.write(self._ruleset())
        self.changes.notify()
        unframer = results_unframer()
        try:
            while data := await reader.read(1 << 16):
                self.raw += data
                for results in unframer.feed(data):
                    self._take(results)
                self.changes.notify()
        except (ConnectionError, asyncio.CancelledError):
            pass

    def _take(self, results: Results) -> None:
        self.results += results.results
        for route, count in results.dropped.items():
            self.dropped[route] = self.dropped.get(route, 0) + count

    # The worker's end

    async def connect(self) -> None:
        """Connect as a worker does."""
        reader, self._worker = await asyncio.open_unix_connection(
            str(self.folder / "compare0.sock")
        )
        self._reading = asyncio.create_task(self._read_judged(reader))

    def send(self, number: int, *suspects: Suspect, shed: int = 0) -> None:
        """Send a batch."""
        assert self._worker is not None
        self._worker.write(frame(Batch(0, number, list(suspects), shed)))

    def send_raw(self, data: bytes) -> None:
        assert self._worker is not None
        self._worker.write(data)

    async def _read_judged(self, reader: asyncio.StreamReader) -> None:
        unframer = judged_unframer()
        try:
            while data := await reader.read(1 << 16):
                for judged in unframer.feed(data):
                    self.judged.append(judged.number)
                    self.seconds[judged.number] = judged.seconds
                self.changes.notify()
        except ConnectionError:
            pass
        self.judged.append(-1)  # the end
        self.changes.notify()

    async def result(self, number: int = 0) -> Result:
        """The result with that number, once it is here."""
        await self.changes.until(lambda: len(self.results) > number, f"result {number}")
        return self.results[number]


def memory_kib(pid: int) -> int:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
