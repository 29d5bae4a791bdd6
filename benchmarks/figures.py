"""What is measured, as plain values: samples, rows, bars and sections of the report.

A sample is one round of one proxy. A row is the median over rounds of each figure by itself. A
ratio is paired: the median of the ratios within each round, so that a machine that slows down
half-way changes both sides of it. A bar is a condition that must hold, with its outcome.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.processes import Cpu
from benchmarks.wrk import WrkFigures

NOISE_FACTOR = 1.1
NOISE_MS = 1.0


@dataclass(frozen=True)
class Sample:
    """One saturating round of one proxy."""

    requests: int
    seconds: float
    cpu: Cpu
    p50_ms: float
    p99_ms: float
    errors: int
    mirrored: float = 0.0  # requests that reached the second backend, as a share of all

    @classmethod
    def of(cls, wrk: WrkFigures, cpu: Cpu, mirrored: int = 0) -> "Sample":
        return cls(
            wrk.requests,
            wrk.seconds,
            cpu,
            wrk.p50_ms,
            wrk.p99_ms,
            wrk.errors,
            mirrored / max(wrk.requests, 1),
        )

    @property
    def per_cpu_second(self) -> float:
        return self.requests / self.cpu.total_s if self.cpu.total_s else float("nan")

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def user_us(self) -> float:
        """User CPU time of a request, in microseconds."""
        return self.cpu.user_s / max(self.requests, 1) * 1e6

    @property
    def system_us(self) -> float:
        return self.cpu.system_s / max(self.requests, 1) * 1e6

    @property
    def busy(self) -> float:
        """How much of its core the proxy used."""
        return self.cpu.total_s / self.seconds


@dataclass(frozen=True)
class Latency:
    """One fixed-rate round of one proxy."""

    rate: float
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    load_busy: float  # how busy the cores of the load generator were, whatever ran on them


@dataclass(frozen=True)
class Bar:
    """A condition the issue sets, and how it came out."""

    text: str
    value: float
    bound: float | None  # None: for information
    at_least: bool = True
    unit: str = "x"
    excused: bool = False  # above the bound, but within the noise allowed in milliseconds

    @property
    def passed(self) -> bool:
        if self.bound is None:
            return True
        if self.at_least:
            return self.value >= self.bound
        return self.value <= self.bound or self.excused

    def __str__(self) -> str:
        if self.bound is None:
            return f"      {self.text}: {self.value:.2f} {self.unit}"
        sign = ">=" if self.at_least else "<="
        outcome = "pass" if self.passed else "FAIL"
        excuse = f" (within {NOISE_MS:g} ms)" if self.excused and self.value > self.bound else ""
        return (
            f"{outcome}  {self.text}: {self.value:.2f} {self.unit} "
            f"({sign} {self.bound:g} {self.unit}){excuse}"
        )


@dataclass
class Section:
    """One table of the report with its bars."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, object] = field(default_factory=dict)


def median_of(samples: Sequence[object], figure: Callable[..., float]) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(figure(sample) for sample in samples)


def paired_ratio(
    above: Sequence[object], below: Sequence[object], figure: Callable[..., float]
) -> float:
    """The median over the rounds of the ratio within a round."""
    return statistics.median(
        figure(one) / figure(other) for one, other in zip(above, below, strict=True)
    )


def latency_bar(text: str, measured: Sequence[Latency], base: Sequence[Latency]) -> Bar:
    """ "Within noise": at most 1.1 times the p99 of the base, or 1 ms more."""
    more_ms = statistics.median(
        one.p99_ms - other.p99_ms for one, other in zip(measured, base, strict=True)
    )
    return Bar(
        text,
        paired_ratio(measured, base, lambda one: one.p99_ms),
        NOISE_FACTOR,
        at_least=False,
        excused=more_ms <= NOISE_MS,
    )


def plain(samples: dict[str, list[Sample]] | dict[str, list[Latency]]) -> dict[str, object]:
    """The rounds as JSON values."""
    return {name: [asdict(one) for one in rounds] for name, rounds in samples.items()}
