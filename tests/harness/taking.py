"""What something costs, on a machine that does other things as well."""

import time
from collections.abc import Callable


def least_cpu_s(run: Callable[[], object], times: int = 3) -> float:
    """The least CPU seconds of some runs: what else there is, collections too, only adds to it."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)
