"""Runs wrk and reads its figures: the closed-loop load that saturates a proxy."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchError

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class WrkFigures:
    """One run. Latencies are those of a saturated proxy: comparable, not what a user sees."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def run_wrk(
    program: str,
    port: int,
    requests: Path,
    *,
    connections: int,
    seconds: float,
    cores: frozenset[int],
) -> WrkFigures:
    """Load the port for that long; raises `BenchError` when wrk does."""
    # wrk knows whole seconds only.
    whole = max(1, round(seconds))
    command = [
        *("taskset", "-c", ",".join(str(core) for core in sorted(cores))),
        *(program, "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "10s"),
        *("-s", str(SCRIPT), f"http://127.0.0.1:{port}/", "--", str(requests)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=whole + 60)
    return read_figures(done.stdout, done.stderr)


def read_figures(output: str, complaint: str = "") -> WrkFigures:
    """Read the line that wrk.lua prints."""
    for line in output.splitlines():
        if line.startswith("FIGURES "):
            requests, duration_us, p50_us, p99_us, errors = map(int, line.split()[1:])
            return WrkFigures(requests, duration_us / 1e6, p50_us / 1000, p99_us / 1000, errors)
    raise BenchError(f"wrk printed no figures: {complaint.strip() or output.strip()}")
