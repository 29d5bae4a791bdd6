"""The ladder: which phase comes next for a route, and what is still needed for it. Pure."""

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.guard import Verdict
from proxy.core.model import LEGACY_ONLY, Phase
from proxy.core.policy import Advance, Step

TOLD_AFTER_S: Final = 60.0
COVERAGE_SLOT_S: Final = 10.0
COVERAGE_SLOTS: Final = 30


class Progress(msgspec.Struct, frozen=True):
    """How far a route has come in its present phase.

    `since` is when it came there, in seconds since the epoch; `healthy_s` the time with a passing
    verdict, `trials` the evidence, both without what was before.
    """

    since: float
    healthy_s: float = 0.0
    trials: int = 0


class Coverage:
    """How many of the reads that could be compared were, in the last five minutes.

    `now` is in seconds of any clock that does not go back.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: deque[list[int]] = deque(maxlen=COVERAGE_SLOTS)  # number, eligible, compared

    def add(self, now: float, eligible: int, compared: int) -> None:
        number = int(now // COVERAGE_SLOT_S)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0, 0])
        self._slots[-1][1] += eligible
        self._slots[-1][2] += compared

    def share(self, now: float) -> float | None:
        """From 0 to 1; None where there was no such read."""
        first = int(now // COVERAGE_SLOT_S) - COVERAGE_SLOTS + 1
        recent = [slot for slot in self._slots if slot[0] >= first]
        eligible = sum(slot[1] for slot in recent)
        # A comparison may be reported a moment before its read is counted as eligible.
        return min(sum(slot[2] for slot in recent) / eligible, 1.0) if eligible else None


class Shortage:
    """Something that hinders a step, and is told once when it has lasted."""

    __slots__ = ("_lasted_s",)

    def __init__(self) -> None:
        self._lasted_s = 0.0

    def is_to_be_told(self, is_short: bool, passed_s: float) -> bool:
        """Whether it has lasted for TOLD_AFTER_S now; once, until it is over."""
        if not is_short:
            self._lasted_s = 0.0
            return False
        before = self._lasted_s
        self._lasted_s += passed_s
        return before < TOLD_AFTER_S <= self._lasted_s


def next_step(advance: Advance, phase: Phase) -> Step | None:
    """The first rung that is further along; None at the end of the ladder."""
    return next((step for step in advance.steps if step.phase > phase), None)


def dwell_of(advance: Advance, phase: Phase) -> float:
    """How much healthy time a phase takes, in seconds."""
    for step in advance.steps:
        if step.phase == phase and step.dwell_s is not None:
            return step.dwell_s
    return advance.dwell_s


def needs(
    advance: Advance,
    phase: Phase,
    progress: Progress,
    verdict: Verdict,
    coverage: float | None,
    cooldown_s: float = 0.0,
) -> Iterator[str]:
    """What is missing before the next step, in words; nothing: it can be taken.

    `coverage` is the share (0 to 1) of the eligible reads that were compared, None without any;
    `cooldown_s` the time that is left of the cool-down.
    """
    step = next_step(advance, phase)
    if step is None:
        return
    if phase == LEGACY_ONLY:
        yield "`banyan advance`: new is not asked in legacy-only, so no evidence will come"
        return
    if verdict.state == "failing":
        yield f"a passing verdict (it is failing: {verdict.evidence.rstrip('.')})"
    dwell = dwell_of(advance, phase)
    if progress.healthy_s < dwell:
        yield f"{spoken_time(dwell - progress.healthy_s)} more of healthy evidence"
    if verdict.state == "inconclusive":
        # What was healthy once is no reason to go on when nothing is known any more.
        yield f"a passing verdict (it is inconclusive: {verdict.evidence.rstrip('.')})"
    if progress.trials < advance.min_samples:
        yield f"{advance.min_samples - progress.trials:,} more trials"
    if coverage is not None and coverage < advance.min_coverage:
        yield (
            f"a coverage of {advance.min_coverage * 100:.3g}%: {coverage * 100:.3g}% of the reads "
            "that could be were compared"
        )
    if cooldown_s > 0:
        yield f"{spoken_time(cooldown_s)} more of the cool-down after a resume"
    if step.phase in advance.approve:
        yield "approval: `banyan advance` gives it"


def spoken_time(seconds: float) -> str:
    """A length of time in words: "7.0 d", "90 s"."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 0):.0f} s"
