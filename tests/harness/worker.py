"""A real worker process under test, and the controller's end of its link.

The test side opens the listening socket and the link, starts `python -m proxy.edge.worker`,
sends snapshots built from plain values, and collects what the worker reports.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path

import msgspec

from proxy.core.framing import controller_unframer, frame
from proxy.core.messages import (
    TRIALS,
    Applied,
    Bye,
    Counts,
    EndpointHealth,
    FromWorker,
    Full,
    Hello,
    Missing,
    NotAsked,
    Observation,
    Quiet,
    Report,
    SameAgain,
    States,
    ToWorker,
)
from proxy.core.model import (
    UNMATCHED,
    RouteState,
    Snapshot,
)
from tests.harness.client import Client
from tests.harness.waiting import DEADLINE_S, Changes, soon

# An unpacked wheel (`make test-compiled`): the workers are then those of that tree.
TREE = os.environ.get("BANYAN_TEST_TREE")


class Totals:
    """The reports of a worker, summed: those of the routes whose names end in `mark`."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.requests: Counter[str] = Counter()  # "route|phase|side|code"
        self.skipped: Counter[str] = Counter()  # "route|reason"
        self.comparisons: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()  # "route|side"
        self.events: Counter[str] = Counter()
        self.eligible: Counter[str] = Counter()
        self.client_requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.latencies: Counter[str] = Counter()  # "route|side": how many were measured
        self.trials: Counter[str] = Counter()  # by TRIALS, over all routes of the test
        self.observations: list[Observation] = []
        self.observations_dropped = 0
        self.connections: dict[str, int] = {}
        self.draining = False

    def add(self, report: Report) -> None:
        for counts in report.counts:
            if counts.route.endswith(self.mark):
                self._add_counts(counts)
        self.refused.update(report.refused)
        for observation in report.observations:
            if observation.route.endswith(self.mark):
                name = observation.route.removesuffix(self.mark)
                self.observations.append(msgspec.structs.replace(observation, route=name))
        self.observations_dropped += report.observations_dropped
        self.connections = report.connections or self.connections
        self.draining = report.draining

    def _add_counts(self, counts: Counts) -> None:
        name = counts.route.removesuffix(self.mark)
        for into, new in (
            (self.requests, counts.requests),
            (self.skipped, counts.skipped),
            (self.comparisons, counts.comparisons),
            (self.errors, counts.errors),
            (self.events, counts.events),
        ):
            for key, count in new.items():
                if count:
                    into[f"{name}|{key}"] += count
        for side, histogram in counts.latency.items():
            self.latencies[f"{name}|{side}"] += sum(histogram.values())
        for trials in counts.trials.values():
            self.trials.update(dict(zip(TRIALS, trials, strict=True)))
        if counts.eligible:
            self.eligible[name] += counts.eligible
        self.client_requests[name] += counts.client_requests


class Worker:
    """One worker process. `apply` a snapshot, then `connect` to it."""

    def __init__(
        self, *, grace_s: float = 5.0, unix: bool = False, extra: tuple[str, ...] = ()
    ) -> None:
        self.grace_s = grace_s
        self.unix = unix
        self.extra = extra
        self.directory = Path(tempfile.mkdtemp(prefix="banyan-"))
        self.log = self.directory / "worker.log"
        self.log_seen = 0
        self.changes = Changes()
        self.generation = 0
        self.revision = 0
        self.snapshot: Snapshot | None = None
        self.test_number = 0
        self.totals = Totals(self.mark)
        self.applied: list[Applied] = []
        self.quiet: list[Quiet] = []
        self.missing: list[Missing] = []
        self.not_asked: list[NotAsked] = []
        self.same_again: list[SameAgain] = []
        self.hellos: list[Hello] = []
        self.byes: list[Bye] = []
        self.answer_missing = True
        self.reports = 0
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.process: asyncio.subprocess.Process | None = None
        self._states: dict[str, RouteState] = {}
        self._link: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self.address: tuple[str, int] | str = ""

    # Life

    async def start(self, *, link_later: bool = False) -> "Worker":
        if not link_later:
            await self.open_link()
        if self.unix:
            self.address = str(self.directory / "listen")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(self.address)
        else:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            self.address = sock.getsockname()
        sock.listen(1024)
        sock.setblocking(False)
        self._socket = sock
        await self.spawn(await_hello=not link_later)
        return self

    async def spawn(self, *, await_hello: bool = True) -> None:
        """Start the process (again): the listening socket and the link stay."""
        assert self._socket is not None
        fd = self._socket.fileno()
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        if TREE:
            # Without the safe path the working directory, the sources, would come first.
            environment |= {"PYTHONPATH": TREE, "PYTHONSAFEPATH": "1"}
        known = len(self.hellos)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "proxy.edge.worker",
                "--slot",
                "0",
                "--listen-fd",
                str(fd),
                "--link",
                str(self.directory / "link"),
                "--grace",
                str(self.grace_s),
                *self.extra,
                pass_fds=(fd,),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        exited = asyncio.ensure_future(self.process.wait())
        exited.add_done_callback(lambda _: self.changes.notify())
        if not await_hello:
            return
        try:
            await self.changes.until(
                lambda: len(self.hellos) > known or exited.done(), "the worker says Hello", 20
            )
        except AssertionError as error:
            # What is it doing? The fault handler says it in its log.
            self.process.send_signal(signal.SIGABRT)
            await exited
            raise AssertionError(f"{error}\n{self.output()}") from None
        assert not exited.done(), f"the worker exited:\n{self.output()}"
        assert not TREE or self.hellos[-1].compiled, "BANYAN_TEST_TREE has no compiled worker"

    def output(self) -> str:
        """What the process wrote, for the message of a failure."""
        return self.log.read_text(errors="replace")[-8000:] if self.log.exists() else ""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self.cut_link()
        if self._link is not None:
            self._link.close()
        if self._socket is not None:
            self._socket.close()
        for path in self.directory.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()
        self.directory.rmdir()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def exit_code(self, within_s: float = DEADLINE_S) -> int:
        assert self.process is not None
        return await soon(self.process.wait(), "the worker's exit", within_s)

    def rss_mib(self, peak: bool = False) -> float:
        """Resident memory of the process, its highest so far with `peak`."""
        assert self.process is not None
        key = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process has no memory to speak of")

    def open_files(self) -> int:
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    # The link. Each test's routes get a mark behind their names, so that what is reported late of
    # an earlier test is not taken for this one's; the mark never shows outside of here.

    @property
    def mark(self) -> str:
        return f" #{self.test_number}"

    def marked(self, name: str) -> str:
        return name if name == UNMATCHED else name + self.mark

    async def apply(self, snapshot: Snapshot) -> None:
        """Send a snapshot as the next generation, wait until it is in force."""
        self.generation += 1
        self.revision += 1
        states = {
            self.marked(route.name): snapshot.states.get(route.name)
            or RouteState.of_phase(route.phase)
            for route in snapshot.routes
        }
        routes = tuple(
            msgspec.structs.replace(route, name=self.marked(route.name))
            for route in snapshot.routes
        )
        self._states = states
        self.snapshot = msgspec.structs.replace(
            snapshot,
            generation=self.generation,
            revision=self.revision,
            routes=routes,
            states=states,
        )
        self.send(Full(self.snapshot))
        await self.in_force()

    async def set_states(self, states: dict[str, RouteState]) -> None:
        """Send new states of routes by name, wait until they are in force."""
        self.send_states({self.marked(name): state for name, state in states.items()})
        await self.in_force()

    def send_states(self, states: dict[str, RouteState]) -> None:
        self.revision += 1
        self._states.update(states)
        self.send(States(self.generation, self.revision, states))

    async def in_force(self) -> None:
        wanted = (self.generation, self.revision)
        await self.changes.until(
            lambda: (
                not self.running
                or any((answer.generation, answer.revision) == wanted for answer in self.applied)
            ),
            f"Applied {wanted}",
        )
        assert self.running, f"the worker exited:\n{self.output()}"

    def health(self, backend: str, url: str, up: bool) -> None:
        self.send(EndpointHealth(backend, url, up))

    def send(self, message: ToWorker) -> None:
        assert self._writer is not None, "the worker has no link"
        self._writer.write(frame(message))

    def send_raw(self, data: bytes) -> None:
        assert self._writer is not None, "the worker has no link"
        self._writer.write(data)

    async def open_link(self) -> None:
        """Listen for the worker's link, as a controller that starts does."""
        path = str(self.directory / "link")
        self._link = await asyncio.start_unix_server(self._on_link, path)

    async def close_link(self) -> None:
        """Stop listening too: the worker is alone until `open_link`."""
        if self._link is not None:
            self._link.close()
            (self.directory / "link").unlink(missing_ok=True)
        await self.cut_link()

    async def cut_link(self) -> None:
        """Close the worker's link, as a controller that dies would."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        unframer = controller_unframer()
        try:
            while data := await reader.read(1 << 16):
                for message in unframer.feed(data):
                    self._take(message, writer)
                self.changes.notify()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self.changes.notify()

    def _take(self, message: FromWorker, writer: asyncio.StreamWriter) -> None:
        match message:
            case Hello():
                self.hellos.append(message)
                self._writer = writer
                if self.snapshot is not None:
                    # As the controller does: whoever connects gets the table as it is now.
                    self.send(Full(self._current()))
            case Applied():
                self.applied.append(message)
            case Quiet(route=name):
                if name.endswith(self.mark):
                    name = name.removesuffix(self.mark)
                    self.quiet.append(msgspec.structs.replace(message, route=name))
            case Missing(route=name):
                if name.endswith(self.mark):
                    plain = msgspec.structs.replace(message, route=name.removesuffix(self.mark))
                    self.missing.append(plain)
                    if self.answer_missing:
                        self.grant_missing(plain)
                elif name in self._states:
                    self._grant(message)
            case NotAsked():
                self.not_asked.append(message)
            case SameAgain():
                self.same_again.append(message)
            case Report():
                self.reports += 1
                self.totals.add(message)
            case Bye():
                self.byes.append(message)

    def _current(self) -> Snapshot:
        assert self.snapshot is not None
        return msgspec.structs.replace(
            self.snapshot, revision=self.revision, states={**self._states}
        )

    def grant_missing(self, message: Missing) -> None:
        """Answer a Missing as the controller does once the flag is durable."""
        self._grant(msgspec.structs.replace(message, route=self.marked(message.route)))

    def _grant(self, message: Missing) -> None:
        state = self._states[message.route]
        self.send_states(
            {
                message.route: RouteState(
                    state.phase,
                    state.authority,
                    state.writes_paused,
                    state.missed | {message.side},
                )
            }
        )

    # Looking

    async def connect(self, source: str | None = None, receive_buffer: int | None = None) -> Client:
        return await Client.to(self.address, source=source, receive_buffer=receive_buffer)

    async def reported(
        self, predicate: "object", what: str = "", within_s: float = DEADLINE_S
    ) -> None:
        """Wait until the summed reports satisfy `predicate(totals)`."""
        assert callable(predicate)
        try:
            await self.changes.until(lambda: predicate(self.totals), what, within_s)
        except AssertionError as error:
            totals = {key: value for key, value in vars(self.totals).items() if value}
            raise AssertionError(f"{error}\nreports: {totals}\n{self.output()}") from None

    def begin_test(self) -> None:
        """Forget what earlier tests left behind."""
        self.test_number += 1
        self.totals = Totals(self.mark)
        self.applied = []
        self.quiet = []
        self.missing = []
        self.not_asked = []
        self.same_again = []
        self.byes = []
        self.answer_missing = True

    async def forget_refusals(self) -> None:
        """What was refused before a route was found has no mark: have it reported first."""
        for _ in range(2):
            reports = self.reports
            await self.changes.until(lambda seen=reports: self.reports > seen, "a report")  # type: ignore[misc]  # bound early on purpose
        self.totals.refused.clear()

    def new_output(self) -> str:
        """What the process wrote since this was last asked."""
        text = self.log.read_bytes()
        new = text[self.log_seen :]
        self.log_seen = len(text)
        return new.decode(errors="replace")
