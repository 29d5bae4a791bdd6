"""The controller leaves the core to a worker that has much to do."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, threading
from proxy.control.turns import take_short_turns

def standing():
    thread = threading.get_native_id()
    return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

take_short_turns()
found = [standing()]
other = threading.Thread(target=lambda: found.append(standing()))
other.start()
other.join()
print(found)
"""


@pytest.mark.parametrize("more", [0, 15])
def test_the_process_and_its_threads_take_short_turns(more: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    done = subprocess.run(
        ["nice", "-n", str(more), sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    # One that was started with less weight still keeps that.
    wanted = max(10, min(own + more, 19))
    assert done.stdout.strip() == str([(os.SCHED_BATCH, wanted)] * 2)
    # Only itself: whoever started it is as before.
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
