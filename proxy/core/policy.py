"""What is declared of a route's moves: when it goes back, and how it climbs. Plain values."""

from dataclasses import dataclass

from proxy.core.model import Phase


@dataclass(frozen=True, slots=True)
class LatencyRule:
    """New may be `factor` times as slow as legacy at that percentile (50, 90, 95, 99)."""

    factor: float
    percentile: int


@dataclass(frozen=True, slots=True)
class Revert:
    """When a route goes back by itself. Shares are 0 to 1; None: that rule is off."""

    divergence: float | None = 0.01
    errors: float | None = 0.02
    latency: LatencyRule | None = None
    min_samples: int = 20
    false_alarm: float = 1e-6
    cooldown_s: float = 600.0
    to: Phase | None = None  # None: auto


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a ladder; None: the ladder's own dwell."""

    phase: Phase
    dwell_s: float | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """The ladder of a route and what it takes to climb it."""

    steps: tuple[Step, ...]
    dwell_s: float = 3600.0
    min_samples: int = 1000
    min_coverage: float = 0.5
    approve: tuple[Phase, ...] = ()
    retire_s: float | None = 7 * 86400.0
