"""The controller leaves the core to a worker that has much to do."""

import os
import subprocess
import sys

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


def test_the_process_and_its_threads_take_short_turns() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == str([(os.SCHED_BATCH, 10)] * 2)
    # Only itself: whoever started it is as before.
    assert os.getpriority(os.PRIO_PROCESS, 0) < 10
