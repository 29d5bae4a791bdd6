"""How the controller shares a core with a worker: it takes its turn, and a short one.

What it does comes in bursts of milliseconds. With the same weight as a worker that has much to do,
it would take half of the core for as long, and the clients of that moment would wait for it. It
does not need to be quick, only to get on: a tenth of a core is enough for it.
"""

import contextlib
import ctypes
import os
import platform
import struct
from typing import Final

NICE: Final = 10  # a weight of 110 beside a worker's 1024
# Linux 6.12 and later: how long it runs before another may have the core; the least there is.
SLICE_NS: Final = 100_000
# sched_setattr has no wrapper in the C library before glibc 2.41. Numbers of the system call:
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")


def take_short_turns() -> None:
    """For this process and the threads that it starts. Where it is not allowed, nothing changes."""
    before = os.nice(0)
    nice = max(before, NICE)  # who was started with less weight keeps that
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None:
        size = _ATTRIBUTES.size
        attributes = _ATTRIBUTES.pack(size, os.SCHED_BATCH, 0, nice, 0, SLICE_NS, 0, 0)
        libc = ctypes.CDLL(None)
        if libc.syscall(ctypes.c_long(number), 0, ctypes.c_char_p(attributes), 0) == 0:
            return
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.nice(nice - before)
