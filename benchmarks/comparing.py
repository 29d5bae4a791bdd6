"""`python -m benchmarks.comparing`: comparing two bodies, beside bare DeepDiff on the same pairs.

CPU time of one comparison, medians. The bodies are lists of orders; "masked" pairs differ in a
timestamp an item, which the rules ignore (DeepDiff is told to leave it out by its own option), and
"one wrong" ones in one price beside that. Exit 1 where a bar is missed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import orjson
from deepdiff import DeepDiff

from benchmarks.documents import differing_document
from comparators.json import compare_json
from comparators.model import Rules
from comparators.rules import compile_rules

SIZES = {"1 kB": 1 << 10, "16 kB": 16 << 10, "160 kB": 160 << 10, "5 MB": 5 << 20}
RULES = compile_rules(Rules(ignore=("$.items[*].at",)))
LEFT_OUT = [r"root\['items'\]\[\d+\]\['at'\]"]
# DeepDiff takes half a minute for a pair of this size, and tells nothing new.
MOST_FOR_DEEPDIFF = 1 << 20
BARS = {("16 kB", "masked"): 20.0, ("16 kB", "one wrong"): 5.0}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of each measurement (9)")
    options = parser.parse_args(arguments)
    print(f"{'':8}{'':11}{'ours ms':>10}{'DeepDiff ms':>13}{'ratio':>9}{'a second':>10}")
    missed = 0
    for name, size in SIZES.items():
        for case, (legacy, new) in pairs(size).items():
            found = len(compare_json(legacy, new, RULES).differences)
            if found != (case == "one wrong"):
                print(f"{name} {case}: {found} differences were found", file=sys.stderr)
                return 1
            ours = milliseconds(compared, legacy, new, options.rounds)
            line = f"{name:8}{case:11}{ours:10.3f}"
            if size > MOST_FOR_DEEPDIFF:
                print(f"{line}{'-':>13}{'-':>9}{1000 / max(ours, 1e-6):10,.0f}")
                continue
            theirs = milliseconds(bare, legacy, new, min(options.rounds, 3))
            ratio = theirs / max(ours, 1e-6)
            bar = BARS.get((name, case))
            verdict = (
                "" if bar is None else f"  {'pass' if ratio >= bar else 'FAIL'} (>= {bar:g} x)"
            )
            missed += bar is not None and ratio < bar
            print(f"{line}{theirs:13.2f}{ratio:8.0f}x{1000 / max(ours, 1e-6):10,.0f}{verdict}")
    return 1 if missed else 0


def pairs(size: int) -> dict[str, tuple[bytes, bytes]]:
    """Bodies of about that size: the same, different in what is masked, and one really wrong."""
    legacy, wrong = differing_document(size, "legacy"), differing_document(size, "new")
    masked = wrong.replace(b"20.01", b"19.99")
    return {"equal": (legacy, bytes(bytearray(legacy))), "masked": (legacy, masked),
            "one wrong": (legacy, wrong)}  # fmt: skip


def compared(legacy: bytes, new: bytes) -> object:
    """Comparing by the rules."""
    return compare_json(legacy, new, RULES)


def bare(legacy: bytes, new: bytes) -> object:
    """What comparing would be with DeepDiff alone."""
    return DeepDiff(orjson.loads(legacy), orjson.loads(new), exclude_regex_paths=LEFT_OUT)


def milliseconds(
    run: Callable[[bytes, bytes], object], legacy: bytes, new: bytes, rounds: int
) -> float:
    """The median CPU time of a run. No body comes twice: what was read of the last ones is kept."""
    times = []
    for number in range(1, rounds + 1):
        spaces = b" " * number
        one, other = legacy + spaces, new + spaces
        begun = time.process_time()
        run(one, other)
        times.append(time.process_time() - begun)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    sys.exit(main())
