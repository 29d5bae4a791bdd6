"""An open-loop load generator: a constant rate, latency from the time a request was due.

wrk waits for an answer before it sends the next request, so it cannot say what a client sees at a
given rate; its successor wrk2 is not in Debian. This one keeps to its schedule whatever the
answers do: a request that is due while every connection is busy waits in a queue, and that wait
counts (no coordinated omission). Epoll and a timerfd by hand rather than asyncio: a third of the
CPU a request, and ticks finer than a millisecond. Every latency is kept, so quantiles are exact.

    python -m benchmarks.load --port P --rate R --seconds S --requests FILE

prints one line of JSON. Its own noise is found by pointing it at a bare backend.
"""

import argparse
import ctypes
import errno
import gc
import json
import os
import re
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from benchmarks.requests import read_set

LIBC = ctypes.CDLL(None, use_errno=True)
CLOCK_MONOTONIC = 1
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Ticks of the schedule: fine enough not to show in a p99, coarse enough to cost little CPU.
SHORTEST_TICK_S = 200e-6
LONGEST_TICK_S = 1e-3
# How long after the last request is due its answer is waited for.
PATIENCE_S = 5.0
RECEIVE_BYTES = 1 << 17


class Connection:
    """One kept-alive connection: at most one request under way."""

    __slots__ = ("due", "received", "sock", "total")

    def __init__(self, port: int):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.due = 0.0
        self.received = 0  # bytes of the answer so far
        self.total = 0  # bytes of the whole answer, 0 until its head is read


class Load:
    """A run against one port. `latencies_s` and `errors` are of the measured part."""

    def __init__(self, port: int, requests: Sequence[bytes], connections: int):
        self.port = port
        self.requests = requests
        self.epoll = select.epoll()
        self.by_fd: dict[int, Connection] = {}
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()  # due times of requests without a connection
        self.latencies_s = array("d")
        self.lags_s = array("d")
        self.errors = 0
        self.sent = 0
        self.answered = 0
        self.measured_from = 0.0
        for _ in range(connections):
            self.connect()

    def connect(self) -> None:
        connection = Connection(self.port)
        self.by_fd[connection.sock.fileno()] = connection
        self.epoll.register(connection.sock.fileno(), select.EPOLLIN)
        self.idle.append(connection)

    def run(self, rate: float, warm_up_s: float, seconds: float) -> None:
        """Send `rate` requests a second on schedule, then wait for the last answers."""
        interval = 1 / rate
        count = int(rate * (warm_up_s + seconds))
        timer = periodic_timer(min(max(interval, SHORTEST_TICK_S), LONGEST_TICK_S))
        self.epoll.register(timer, select.EPOLLIN)
        clock = time.perf_counter
        begin = clock()
        self.measured_from = begin + warm_up_s
        scheduled = 0
        gc.disable()
        try:
            deadline = begin + count * interval + PATIENCE_S
            while self.answered < count and clock() < deadline:
                for fd, _ in self.epoll.poll(1.0):
                    if (connection := self.by_fd.get(fd)) is not None:
                        self.receive(connection)
                    elif fd == timer:
                        os.read(timer, 8)  # this also arms it again
                    # Otherwise it is a connection replaced earlier in this batch.
                now = clock()
                due_by_now = min(int((now - begin) * rate) + 1, count)
                while scheduled < due_by_now:
                    self.waiting.append(begin + scheduled * interval)
                    scheduled += 1
                while self.waiting and self.idle:
                    self.send(self.idle.popleft(), self.waiting.popleft())
        finally:
            gc.enable()
            os.close(timer)
        # What was never answered took at least until now, and is an error as well.
        end = clock()
        pending = [one.due for one in self.by_fd.values() if one.due] + list(self.waiting)
        for due in pending:
            self.fail(due, end)

    def send(self, connection: Connection, due: float) -> None:
        request = self.requests[self.sent % len(self.requests)]
        self.sent += 1
        connection.due = due
        connection.received = connection.total = 0
        if due >= self.measured_from:
            self.lags_s.append(time.perf_counter() - due)
        try:
            accepted = connection.sock.send(request)
        except OSError:
            accepted = 0
        # A request of a kilobyte fits an idle connection's buffer unless the peer is gone.
        if accepted != len(request):
            self.replace(connection)

    def receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or not connection.due:
            self.replace(connection)
            return
        if not connection.total:
            # The head of an answer comes in one piece from every server measured here.
            head = data.find(b"\r\n\r\n")
            length = CONTENT_LENGTH.search(data, 0, head) if head > 0 else None
            if length is None or not data.startswith(b"HTTP/1.1 200"):
                self.replace(connection)
                return
            connection.total = head + 4 + int(length[1])
        connection.received += len(data)
        if connection.received < connection.total:
            return
        self.answered += 1
        if connection.due >= self.measured_from:
            self.latencies_s.append(time.perf_counter() - connection.due)
        connection.due = 0.0
        self.idle.append(connection)

    def replace(self, connection: Connection) -> None:
        """Count what was under way on a broken connection as an error; open another."""
        if connection.due:
            self.answered += 1
            self.fail(connection.due, time.perf_counter())
        elif connection in self.idle:
            self.idle.remove(connection)
        fd = connection.sock.fileno()
        self.epoll.unregister(fd)
        del self.by_fd[fd]
        connection.sock.close()
        self.connect()

    def fail(self, due: float, now: float) -> None:
        if due >= self.measured_from:
            self.errors += 1
            self.latencies_s.append(now - due)

    def close(self) -> None:
        for connection in self.by_fd.values():
            connection.sock.close()
        self.epoll.close()


def periodic_timer(seconds: float) -> int:
    """A non-blocking timerfd (timerfd_create(2)) that fires every so often."""
    fd: int = LIBC.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    nanoseconds = round(seconds * 1e9)
    times = struct.pack("4q", 0, nanoseconds, 0, nanoseconds)
    if fd < 0 or LIBC.timerfd_settime(fd, 0, times, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, errno.errorcode.get(code, "timerfd"))
    return fd


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the sorted values does not exceed."""
    if not ordered:
        return float("nan")
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warm-up", type=float, default=0.5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--requests", type=Path, required=True)
    options = parser.parse_args(arguments)

    load = Load(options.port, read_set(options.requests), options.connections)
    cpu_before = time.process_time()
    load.run(options.rate, options.warm_up, options.seconds)
    cpu_s = time.process_time() - cpu_before
    load.close()
    latencies = sorted(load.latencies_s)
    lags = sorted(load.lags_s)
    figures = {
        "requests": len(latencies),
        "errors": load.errors,
        "p50_ms": quantile(latencies, 0.50) * 1000,
        "p90_ms": quantile(latencies, 0.90) * 1000,
        "p99_ms": quantile(latencies, 0.99) * 1000,
        "p999_ms": quantile(latencies, 0.999) * 1000,
        "max_ms": latencies[-1] * 1000 if latencies else float("nan"),
        "lag_p99_ms": quantile(lags, 0.99) * 1000,
        "cpu_s": cpu_s,
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
