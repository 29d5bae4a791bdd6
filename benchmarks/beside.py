"""Keeps a backend as busy as shadows would: the same requests at the same rate, sent directly.

Where load generator and backends share a core, a client of a proxy that shadows also waits for
the second backend's own work. That work is the machine's, not the proxy's, so the time without a
shadow is measured beside it as well. Requests that are due at one tick go out together on one
connection, and what came back meanwhile is thrown away unread: the asking must cost next to
nothing, or the core would be busier than it is with real shadows.

    python -m benchmarks.beside --port P --rate R --seconds S --requests FILE
"""

import argparse
import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import LONGEST_TICK_S, RECEIVE_BYTES, SHORTEST_TICK_S, periodic_timer
from benchmarks.requests import read_set


def keep_busy(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> int:
    """Ask for that long, requests a second; returns how many were sent.

    Raises OSError when the backend goes away.
    """
    timer = periodic_timer(min(max(1 / rate, SHORTEST_TICK_S), LONGEST_TICK_S))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer, select.epoll() as epoll:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.settimeout(None)  # with a time-out Python waits before MSG_DONTWAIT is looked at
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 10, 0))
        epoll.register(timer, select.EPOLLIN)
        sent = 0
        begin = time.perf_counter()
        while (passed := time.perf_counter() - begin) < seconds:
            epoll.poll(1.0)
            os.read(timer, 8)
            with contextlib.suppress(BlockingIOError):
                # tcp(7): with MSG_TRUNC what is received is dropped, not copied.
                if not peer.recv(RECEIVE_BYTES, socket.MSG_TRUNC | socket.MSG_DONTWAIT):
                    raise ConnectionResetError("the backend closed the connection")
            due = int(passed * rate) + 1
            if due > sent:
                peer.sendall(b"".join(requests[i % len(requests)] for i in range(sent, due)))
                sent = due
    os.close(timer)
    return sent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        keep_busy(options.port, read_set(options.requests), options.rate, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
