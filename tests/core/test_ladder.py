"""The ladder: which step is next, and everything that may be missing before it."""

import pytest

from proxy.core.guard import Verdict
from proxy.core.ladder import (
    TOLD_AFTER_S,
    Progress,
    Shortage,
    dwell_of,
    needs,
    next_step,
    spoken_time,
)
from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, NEW_ONLY, SHADOW_READ, ZERO, Phase
from proxy.core.policy import Advance, Step

TEN = Phase(10)
LADDER = Advance(
    (Step(SHADOW_READ, 60.0), Step(ZERO), Step(TEN), Step(NEW_ONLY)),
    dwell_s=10.0,
    min_samples=100,
    min_coverage=0.5,
    approve=(NEW_ONLY,),
)
PASSING = Verdict("passing", "all is well")
ENOUGH = Progress(0.0, 60.0, 100)


@pytest.mark.parametrize(
    ("phase", "following"),
    [
        (LEGACY_ONLY, SHADOW_READ),
        (SHADOW_READ, ZERO),
        (ZERO, TEN),
        (Phase(5), TEN),  # between two rungs
        (TEN, NEW_ONLY),
        (DUAL_WRITE, NEW_ONLY),
        (NEW_ONLY, None),
    ],
)
def test_the_next_step_is_the_first_that_is_further(phase: Phase, following: Phase | None) -> None:
    step = next_step(LADDER, phase)
    assert (step.phase if step else None) == following


def test_a_step_has_its_own_dwell_or_that_of_all() -> None:
    assert (dwell_of(LADDER, SHADOW_READ), dwell_of(LADDER, ZERO)) == (60.0, 10.0)
    assert dwell_of(LADDER, Phase(5)) == 10.0


@pytest.mark.parametrize(
    ("phase", "progress", "verdict", "coverage", "cooldown_s", "missing"),
    [
        (ZERO, ENOUGH, PASSING, 0.5, 0.0, []),
        (ZERO, ENOUGH, PASSING, None, 0.0, []),
        (LEGACY_ONLY, Progress(0.0), PASSING, None, 9.0, ["`banyan advance`: new is not asked"]),
        (NEW_ONLY, Progress(0.0), Verdict("failing", "x."), 0.0, 9.0, []),
        (SHADOW_READ, Progress(0.0, 59.0, 100), PASSING, 1.0, 0.0, ["1 s more of healthy"]),
        (ZERO, Progress(0.0, 10.0, 99), PASSING, 1.0, 0.0, ["1 more trials"]),
        (ZERO, ENOUGH, PASSING, 0.49, 0.0, ["a coverage of 50%: 49% of the reads"]),
        (ZERO, ENOUGH, PASSING, 1.0, 3.0, ["3 s more of the cool-down"]),
        (TEN, ENOUGH, PASSING, 1.0, 0.0, ["approval"]),
        (ZERO, ENOUGH, Verdict("failing", "37 of 40."), 1.0, 0.0, ["failing: 37 of 40)"]),
        (ZERO, ENOUGH, Verdict("inconclusive", "quiet."), None, 0.0, ["inconclusive: quiet)"]),
        (
            ZERO,
            Progress(0.0),
            Verdict("inconclusive", "no traffic"),
            0.0,
            1.0,
            ["10 s more", "inconclusive: no traffic", "100 more", "a coverage", "cool-down"],
        ),
    ],
)
def test_what_is_missing(
    phase: Phase,
    progress: Progress,
    verdict: Verdict,
    coverage: float | None,
    cooldown_s: float,
    missing: list[str],
) -> None:
    found = list(needs(LADDER, phase, progress, verdict, coverage, cooldown_s))
    assert len(found) == len(missing), found
    for text, part in zip(found, missing, strict=True):
        assert part in text


def test_a_shortage_is_told_once_when_it_has_lasted() -> None:
    shortage = Shortage()
    half = TOLD_AFTER_S / 2
    assert [shortage.is_to_be_told(True, half) for _ in range(4)] == [False, True, False, False]
    assert not shortage.is_to_be_told(False, half)
    # One that ends before is no matter; the next one is told again.
    steps = [(True, half), (False, half), (True, half), (True, half)]
    assert [shortage.is_to_be_told(*step) for step in steps] == [False, False, False, True]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (90, "90 s"), (600, "10.0 min"), (7200, "2.0 h"), (7 * 86400, "7.0 d")],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert spoken_time(seconds) == text
