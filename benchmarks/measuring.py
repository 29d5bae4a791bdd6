"""The two ways to measure: saturated by wrk, and at a fixed rate; always in alternating rounds.

In each round every proxy has its turn with the same requests, in an order that rotates, so that no
proxy is always the first or always beside the same neighbour. Proxies that wait for their turn use
no CPU worth mentioning; they are up from the first round to the last.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Latency, Sample
from benchmarks.machine import busy_seconds
from benchmarks.processes import BenchError
from benchmarks.requests import request_set, write_set
from benchmarks.stage import Stage
from benchmarks.wrk import run_wrk


@dataclass(frozen=True)
class Settings:
    """How long and how often; the same for every proxy."""

    rounds: int = 5
    seconds: float = 4.0
    warm_up_s: float = 1.0
    connections: int = 64
    quick: bool = False
    proxies: frozenset[str] | None = None  # None: all

    def chosen(self, *names: str) -> list[str]:
        """Those of the names that were asked for, as in "banyan shadow" by "banyan"."""
        if self.proxies is None:
            return list(names)
        return [name for name in names if name.split()[0] in self.proxies]


@dataclass(frozen=True)
class Target:
    """A proxy under a name of the table, and the requests it gets."""

    label: str
    proxy: str  # of STARTERS, or "backend" for none
    requests: Path
    beside: str = ""  # a backend that is asked directly as often, see benchmarks/beside.py


def request_file(stage: Stage, prefix: str, *, more_headers: bool = False) -> Path:
    """The file with the requests below a prefix, written at its first use."""
    path = stage.directory / f"requests{prefix.replace('/', '-')}{more_headers:d}"
    if not path.exists():
        write_set(path, request_set(prefix, more_headers=more_headers))
    return path


def saturate(
    stage: Stage, settings: Settings, targets: Sequence[Target]
) -> dict[str, list[Sample]]:
    """Rounds of wrk against each target."""
    measured: dict[str, list[Sample]] = {target.label: [] for target in targets}
    for number in range(settings.rounds):
        for target in rotated(targets, number):
            progress(f"round {number + 1} of {settings.rounds}: {target.label}")
            measured[target.label].append(saturate_once(stage, settings, target))
    progress("")
    return measured


def saturate_once(stage: Stage, settings: Settings, target: Target) -> Sample:
    proxy = stage.proxy(target.proxy)

    def load(seconds: float, file: Path = target.requests) -> Sample:
        mirrored_before = stage.served_by("new")
        before = proxy.child.cpu()
        figures = run_wrk(
            stage.programs["wrk"],
            proxy.port,
            file,
            connections=settings.connections,
            seconds=seconds,
            cores=stage.cores.load,
        )
        used = proxy.child.cpu() - before
        # One request less: the question itself.
        return Sample.of(figures, used, stage.served_by("new") - mirrored_before - 1)

    load(settings.warm_up_s)
    sample = load(settings.seconds)
    proxy.child.check_alive()
    if sample.requests == 0:
        raise BenchError(f"{target.label} answered nothing: {proxy.child.last_words()}")
    return sample


def at_rate(
    stage: Stage, settings: Settings, targets: Sequence[Target], rates: dict[str, float]
) -> dict[str, list[Latency]]:
    """Rounds of the open-loop load against each target, at the rate of its label."""
    measured: dict[str, list[Latency]] = {target.label: [] for target in targets}
    for number in range(settings.rounds):
        for target in rotated(targets, number):
            rate = rates[target.label]
            progress(
                f"round {number + 1} of {settings.rounds}: {target.label} at {rate:.0f} a second"
            )
            measured[target.label].append(at_rate_once(stage, settings, target, rate))
    progress("")
    return measured


def at_rate_once(stage: Stage, settings: Settings, target: Target, rate: float) -> Latency:
    bare = target.proxy == "backend"
    port = stage.ports["legacy"] if bare else stage.proxy(target.proxy).port
    whole_s = settings.seconds + settings.warm_up_s
    with kept_busy(stage, target, rate, whole_s):
        began, before = time.perf_counter(), busy_seconds(stage.cores.load)
        done = subprocess.run(
            [
                *on_load_cores(stage, "benchmarks.load"),
                *("--port", str(port), "--rate", str(rate), "--seconds", str(settings.seconds)),
                *("--warm-up", str(settings.warm_up_s), "--requests", str(target.requests)),
                *("--connections", str(settings.connections)),
            ],
            capture_output=True,
            text=True,
            timeout=whole_s + 60,
        )
        used = busy_seconds(stage.cores.load) - before
        busy = used / (time.perf_counter() - began) / len(stage.cores.load)
    if done.returncode != 0:
        raise BenchError(f"the load generator failed: {done.stderr.strip()[-500:]}")
    figures = json.loads(done.stdout)
    return Latency(
        rate,
        figures["requests"],
        figures["errors"],
        figures["p50_ms"],
        figures["p99_ms"],
        figures["max_ms"],
        busy,
    )


@contextlib.contextmanager
def kept_busy(stage: Stage, target: Target, rate: float, seconds: float) -> Iterator[None]:
    """The target's second backend is asked directly meanwhile, if it says so."""
    if not target.beside:
        yield
        return
    asked = subprocess.Popen(
        [
            *on_load_cores(stage, "benchmarks.beside"),
            *("--port", str(stage.ports[target.beside]), "--rate", str(rate)),
            # A little longer than the load itself, which has to start as well; then it is ended.
            *("--seconds", str(seconds + 30), "--requests", str(target.requests)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        if asked.poll() is not None:
            words = asked.stderr.read()[-500:] if asked.stderr else ""
            raise BenchError(f"{target.beside} was not kept busy: {words}")
    finally:
        asked.kill()
        asked.communicate()


def on_load_cores(stage: Stage, module: str) -> list[str]:
    """The beginning of a command that runs a module where the load generator runs."""
    cores = ",".join(str(core) for core in sorted(stage.cores.load))
    return ["taskset", "-c", cores, sys.executable, "-m", module]


def rotated(targets: Sequence[Target], number: int) -> list[Target]:
    turn = number % len(targets)
    return [*targets[turn:], *targets[:turn]]


def progress(text: str) -> None:
    """One line that replaces the one before; nothing when nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
