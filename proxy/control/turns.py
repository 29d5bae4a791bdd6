"""How the processes share a core: a worker has its turn first, the controller gets on beside it.

What the controller does comes in bursts of milliseconds, and the clients of that moment would wait
for them. It does not need to be quick, only to get on: a thirtieth of a busy core is enough for it.

Linux 6.6 and later (EEVDF) runs, of those that have not had more than their share, the one whose
slice would end first, and looks again when somebody wakes up or at the next tick (up to 10 ms). A
worker that wakes up beside a controller with the same or a shorter slice, or that has just had
more than its share, thus waits for a whole tick if the controller has that much to do. So its
slice is the shortest there is, that of the controller the longest, and the controller's share
small.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys
from typing import Final, NamedTuple

# sched_setattr has no wrapper in the C library before glibc 2.41. Numbers of the system call:
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class Turns(NamedTuple):
    """What a process asks of the scheduler. `slice_ns` is heeded by Linux 6.12 and later."""

    policy: int
    slice_ns: int
    nice: int | None = None  # at least; None: as it is


OF_A_WORKER: Final = Turns(os.SCHED_OTHER, 100_000)
# Until it is ready: with less weight that takes many seconds beside a busy worker.
OF_A_STARTING_CONTROLLER: Final = Turns(os.SCHED_BATCH, 100_000_000, nice=10)  # 110 beside 1024
OF_THE_CONTROLLER: Final = Turns(os.SCHED_BATCH, 100_000_000, nice=15)  # 36


def take(turns: Turns) -> None:
    """For the threads of this process, those that they start, and the programs it becomes.

    Where it is not allowed, or whoever started it has chosen another policy, nothing changes.
    """
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            _take(int(thread), turns)


def _take(thread: int, turns: Turns) -> None:
    if os.sched_getscheduler(thread) not in (os.SCHED_OTHER, turns.policy):
        return
    before = os.getpriority(os.PRIO_PROCESS, thread)
    # Who was started with less weight keeps that.
    nice = before if turns.nice is None else max(before, turns.nice)
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None and _LIBC is not None:
        size = _ATTRIBUTES.size
        attributes = _ATTRIBUTES.pack(size, turns.policy, 0, nice, 0, turns.slice_ns, 0, 0)
        if _LIBC.syscall(ctypes.c_long(number), thread, ctypes.c_char_p(attributes), 0) == 0:
            return
    os.sched_setscheduler(thread, turns.policy, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, thread, nice)
