"""A child that tells that its loop turns, until its loop stands still.

`python -m tests.harness.beating PAGE AT KIND`: "turns" for ever, or a few times and then "spins".
"""

import sys
import time

from proxy.control.pulse import write_beat


def main(page: int, at: int, kind: str) -> None:
    if kind != "never":
        for _ in range(3 if kind == "spins" else 1_000_000):
            write_beat(page, at)
            time.sleep(0.02)
    while True:
        if kind == "never":
            time.sleep(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
