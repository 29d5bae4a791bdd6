"""A worker has its turn before the controller, which leaves it the core where it has much to do."""

import ctypes
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.serving import Serving

PROGRAM = """
import os, threading
from proxy.control import turns

def standing():
    thread = threading.get_native_id()
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

found = []
has_begun, goes_on = threading.Event(), threading.Event()

def before():
    has_begun.set()
    goes_on.wait()
    found.append(standing())

one = threading.Thread(target=before)
one.start()
has_begun.wait()
turns.take(turns.{which})
goes_on.set()
one.join()
found.append(standing())
other = threading.Thread(target=lambda: found.append(standing()))
other.start()
other.join()
print(found)
"""
ROUTES = """
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
state: sqlite:state.db
backends: {legacy: http://127.0.0.1:9, new: http://127.0.0.1:9}
routes:
  /*: legacy-only
"""
GETATTR = {"x86_64": 315, "aarch64": 275, "riscv64": 275}


def standings(which: str, *started_with: str) -> str:
    done = subprocess.run(
        [*started_with, sys.executable, "-c", PROGRAM.format(which=which)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("more", [0, 17])
def test_the_controller_and_its_threads_have_little_weight(more: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    # One that was started with less weight still keeps that.
    wanted = max(15, min(own + more, 19))
    found = standings("OF_THE_CONTROLLER", "nice", "-n", str(more))
    assert found == str([(os.SCHED_BATCH, wanted)] * 3)
    # Only itself: whoever started it is as before.
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


@pytest.mark.parametrize("more", [0, 5])
def test_a_worker_keeps_the_weight_that_it_was_started_with(more: int) -> None:
    wanted = min(os.getpriority(os.PRIO_PROCESS, 0) + more, 19)
    found = standings("OF_A_WORKER", "nice", "-n", str(more))
    assert found == str([(os.SCHED_OTHER, wanted)] * 3)


@pytest.mark.parametrize("which", ["OF_THE_CONTROLLER", "OF_A_WORKER"])
def test_a_policy_that_somebody_chose_is_kept(which: str) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert standings(which, "chrt", "--idle", "0") == str([(os.SCHED_IDLE, own)] * 3)


class Attributes(NamedTuple):
    """struct sched_attr, sched_setattr(2)."""

    size: int
    policy: int
    flags: int
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int


def attributes(pid: int) -> Attributes:
    layout = struct.Struct("=IIQiIQQQ")
    found = ctypes.create_string_buffer(layout.size)
    number = ctypes.c_long(GETATTR[platform.machine()])
    assert ctypes.CDLL(None).syscall(number, pid, found, layout.size, 0) == 0
    return Attributes(*layout.unpack(found.raw))


@pytest.mark.skipif(platform.machine() not in GETATTR, reason="sched_getattr has another number")
async def test_who_is_ready_has_its_turns(tmp_path: Path) -> None:
    has_slices = tuple(map(int, platform.release().split(".")[:2])) >= (6, 12)
    async with Serving(tmp_path, ROUTES) as serving:
        children = serving.children()
        worker, controller = (attributes(children[name]) for name in ("worker 0", "controller"))
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert (worker.policy, worker.nice) == (os.SCHED_OTHER, own)
        assert (controller.policy, controller.nice) == (os.SCHED_BATCH, max(own, 15))
        assert attributes(children["comparer 0"]).policy == os.SCHED_IDLE
        threads = os.listdir(f"/proc/{children['controller']}/task")
        assert {attributes(int(each)).nice for each in threads} == {max(own, 15)}
        if has_slices:
            assert (worker.runtime, controller.runtime) == (100_000, 100_000_000)
