"""The launcher: opens the sockets, starts controller and workers, restarts them, drains.

It serves nothing itself, and of state holds only what its controller remembers. Rules:

1. It starts nothing before everything that can be checked was found good: file, addresses, state
   store. Otherwise StartError, and nothing was touched.
2. The sockets outlive the children: a child that dies leaves its queued connections to the next.
3. Drain: the launcher closes its copies of the listening sockets and only then asks the workers to
   stop. A worker's own copy keeps its queue alive until it has taken what is queued; the other
   order would leave clients queued at a socket that nobody accepts from any more.
4. A child whose loop stands still is killed and started again (`watchdog`).
5. Workers go first, then comparers, the controller last: it receives their last counts and their
   last alarms.
"""

import contextlib
import json
import os
import resource
import secrets
import select
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from proxy.config import Config, Finding, TcpAddress, load_bytes
from proxy.config.source import UnreadableError, read_source
from proxy.control import turns
from proxy.control.children import LOUD_AFTER_FAILURES, Child
from proxy.control.copies import FIRST
from proxy.control.pulse import place, write_hung
from proxy.control.runtime import LINK_NAME, RESULTS_NAME, comparer_name, private_directory
from proxy.control.sockets import ListenError, Listeners, listen, listen_link
from proxy.control.watchdog import Watchdog, Watched
from proxy.core.descriptors import is_too_little, room
from proxy.observe.logging import configure_logging
from proxy.store.opening import check_shared_state, check_state
from proxy.store.state import StoreError

MOST_DESCRIPTORS = 1 << 20
# glibc gives large pieces of body back to the system when they are freed, and asks for them again,
# page by page, for the next one: half of the system time at 64 KiB bodies.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
# For how long a loop may stand still. Who serves clients, or is the last to get the processor, is
# borne longer: without a controller nobody judges, a worker in vain takes its clients with it.
CONTROLLER_PATIENCE_S = 10.0
PATIENCE_S = 30.0
KILL_AFTER_GRACE_S = 5.0  # a worker gets this beyond its grace, the controller only this

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class StartError(Exception):
    """Banyan cannot start; the text is for the operator. `findings` are those of the file."""

    def __init__(self, text: str, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(text)
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Options:
    """What `banyan serve` was asked for."""

    config: Path
    grace_s: float = 30.0
    ready_file: Path | None = None
    worker_module: str = "proxy.edge.worker"
    controller_module: str = "proxy.control.controller"
    comparer_module: str = "proxy.observe.comparer"


def serve(options: Options) -> int:
    """Serve until told to stop; the exit code. Raises StartError when it cannot start."""
    if options.ready_file and not _names_a_live_process(options.ready_file):
        # One of before would be believed.
        options.ready_file.unlink(missing_ok=True)
    config, data = _load(options.config)
    configure_logging("launcher", config.telemetry.log_format)
    _check_state(config)
    _raise_the_descriptor_limit()
    _warn_of_few_descriptors(config)
    with contextlib.ExitStack() as cleanup:
        runtime = cleanup.enter_context(private_directory())
        # What a controller compares later edits with: some keys need a restart of the launcher.
        (runtime / FIRST).write_bytes(data)
        try:
            public = listen(config.listen, config.workers, "listen")
            cleanup.callback(public.close)
            cleanup.callback(public.unlink)
            admin = listen(config.admin.listen, 1, "admin.listen")
            cleanup.callback(admin.close)
            cleanup.callback(admin.unlink)
            link = listen_link(str(runtime / LINK_NAME))
            cleanup.callback(link.close)
            results = listen_link(str(runtime / RESULTS_NAME))
            cleanup.callback(results.close)
            suspects = [
                listen_link(str(runtime / comparer_name(number)))
                for number in range(config.comparers)
            ]
            for each in suspects:
                cleanup.callback(each.close)
        except ListenError as error:
            raise StartError(str(error)) from error
        if options.ready_file:
            options.ready_file.unlink(missing_ok=True)
        inside = Inside(link, results, suspects, runtime)
        launcher = Launcher(options, config, public, admin, inside)
        cleanup.callback(launcher.close)
        return launcher.run()


def _names_a_live_process(ready_file: Path) -> bool:
    """Whether it is of a Banyan that serves: a second start, which will fail, leaves it alone."""
    try:
        os.kill(int(json.loads(ready_file.read_text())["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError, ValueError, KeyError, TypeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Inside:
    """The sockets between the processes, in the private directory."""

    link: Listeners  # of the workers, at the controller
    results: Listeners  # of the comparers, at the controller
    suspects: list[Listeners]  # of the workers, at each comparer
    runtime: Path


class Launcher:
    """The loop over signals, deaths and restarts."""

    def __init__(
        self,
        options: Options,
        config: Config,
        public: Listeners,
        admin: Listeners,
        inside: Inside,
    ) -> None:
        self._options = options
        self._public = public
        self._log = structlog.get_logger()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ready_read, self._ready_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # What one controller knew, for the next one, also where no disk takes it.
        self._known = os.memfd_create("banyan-known", os.MFD_CLOEXEC)
        self._pulse = os.memfd_create("banyan-pulse", os.MFD_CLOEXEC)
        self._hung: Counter[str] = Counter()
        self._urls = {
            "listen": public.url("https" if config.tls else "http"),
            "admin": admin.url("http"),
        }
        self._is_ready = False
        self._clean = True
        self._workers = [
            _worker(options, config, slot, public.fileno(slot), inside, self._pulse)
            for slot in range(config.workers)
        ]
        self._comparers = [
            _comparer(options, config, number, each.fileno(0), inside, self._pulse)
            for number, each in enumerate(inside.suspects)
        ]
        admin_host = (
            ["--admin-host", admin.address.host] if isinstance(admin.address, TcpAddress) else []
        )
        self._controller = Child(
            "controller",
            options.controller_module,
            [
                *("--config", str(options.config)),
                *("--replica", secrets.token_hex(8)),
                *("--slots", str(config.workers)),
                *("--link-fd", str(inside.link.fileno(0))),
                *("--results-fd", str(inside.results.fileno(0))),
                *("--comparers", str(config.comparers)),
                *("--admin-fd", str(admin.fileno(0))),
                *("--ready-fd", str(self._ready_write)),
                *("--known-fd", str(self._known)),
                *_pulse(self._pulse, 0),
                *("--runtime", str(inside.runtime)),
                *("--state", str(config.state.sqlite_path)),
                *("--log-format", config.telemetry.log_format),
                *admin_host,
            ],
            [
                *(inside.link.fileno(0), inside.results.fileno(0), admin.fileno(0)),
                *(self._ready_write, self._known, self._pulse),
            ],
        )
        self._children = [self._controller, *self._workers, *self._comparers]
        watched = [
            Watched(child, place(number), CONTROLLER_PATIENCE_S if number == 0 else PATIENCE_S)
            for number, child in enumerate(self._children)
        ]
        self._watchdog = Watchdog(self._pulse, watched, time.monotonic())

    def run(self) -> int:
        """Serve until a drain is done; 0 if every child ended by itself."""
        with self._signals():
            signum = self._until_told_to_stop()
            self._log.info("draining", signal=signum.name, grace_s=self._options.grace_s)
            self._stop_accepting()
            self._drain(self._workers, self._options.grace_s + KILL_AFTER_GRACE_S)
            self._drain(self._comparers, KILL_AFTER_GRACE_S)
            self._drain([self._controller], KILL_AFTER_GRACE_S)
        self._log.info("stopped", clean=self._clean)
        return 0 if self._clean else 1

    def close(self) -> None:
        """Whatever happened: leave no child and no descriptor behind."""
        for child in self._children:
            child.kill("the launcher ends")
        pipes = (self._wake_read, self._wake_write, self._ready_read, self._ready_write)
        for each in (*pipes, self._known, self._pulse):
            os.close(each)
        if self._options.ready_file and self._is_ready:
            self._options.ready_file.unlink(missing_ok=True)

    def _until_told_to_stop(self) -> signal.Signals:
        while True:
            self._start_due_children()
            self._kill_the_hung()
            for signum in self._wait(min(self._next_restart(), self._watchdog.next_look)):
                if signum in (signal.SIGTERM, signal.SIGINT):
                    return signum
                if signum is signal.SIGHUP:
                    self._log.info("reload asked for", signal="SIGHUP")
                    self._controller.send(signal.SIGHUP)

    def _kill_the_hung(self) -> None:
        for child, silent_s in self._watchdog.look(time.monotonic()):
            self._hung[child.name.partition(" ")[0]] += 1
            write_hung(self._pulse, self._hung)
            self._log.critical(
                "child is hung, killing it", child=child.name, pid=child.pid, silent_s=silent_s
            )
            child.kill(f"it was hung for {silent_s:.0f} s")

    def _stop_accepting(self) -> None:
        for worker in self._workers:
            worker.stay_down()
        self._public.unlink()
        self._public.close()

    def _drain(self, children: list[Child], longest_s: float) -> None:
        """SIGTERM, then wait; SIGKILL at the deadline or at a second SIGTERM or SIGINT."""
        for child in children:
            child.stay_down()
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + longest_s
        while any(child.pid for child in children):
            signals = self._wait(min(deadline, self._next_restart()))
            hurried = signal.SIGTERM in signals or signal.SIGINT in signals
            if hurried or time.monotonic() >= deadline:
                self._clean = False
                left = [child.name for child in children if child.pid]
                self._log.warning("drain cut short", killed=left, by_signal=hurried)
                for child in self._children:
                    child.stay_down()
                    child.kill("the drain was cut short")
                deadline = float("inf")
            elif children != [self._controller]:
                # Workers that finish writes may still need the controller.
                self._start_due_children()

    def _wait(self, until: float) -> list[signal.Signals]:
        """Wait for a signal or that time; the dead are reaped on the way. SIGCHLD is dealt with."""
        timeout = None if until == float("inf") else max(until - time.monotonic(), 0.0)
        readable, _, _ = select.select([self._wake_read, self._ready_read], [], [], timeout)
        if self._ready_read in readable:
            os.read(self._ready_read, 4096)
            self._say_ready()
        received: list[signal.Signals] = []
        if self._wake_read in readable:
            received = [signal.Signals(number) for number in os.read(self._wake_read, 4096)]
        self._reap()
        return received

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # As process 1 of a container strangers are ours to reap as well.
            child = next((each for each in self._children if each.pid == pid), None)
            if child is not None:
                self._ended(child, pid, status)

    def _ended(self, child: Child, pid: int, status: int) -> None:
        told_to_stop = child.is_told_to_stop
        reason = child.ended(status, time.monotonic())
        fields = {"child": child.name, "pid": pid, "reason": reason}
        if told_to_stop:
            # SIGTERM ends a child by itself only while it has not begun: nothing was cut short.
            has_not_begun = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
            self._clean &= status == 0 or has_not_begun
            self._log.info("child ended", **fields)
        elif child.failures >= LOUD_AFTER_FAILURES:
            self._log.critical("child keeps dying", times=child.failures, **fields)
        else:
            self._log.error("child died, restarting it", **fields)

    def _next_restart(self) -> float:
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        return min(due, default=float("inf"))

    def _start_due_children(self) -> None:
        for child in self._children:
            now = time.monotonic()
            if child.restart_at is None or child.restart_at > now:
                continue
            self._watchdog.forget_beats(child)
            try:
                child.start(now)
            except OSError as error:
                child.start_failed(now)
                self._log.critical("child cannot be started", child=child.name, reason=str(error))
            else:
                self._log.info("child started", child=child.name, pid=child.pid)

    def _say_ready(self) -> None:
        if self._is_ready:
            return
        self._is_ready = True
        self._log.info(f"banyan: serving on {self._urls['listen']}, admin on {self._urls['admin']}")
        if self._options.ready_file:
            ready = {"pid": os.getpid(), "config": str(self._options.config), **self._urls}
            fresh = self._options.ready_file.with_name(f".{self._options.ready_file.name}.new")
            fresh.write_text(json.dumps(ready) + "\n")
            fresh.replace(self._options.ready_file)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into bytes on a pipe for the duration: no handler runs anything."""
        before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
        wakeup_before = signal.set_wakeup_fd(self._wake_write)
        for signum in _SIGNALS:
            signal.signal(signum, lambda _signum, _frame: None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for signum, handler in before.items():
                signal.signal(signum, handler)


def _pulse(page: int, number: int) -> tuple[str, ...]:
    """Where the child of this number, of all in their order, says that its loop turns."""
    return "--pulse-fd", str(page), "--pulse-at", str(place(number))


def _comparer(
    options: Options, config: Config, number: int, listen_fd: int, inside: Inside, page: int
) -> Child:
    arguments = [
        *("--number", str(number)),
        *("--listen-fd", str(listen_fd)),
        *("--controller", str(inside.runtime / RESULTS_NAME)),
        *_pulse(page, 1 + config.workers + number),
    ]
    return Child(f"comparer {number}", options.comparer_module, arguments, [listen_fd, page])


def _worker(
    options: Options, config: Config, slot: int, listen_fd: int, inside: Inside, page: int
) -> Child:
    sockets = [str(inside.runtime / comparer_name(n)) for n in range(config.comparers)]
    arguments = [
        *("--slot", str(slot)),
        *("--listen-fd", str(listen_fd)),
        *("--link", str(inside.runtime / LINK_NAME)),
        *("--comparers", *sockets),
        *("--grace", f"{options.grace_s:g}"),
        *("--workers", str(config.workers)),
        *_pulse(page, 1 + slot),
    ]
    if config.tls:
        arguments += ["--tls-cert", config.tls.cert, "--tls-key", config.tls.key]
    name, keep_fds = f"worker {slot}", [listen_fd, page]
    return Child(name, options.worker_module, arguments, keep_fds, MALLOC, turns=turns.OF_A_WORKER)


def _load(path: Path) -> tuple[Config, bytes]:
    try:
        data = read_source(path)
    except UnreadableError as error:
        raise StartError(f"{path}: {error}") from error
    loaded = load_bytes(data, path, os.environ)
    if loaded.config is None:
        raise StartError(f"{path} has errors; nothing was started", loaded.findings)
    return loaded.config, data


def _check_state(config: Config) -> None:
    """Refuse here what would leave the controller without its state."""
    try:
        if config.state.redis_url is not None:
            check_shared_state(config.state.redis_url, config.state.sqlite_path)
        elif trouble := check_state(config.state.sqlite_path):
            log = structlog.get_logger()
            log.critical("state store is damaged, its snapshot is used instead", reason=trouble)
    except StoreError as error:
        raise StartError(str(error)) from error


def _raise_the_descriptor_limit() -> None:
    """A proxy needs two descriptors a client; the usual soft limit of 1,024 is for select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _warn_of_few_descriptors(config: Config) -> None:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    fits = room(descriptors, config.backends, config.workers)
    if is_too_little(fits, config.limits, config.backends, config.workers):
        structlog.get_logger().warning(
            "too few open files for connections and max_connections: raise their limit (ulimit -n)",
            open_files=descriptors,
            clients=fits.clients * config.workers,
            **{f"backend_{name}": most * config.workers for name, most in fits.backends.items()},
        )
