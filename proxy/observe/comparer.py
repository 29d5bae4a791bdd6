"""A comparer process: takes suspects from workers, compares, tells the controller.

`python -m proxy.observe.comparer --number N --listen-fd FD --controller PATH`. It is the only
process in which bodies are taken apart, and it is expendable:

1. It runs only when nobody else wants the processor (SCHED_IDLE), and is the first to be killed
   when memory runs out; a crash loses the batches it had. With a small share instead (nice 19) a
   client's p99 at half of saturation was a millisecond longer: who wakes up waits for a tick.
2. One thing after the other, in one thread: a worker sends its next batch when one is judged, so
   that the work that waits here is bounded by the number of workers. Whose turn it is goes by the
   time that each route has had: one whose comparisons take seconds holds up others for one of them.
3. A comparison has COMPARISON_S, by SIGALRM: what takes longer is the comparator's failure.
4. Until it has rules it reads nothing; workers then shed, counted.
5. Results that no controller takes are kept up to a bound, then dropped and counted by route.
6. Where it can do next to nothing of what there is to do, and has to wait for the processor, it
   takes a part of what is left of it and not all: it rests for a multiple of the time it waited.
   Who answers clients there would pay, with cold caches and a change of process before each
   request, for a few comparisons more among thousands that are shed.
"""

import argparse
import contextlib
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import FrameType

from proxy.core.allowance import Allowance
from proxy.core.framing import LinkError, Unframer, comparer_unframer, frame
from proxy.core.messages import Batch, Judged, Suspect, size_of
from proxy.core.turns import Turns
from proxy.observe.compared import Result, Results, Ruleset, ruleset_unframer
from proxy.observe.comparing import Comparing, OutOfTimeError

COMPARISON_S = 3.0
SEND_TIMEOUT_S = 5.0
RECONNECT_S = 0.2
READ_BYTES = 256 << 10
MAX_KEPT_RESULTS = 5000
MAX_HELD_BYTES = 64 << 20  # of suspects that wait here: what more there is waits in the sockets
SLICE_S = 0.01  # of comparing, before the sockets are looked at again
# Times as long as it was kept waiting. Of a processor that others use to 70 % it takes some 4 %
# then, and the p99 of a route whose large answers all diverge is that of one that is not compared;
# with all that is left, 1.3 to 1.5 times that (benchmarks, `comparing`).
RESTS = 10.0
RESTS_ABOVE = 0.95  # of what there was to compare lately was shed
LATELY_S = 1.0
MOST_SHED = 50  # that count for each suspect
SHORTEST_REST_S = 0.001
LONGEST_REST_S = 0.5
MAX_MEMORY_BYTES = 2 << 30
NICENESS = 19
BEAT_EVERY_S = 0.5
# Answers that are kept with a divergence: redacting a whole body costs as much as comparing it.
RECORDS_A_SECOND = 20.0
MAX_SAVED_RECORDS = 20.0


class Waited:
    """How long this thread has been kept waiting for a processor, in seconds; 0.0 if unknown.

    https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
    """

    def __init__(self, path: str = "/proc/thread-self/schedstat") -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def seconds(self) -> float:
        """Since the thread began."""
        try:
            return int(os.pread(self._file, 100, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0


class _Job:
    """A batch that is being judged."""

    __slots__ = ("batch", "left", "seconds", "size", "worker")

    def __init__(self, worker: socket.socket, batch: Batch) -> None:
        self.worker = worker
        self.batch = batch
        self.size = sum(map(size_of, batch.suspects))
        self.left = len(batch.suspects)
        self.seconds = [0.0] * self.left


class Comparer:
    """The loop over sockets."""

    def __init__(
        self, number: int, listener: socket.socket, controller: str, pulse: tuple[int, int] | None
    ) -> None:
        self._pulse = pulse  # a descriptor, and the place there
        self._beat_at = 0.0
        self._number = number
        self._listener = listener
        self._controller_path = controller
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._workers: dict[socket.socket, Unframer[Batch]] = {}
        self._controller: socket.socket | None = None
        self._rulesets = ruleset_unframer()
        self._retry_at = 0.0
        self._comparing = Comparing()
        self._turns: Turns[str] = Turns()  # of the routes
        self._waiting: dict[str, deque[tuple[_Job, int]]] = {}  # of each route, in their order
        self._held_bytes = 0
        self._kept: deque[Result] = deque()
        self._dropped: dict[str, int] = {}
        self._busy_s = 0.0
        self._records = Allowance(RECORDS_A_SECOND, MAX_SAVED_RECORDS)
        self._waited = Waited()
        self._asked = self._shed = 0.0  # pairs of late, halved every LATELY_S
        self._halved_at = 0.0
        self.is_told_to_stop = False

    def run(self) -> None:
        """Compare until told to stop, and what has come by then."""
        while True:
            self._beat()
            self._connect()
            is_idle = not self._waiting and not self.is_told_to_stop
            ready = self._selector.select(RECONNECT_S if is_idle else 0)
            if self.is_told_to_stop and not ready and not self._waiting:
                self._comparing.close()
                return
            for key, _ in ready:
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    self._accept()
                elif one is self._controller:
                    self._read_rules(one)
                elif one in self._workers and self._held_bytes < MAX_HELD_BYTES:
                    self._read_batches(one)
                # Else it waits, or was closed on account of one before it.
            waited = self._waited.seconds()
            judged = self._judge_for_a_while()
            self._tell()
            for job in judged:
                self._finish(job)
            self._rest(RESTS * (self._waited.seconds() - waited))

    def _rest(self, seconds: float) -> None:
        """If nearly all there is to do is shed: who keeps up, or nearly, does not rest."""
        if seconds < SHORTEST_REST_S or self.is_told_to_stop:
            return
        if self._shed > RESTS_ABOVE * self._asked:
            time.sleep(min(seconds, LONGEST_REST_S))

    def _beat(self) -> None:
        """Tell the launcher that the loop turns: a number that changes."""
        now = time.monotonic()
        if self._pulse is not None and now - self._beat_at >= BEAT_EVERY_S:
            self._beat_at = now
            descriptor, at = self._pulse
            os.pwrite(descriptor, time.monotonic_ns().to_bytes(8, "little"), at)

    # The controller

    def _connect(self) -> None:
        now = time.monotonic()
        if self._controller is not None or now < self._retry_at:
            return
        self._retry_at = now + RECONNECT_S
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh.settimeout(SEND_TIMEOUT_S)
        try:
            fresh.connect(self._controller_path)
        except OSError:
            fresh.close()
            return
        self._controller = fresh
        self._rulesets = ruleset_unframer()
        self._selector.register(fresh, selectors.EVENT_READ)
        self._tell()

    def _read_rules(self, controller: socket.socket) -> None:
        try:
            data = controller.recv(READ_BYTES)
            if not data:
                raise ConnectionError("the controller left")
            for ruleset in self._rulesets.feed(data):
                self._take_rules(ruleset)
        except (OSError, LinkError):
            self._disconnect()

    def _take_rules(self, ruleset: Ruleset) -> None:
        began = not self._comparing.has_rules
        self._comparing.use(ruleset)
        if began:
            for worker in self._workers:
                self._selector.register(worker, selectors.EVENT_READ)

    def _disconnect(self) -> None:
        if self._controller is not None:
            self._selector.unregister(self._controller)
            self._controller.close()
            self._controller = None

    def _tell(self) -> None:
        """Everything that is kept, if somebody takes it."""
        controller = self._controller
        if controller is None or not (self._kept or self._dropped):
            return
        message = Results(self._number, list(self._kept), self._dropped, self._busy_s)
        try:
            controller.sendall(frame(message))
        except OSError:
            # It may have taken half of it; the other half is of no use to the next one.
            self._disconnect()
        self._kept.clear()
        self._dropped = {}
        self._busy_s = 0.0

    def _keep(self, result: Result) -> None:
        if len(self._kept) >= MAX_KEPT_RESULTS:
            self._drop(self._kept.popleft().observation.route)
        self._kept.append(result)

    def _drop(self, route: str) -> None:
        """A route whose rules are not here (yet), or a result that nobody took in time."""
        if route in self._dropped or len(self._dropped) < MAX_KEPT_RESULTS:
            self._dropped[route] = self._dropped.get(route, 0) + 1

    def _may_record(self) -> bool:
        return self._records.take(time.monotonic())

    # The workers

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            worker, _ = self._listener.accept()
            worker.settimeout(SEND_TIMEOUT_S)
            self._workers[worker] = comparer_unframer()
            if self._comparing.has_rules:
                self._selector.register(worker, selectors.EVENT_READ)

    def _read_batches(self, worker: socket.socket) -> None:
        try:
            data = worker.recv(READ_BYTES)
            if not data:
                raise ConnectionError("the worker left")
            for batch in self._workers[worker].feed(data):
                self._put(_Job(worker, batch))
        except (OSError, LinkError):
            self._leave(worker)

    def _leave(self, worker: socket.socket) -> None:
        """What has come from it is judged all the same."""
        self._selector.unregister(worker)
        del self._workers[worker]
        worker.close()

    # Judging

    def _put(self, job: _Job) -> None:
        self._held_bytes += job.size
        if (now := time.monotonic()) - self._halved_at >= LATELY_S:
            self._halved_at = now
            self._asked, self._shed = self._asked / 2, self._shed / 2
        # Bounded, so that what was shed while no comparer was there is soon forgotten.
        shed = min(job.batch.shed, MOST_SHED * job.left)
        self._asked += job.left + shed
        self._shed += shed
        for at, suspect in enumerate(job.batch.suspects):
            route = suspect.observation.route
            self._waiting.setdefault(route, deque()).append((job, at))
            self._turns.enter(route)
        if not job.left:
            self._finish(job)

    def _judge_for_a_while(self) -> list[_Job]:
        """Those that are done with it."""
        done: list[_Job] = []
        until = time.perf_counter() + SLICE_S
        while (route := self._turns.take()) is not None:
            waiting = self._waiting[route]
            job, at = waiting.popleft()
            began = time.perf_counter()
            self._judge(job.batch.slot, job.batch.suspects[at])
            ended = time.perf_counter()
            job.seconds[at] = ended - began
            job.left -= 1
            self._busy_s += ended - began
            self._turns.charge(route, ended - began)
            if waiting:
                self._turns.enter(route)
            else:
                del self._waiting[route]
            if not job.left:
                done.append(job)
            if ended >= until:
                break
        return done

    def _finish(self, job: _Job) -> None:
        self._held_bytes -= job.size
        if job.worker in self._workers:
            try:
                job.worker.sendall(frame(Judged(job.batch.number, job.seconds)))
            except OSError:
                self._leave(job.worker)

    def _judge(self, slot: int, suspect: Suspect) -> None:
        try:
            with _time_limit(COMPARISON_S):
                result = self._comparing.result(slot, suspect, self._may_record)
        except OutOfTimeError as error:
            result = self._comparing.failed(slot, suspect, str(error))
        if result is not None:
            self._keep(result)
        else:
            self._drop(suspect.observation.route)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    # Again and again, should somebody on the way swallow the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _out_of_time(_: int, __: FrameType | None) -> None:
    raise OutOfTimeError(f"took longer than {COMPARISON_S:g} s")


def _step_back() -> None:
    """Leave the processor to whoever answers clients."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        os.nice(NICENESS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one comparer until SIGTERM. The launcher starts it."""
    parser = argparse.ArgumentParser(prog="proxy.observe.comparer")
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--controller", required=True, help="the socket that takes results")
    parser.add_argument("--pulse-fd", type=int, help="where it tells that its loop turns")
    parser.add_argument("--pulse-at", type=int, help="the place of it there, in bytes")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, _out_of_time)
    _step_back()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")
    listener = socket.socket(fileno=options.listen_fd)
    listener.setblocking(False)
    pulse = None if options.pulse_fd is None else (options.pulse_fd, options.pulse_at)
    comparer = Comparer(options.number, listener, options.controller, pulse)

    def stop(_: int, __: FrameType | None) -> None:
        comparer.is_told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    comparer.run()
    return 0


if __name__ == "__main__":
    _code = main()
    # To take the interpreter apart is most of the work of ending: seconds, on a busy processor.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
