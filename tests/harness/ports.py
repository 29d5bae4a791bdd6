"""TCP ports of the loopback for what is started later, by a process that must be told its port.

The kernel gives away its own range all the time, to listeners on port 0 and to each connection that
is made: what was free there is soon taken, most of all beside other tests. So these lie below that
range as Linux has it (32768 and more), up to four processes of the tests have a stretch each, and
none is given a second time before the stretch is through.
"""

import itertools
import os
import re
import socket
from typing import Final

_FIRST: Final = 12000
_STRETCH: Final = 4000
_STRETCHES: Final = 5


def _mine() -> range:
    process = re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", ""))
    begin = _FIRST + _STRETCH * (int(process[0]) % _STRETCHES if process else _STRETCHES - 1)
    return range(begin, begin + _STRETCH)


# By the process, so that tests of two checkouts hardly ever meet.
_ports = itertools.islice(itertools.cycle(_mine()), os.getpid() * 37 % _STRETCH, None)


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    return [unused_port() for _ in range(count)]


def unused_port() -> int:
    """A port on which nobody listens."""
    for port in itertools.islice(_ports, _STRETCH):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of {_STRETCH} ports is free")
