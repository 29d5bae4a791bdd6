"""How often the guard is wrong, and how late it is: `python -m benchmarks.guard`.

Simulated trials through the judge itself (`proxy.core.detection.Detector`), beside the window rule
that one would write first. A delay is held against Lorden's bound: log(trials to a false alarm)
divided by the Kullback-Leibler divergence of the worse rate from the threshold (Lorden, "Procedures
for reacting to a change in distribution", Ann. Math. Statist. 42, 1971). `--plot FILE` draws the
delays (needs matplotlib); `--quick` takes a hundredth of the trials.
"""

import argparse
import math
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from proxy.core.detection import SLOT_S, Detector

THRESHOLD: Final = 0.01
FALSE_ALARM: Final = 1e-6
HALF_TRIALS: Final = 30_000_000
FULL_TRIALS: Final = 3_000_000
LENGTH_TRIALS: Final = 30_000_000  # over which the trials to a false alarm are measured
RUNS: Final = 400
WARM_TRIALS: Final = 2000  # at half the threshold, before the change
SLOT_TRIALS: Final = 25  # a route with 100 trials a second
RATES: Final = (("2 x", 0.02), ("5 x", 0.05), ("10 x", 0.10), ("100%", 1.0))


class Judge(Protocol):
    """What is simulated."""

    def add(self, at: float, good: int, bad: int) -> None: ...
    def look(self) -> bool: ...


class Window:
    """More than the threshold among the last 1,000, with 50 at least: the rule one writes first."""

    def __init__(self) -> None:
        self._last: deque[int] = deque(maxlen=1000)
        self._bad = 0

    def add(self, at: float, good: int, bad: int) -> None:
        for outcome in (1,) * bad + (0,) * good:
            if len(self._last) == 1000:
                self._bad -= self._last[0]
            self._last.append(outcome)
            self._bad += outcome

    def look(self) -> bool:
        return len(self._last) >= 50 and self._bad > THRESHOLD * len(self._last)


def detector() -> Judge:
    """The guard's, at the defaults of `revert`."""
    return Detector(THRESHOLD, FALSE_ALARM)


def in_slots(
    chance: random.Random, trials: int, rate: float, run: int
) -> Iterator[tuple[int, int]]:
    """Trials slot by slot (how many, how many of them bad), at a rate of bad requests.

    `run`: so many bad requests in a row are of one client and one thing, and so are one trial.
    """
    log = math.log1p(-rate / run)
    gap = int(math.log(1 - chance.random()) / log)
    left = trials
    while left > 0:
        size = min(SLOT_TRIALS, left)
        left -= size
        bad = 0
        while gap < size:
            bad += 1
            gap += 1 + int(math.log(1 - chance.random()) / log)
        gap -= size
        yield size, bad


def false_alarms(
    make: Callable[[], Judge], rate: float, trials: int, run: int, seed: int
) -> list[int]:
    """Of a route that is no worse than declared: the trials to each alarm, judged anew after it."""
    chance = random.Random(seed)
    judge = make()
    found = []
    since = 0
    for number, (size, bad) in enumerate(in_slots(chance, trials, rate, run)):
        judge.add(number * SLOT_S, size - bad, bad)
        since += size
        if judge.look():
            found.append(since)
            since = 0
            judge = make()
    return found


def delay(make: Callable[[], Judge], rate: float, size: int, seed: int) -> int | None:
    """Trials from a change to its alarm, `size` a slot; None: the alarm was before the change."""
    chance = random.Random(seed)
    judge = make()
    slot = 0
    for _ in range(WARM_TRIALS // size):
        bad = sum(chance.random() < THRESHOLD / 2 for _ in range(size))
        judge.add(slot * SLOT_S, size - bad, bad)
        if judge.look():
            return None
        slot += 1
    trials = 0
    while True:
        bad = sum(chance.random() < rate for _ in range(size))
        judge.add(slot * SLOT_S, size - bad, bad)
        trials += size
        slot += 1
        if judge.look():
            return trials


def divergence(rate: float) -> float:
    """The Kullback-Leibler divergence of a rate from the threshold, in nats a trial."""
    found = rate * math.log(rate / THRESHOLD)
    if rate < 1:
        found += (1 - rate) * math.log((1 - rate) / (1 - THRESHOLD))
    return found


class Delay(NamedTuple):
    """How late a jump to a rate was found, in trials."""

    label: str
    rate: float
    bound: float
    median: float
    window: float

    @property
    def allowed(self) -> float:
        return max(1.3 * self.bound, self.bound + 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, and exit 1 where a bar is missed."""
    options = parse(arguments)
    part = 100 if options.quick else 1
    began = time.monotonic()
    failed = 0
    print(f"threshold {THRESHOLD:.0%}, false_alarm {FALSE_ALARM:g}, {SLOT_TRIALS} trials a slot\n")
    print("false alarms                  trials     guard   window rule")
    for label, rate, trials, most in (
        ("half the threshold", THRESHOLD / 2, HALF_TRIALS, 0),
        ("the threshold itself", THRESHOLD, FULL_TRIALS, 3),
    ):
        for run in (1, 4, 10):
            found = len(false_alarms(detector, rate, trials // part, run, run))
            window = len(false_alarms(Window, rate, trials // part // 30, run, run))
            is_missed = found > most
            failed += is_missed
            name = label if run == 1 else f"  in runs of {run}"
            told = f"{trials // part:>12,} {found:>9} {window:>9} in 1/30 of them"
            print(f"{name:24}{told}{'   FAIL' if is_missed else ''}")
    lengths = false_alarms(detector, THRESHOLD, LENGTH_TRIALS // part, 1, 99)
    length = LENGTH_TRIALS / part / max(len(lengths), 1)
    print(f"\ntrials to a false alarm at the threshold: {length:,.0f} ({len(lengths)} alarms)")
    print("\njump to     bound   allowed    median   x bound   window rule")
    delays = []
    for label, rate in RATES:
        runs = max(RUNS // part, 20)
        medians = []
        for make in (detector, Window):
            found_in = [delay(make, rate, 1, seed) for seed in range(runs)]
            medians.append(statistics.median(each for each in found_in if each is not None))
        one = Delay(label, rate, math.log(length) / divergence(rate), *medians)
        delays.append(one)
        is_missed = one.median > one.allowed
        failed += is_missed
        print(
            f"{label:8}{one.bound:>9.1f} {one.allowed:>9.1f} {one.median:>9.0f} "
            f"{one.median / one.bound:>9.2f} {one.window:>13.0f}{'   FAIL' if is_missed else ''}"
        )
    if options.plot is not None:
        plot(delays, options.plot)
    print(
        f"\n{time.monotonic() - began:.0f} s; {'a bar is missed' if failed else 'every bar is met'}"
    )
    return 1 if failed else 0


def plot(delays: Sequence[Delay], file: Path) -> None:
    """Draw the delays beside the bound."""
    try:
        # Optional: only whoever draws the plot anew needs it.
        import matplotlib  # type: ignore[import-not-found]

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        sys.exit("--plot needs matplotlib: pip install matplotlib")
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    rates = [one.rate for one in delays]
    axes.loglog(rates, [one.allowed for one in delays], "--", color="#999999", label="allowed")
    axes.loglog(rates, [one.bound for one in delays], "-", color="#444444", label="Lorden's bound")
    axes.loglog(rates, [one.median for one in delays], "o", color="#1b7f4b", label="the guard")
    axes.loglog(rates, [one.window for one in delays], "x", color="#b3541e", label="window rule")
    axes.set_xticks(rates, [one.label for one in delays])
    axes.minorticks_off()
    axes.set_xlabel(f"the rate jumps to (declared: {THRESHOLD:.0%})")
    axes.set_ylabel("trials until it is found, median")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    figure.savefig(file, dpi=120)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the trials")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the delays as a PNG")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
