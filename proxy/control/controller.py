"""The controller process: brings the file, the state of routes, workers and admin API together.

Everything runs in one event loop and one TaskGroup; only reading the file and the store use
threads. It may die at any moment: the workers serve on, the launcher starts another one on the
same sockets, and that one finds everything it needs in the store, the file, or (if the file has
become bad meanwhile) in the copy of the last good one.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import structlog
import uvloop
from aiohttp import web

from proxy.admin.app import make_app
from proxy.config import Config, Finding, Loaded, changes_for_restart, lint
from proxy.control import turns
from proxy.control.alerts import Alerts, notice_of, refused_edit
from proxy.control.arguments import arguments
from proxy.control.commands import Commands
from proxy.control.comparers import Comparers, ruleset_of
from proxy.control.copies import FIRST, LAST_GOOD, Copies
from proxy.control.evidence import Evidence
from proxy.control.guarding import Guard
from proxy.control.health import HealthChecks
from proxy.control.ledger import Ledger
from proxy.control.lines import log_line
from proxy.control.link import LinkServer, WorkerLink
from proxy.control.pooling import Pooling
from proxy.control.pulse import beat, read_hung
from proxy.control.reload import Reloader
from proxy.control.roster import Roster
from proxy.control.spool import NAME as SPOOL_NAME
from proxy.control.spool import Spool
from proxy.control.steering import Policy
from proxy.control.stores import Stores, installation_key
from proxy.control.view import ControllerView
from proxy.control.world import (
    Decision,
    Judged,
    SlotJoined,
    SlotQuiet,
    TableLoaded,
    WriteMissed,
)
from proxy.core.divergences import DifferenceRecord
from proxy.core.framing import LinkError, frame
from proxy.core.messages import (
    Applied,
    AskAgain,
    Bye,
    EndpointHealth,
    FromWorker,
    Full,
    Missing,
    NotAsked,
    Observation,
    Quiet,
    Report,
    SameAgain,
    States,
)
from proxy.observe.logging import configure_logging
from proxy.observe.metrics import Aggregator
from proxy.observe.observations import Observations
from proxy.observe.tracing import Traces
from proxy.store.records import Transition
from proxy.store.state import StoreError

ADMIN_SHUTDOWN_S = 1.0
STATE_WITHIN_S = 5.0  # then the file is read all the same, so that its errors are told

log = structlog.get_logger("proxy.control")


class Controller:
    """Knows who has to be told what. Implements LinkOwner."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._path = Path(options.config)
        self._key = installation_key(Path(options.state).parent)
        self._copies = Copies(Path(options.runtime), self._path)
        # Of the launcher's life: some keys need a restart.
        self._first = self._copies.kept(FIRST)
        if self._first is None:
            raise StoreError("the launcher's copy of the configuration cannot be read")
        stores = Stores.of(self._first, Path(options.state), options.replica)
        self._read: tuple[Config, list[Finding]] | None = None  # and not in force yet
        self._is_ready = False
        self._is_stale = False
        self._full: tuple[int, bytes] | None = None  # of a revision
        self._roster = Roster(options.slots)
        self._counts = Aggregator(time.monotonic())
        self._traces = Traces(log)
        spool = Spool(Path(options.state).with_name(SPOOL_NAME))
        self._alerts = Alerts(log, spool=spool, key=self._key)
        self._guard = Guard(self._judged, self._alerts.tell_low_coverage)
        self._evidence = Evidence(
            self._key,
            self._counts,
            Observations(log),
            self._ask_again,
            self._trace,
            self._guard.assessed,
            stores.divergences,
        )
        self._comparers = Comparers(options.comparers, self._evidence.compared)
        self._link = LinkServer(options.slots, self)
        self._ledger = Ledger(
            options.slots,
            stores.state,
            stores.snapshot,
            self._publish,
            self._moved,
            self._heard,
            memory=options.known_fd,
        )
        self._pooling: Pooling | None = None
        if stores.url is not None:
            self._pooling = Pooling(
                self._guard.pool, self._guard.heard, stores.evidence, stores.replica
            )
        self._health = HealthChecks(self._health_changed)
        self._reloader = Reloader(self._path, self._loaded, self._refused)
        self._view = ControllerView(
            options.config,
            self._ledger,
            self._roster,
            self._counts,
            self._link.disconnects,
            self._comparers,
            self._evidence,
            self._traces.counts,
            self._guard,
            Commands(self._ledger, self._key, self._guard.verdict),
            self._alerts.counts,
            self._pooling.counts if self._pooling is not None else {},
            partial(read_hung, options.pulse_fd),
        )

    async def run(self) -> None:
        """Control until SIGTERM."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, self._reloader.ask)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stopping.set)
        link = socket.socket(fileno=self._options.link_fd)
        results = socket.socket(fileno=self._options.results_fd)
        admin = socket.socket(fileno=self._options.admin_fd)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(beat(self._options.pulse_fd, self._options.pulse_at)),
                group.create_task(self._ledger.run()),
                group.create_task(self._read_the_file()),
                group.create_task(self._health.run()),
                group.create_task(self._link.serve(link)),
                group.create_task(self._comparers.serve(results)),
                group.create_task(self._evidence.run()),
                group.create_task(self._guard.run()),
                group.create_task(self._alerts.run()),
                group.create_task(self._traces.run()),
                group.create_task(self._serve_admin(admin)),
            ]
            if self._pooling is not None:
                tasks.append(group.create_task(self._pooling.run()))
            await stopping.wait()
            # Told to stop while workers serve on, it will be started again.
            self._ledger.leaves = not self._link.workers
            for task in tasks:
                task.cancel()
        log.info("controller ends")

    # What was read

    async def _read_the_file(self) -> None:
        """Read it once the state is known, which says what of it is unwise; then watch it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATE_WITHIN_S):
                await self._ledger.begun.wait()
        await self._reloader.run()

    def _loaded(self, loaded: Loaded, data: bytes, asked: bool) -> None:
        config = loaded.config
        assert config is not None
        findings = [*loaded.findings, *self._seen_from_what_is_in_force(config)]
        for finding in findings:
            log.warning(
                "configuration finding", finding=str(finding), code=finding.code, file=finding.file
            )
        configure_logging("controller", config.telemetry.log_format)
        self._read = (config, findings)
        self._view.read()
        self._copies.keep(data, LAST_GOOD)
        self._submit(config, forced=asked)
        self._tell_what_is_in_force()

    def _tell_what_is_in_force(self) -> None:
        """What was read last is loaded once it is in force: the state store may not take it."""
        world = self._ledger.world
        if self._read is None or world is None or not world.routes:
            return
        config, findings = self._read
        if cast(Config, world.source).text_digest == config.text_digest:
            self._view.loaded(findings)
            self._read = None

    def _seen_from_what_is_in_force(self, config: Config) -> list[Finding]:
        """What of this edit is unwise, or does not take effect before a restart."""
        findings: list[Finding] = []
        world = self._ledger.world
        if world is not None:
            records = world.stored.records
            before = {name: record.effective for name, record in records.items()}
            missed = {name: record.missed for name, record in records.items()}
            latched = {
                name: (record.latch.before, record.declared)
                for name, record in records.items()
                if record.latch is not None
            }
            findings += lint(config, before, missed, latched)
        if self._first is not None:
            findings += changes_for_restart(self._first, config)
        return findings

    def _refused(self, findings: Sequence[Finding]) -> None:
        self._view.refused(findings)
        self._alerts.tell(refused_edit(self._options.config, findings, time.time()))
        for finding in findings:
            if finding.severity == "error":
                log.error("configuration refused", finding=str(finding), code=finding.code)
        world = self._ledger.world
        if world is None or not world.routes:
            self._use_the_last_good_one()
        log.error("the last good configuration stays in force", errors=self._view.config_errors)

    def _use_the_last_good_one(self) -> None:
        """This controller is new and the file is bad: what the one before it had is used."""
        config = self._copies.kept(LAST_GOOD)
        if config is not None:
            self._submit(config, forced=False)

    def _submit(self, config: Config, forced: bool) -> None:
        self._ledger.submit(
            TableLoaded(
                routes=config.routes,
                digest=config.text_digest,
                switch_timeout_s=config.switch_timeout_s,
                forced=forced,
                policies={
                    route.name: Policy(config.reverts[route.name], config.advances[route.name])
                    for route in config.routes
                },
                source=config,
            )
        )

    # What was decided

    def _publish(self, decision: Decision) -> None:
        world = decision.world
        self._guard.use(world)
        self._tell_whether_stale()
        if decision.new_table:
            config = cast(Config, world.source)
            self._counts.retain(world.routes, time.monotonic())
            self._evidence.retain(world.routes)
            folder = str(self._path.parent)
            self._comparers.use(ruleset_of(world.generation, world.routes, self._key, folder))
            self._traces.configure(config.telemetry.otlp)
            self._alerts.configure(config.alerts)
            framed = self._framed()
            if framed is None:
                return
            for worker in self._link.workers.values():
                worker.send_full(framed)
            self._health.watch(config.backends)
            log.info("table in force", generation=world.generation, routes=len(world.routes))
            self._tell_what_is_in_force()
            return
        if not decision.states:
            return
        present = {name: s for name, s in decision.states.items() if name in world.routes}
        states = States(world.generation, world.revision, present)
        for worker in self._link.workers.values():
            worker.send_states(states)

    def _tell_whether_stale(self) -> None:
        stale = self._view.stale()
        if stale is not None and not self._is_stale:
            log.warning("the file of another replica is newer", code=stale.code, finding=stale.text)
        elif stale is None and self._is_stale:
            log.info("no other replica has a newer file")
        self._is_stale = stale is not None

    def _framed(self) -> bytes | None:
        """The Full of the world as it is; None while there is none."""
        world = self._ledger.world
        if world is None or not world.routes:
            return None
        if self._full is None or self._full[0] != world.revision:
            config = cast(Config, world.source)
            snapshot = config.snapshot(world.generation, world.revision, world.states)
            try:
                self._full = world.revision, frame(Full(snapshot))
            except LinkError as error:
                log.critical("the table is too large for the workers", reason=str(error))
                return None
        return self._full[1]

    def _health_changed(self, health: EndpointHealth) -> None:
        for worker in self._link.workers.values():
            worker.send_health(health)

    # LinkOwner

    def joined(self, worker: WorkerLink) -> None:
        log.info("worker connected", slot=worker.slot, worker_pid=worker.pid)
        self._roster.joined(worker.slot, worker.pid, worker.compiled)
        self._ledger.submit(SlotJoined(worker.slot))
        framed = self._framed()
        if framed is not None:
            worker.send_full(framed)
        for health in self._health.down():
            worker.send_health(health)

    def left(self, worker: WorkerLink) -> None:
        log.info("worker disconnected", slot=worker.slot, worker_pid=worker.pid)
        self._roster.left(worker.slot)
        self._counts.disconnected(worker.slot)

    def received(self, worker: WorkerLink, message: FromWorker) -> None:
        match message:
            case Report():
                now = time.monotonic()
                self._counts.apply(message, now)
                self._guard.reported(message, now)
                self._evidence.reported(message)
                self._roster.reported(message)
            case Applied():
                self._roster.applied(message)
                self._tell_ready()
            case Quiet():
                self._ledger.submit(SlotQuiet(message.slot, message.route, message.revision))
            case Missing():
                self._ledger.submit(WriteMissed(message.route, message.side, message.reason))
            case NotAsked():
                self._evidence.not_asked(message)
            case SameAgain():
                self._evidence.same_again(message)
            case Bye():
                log.info("worker drained", slot=worker.slot, worker_pid=worker.pid)

    def _trace(
        self, seen: Observation, result: str | None, differences: tuple[DifferenceRecord, ...]
    ) -> None:
        world = self._ledger.world
        if world is None or not self._traces.is_on:
            return
        route = world.routes.get(seen.route)
        if route is not None:
            config = cast(Config, world.source)
            scheme = "http" if config.tls is None else "https"
            self._traces.observe(
                seen,
                route,
                config.backends,
                result=result,
                differences=differences,
                scheme=scheme,
            )

    def _tell_ready(self) -> None:
        world = self._ledger.world
        if self._is_ready or world is None or not world.routes:
            return
        if self._roster.all_serve(world.generation):
            self._is_ready = True
            turns.take(turns.OF_THE_CONTROLLER)
            with contextlib.suppress(OSError):
                os.write(self._options.ready_fd, b"\n")

    # Judging

    def _judged(self, judged: Judged) -> None:
        self._ledger.submit(judged)

    def _moved(self, line: Transition) -> None:
        self._view.moved(line)
        if (notice := notice_of(line)) is not None:
            self._alerts.tell(notice)

    def _heard(self, line: Transition) -> None:
        """Another replica moved a route: it has told those who are to be alerted."""
        log_line("route changed by another replica", line)
        self._view.moved(line, elsewhere=True)

    # Comparing

    def _ask_again(self, slot: int, question: AskAgain) -> bool:
        worker = self._link.workers.get(slot)
        return worker is not None and worker.ask(question)

    async def _serve_admin(self, admin: socket.socket) -> None:
        app = make_app(self._view, self._options.admin_host)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=ADMIN_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.SockSite(runner, admin).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one controller until it is told to stop. The launcher starts it."""
    options = arguments(argv)
    configure_logging("controller", options.log_format)
    turns.take(turns.OF_A_STARTING_CONTROLLER)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Controller(options).run())
    except Exception:
        log.exception("controller failed")
        return 1
    return 0


if __name__ == "__main__":
    _code = main()
    # To take the interpreter apart is most of the work of ending: seconds, on a busy processor.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
