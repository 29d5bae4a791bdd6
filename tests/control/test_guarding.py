"""What the guard of a replica makes of its evidence and of that of others: coverage, clocks."""

import time
from dataclasses import replace

import msgspec
import pytest

from proxy.control.guarding import Guard
from proxy.control.pooling import Share
from proxy.control.steering import Policy
from proxy.control.world import Judged, World
from proxy.core.detection import SLOT_S
from proxy.core.ladder import COVERAGE_SLOT_S, COVERAGE_SLOTS, TOLD_AFTER_S, Coverage, Progress
from proxy.core.messages import Counts, ExchangeRecord, Observation, Report
from proxy.core.model import Phase, RouteState, Side
from proxy.core.policy import Advance, Revert, Step
from proxy.observe.assessing import Assessment
from proxy.store.records import Record, Replica, Stored
from tests.control.estate import route

LADDER = Advance((Step(Phase(25)), Step(Phase(50))), dwell_s=0.0, min_samples=0, min_coverage=0.5)


class Replicated:
    """The guard of one replica, `id`, of two: a1 climbs."""

    def __init__(self, id: str, moved_at: float | None = None) -> None:
        self.judged: list[Judged] = []
        self.low: list[tuple[str, float, float]] = []
        self.ahead = 0.0  # its wall clock, of that of the machine
        self.once: list[float] = []  # the same, when it is looked at next
        self.guard = Guard(self.judged.append, lambda *low: self.low.append(low), self.wall)
        state = RouteState.of_phase(Phase(25))
        progress = Progress(moved_at) if moved_at is not None else None
        record = Record("a", 1, "d", state.phase, state.phase, state.authority, progress=progress)
        replicas = (Replica("a1", "", 1, 0.0), Replica("b2", "", 1, 0.0))
        self.world = World(
            slots=1,
            stored=Stored(records={"a": record}, replica=id, replicas=replicas),
            revision=1,
            routes={"a": route("a", state.phase, digest="d")},
            states={"a": state},
            policies={"a": Policy(Revert(), LADDER)},
        )
        self.guard.use(self.world)

    def wall(self) -> float:
        return time.time() + self.ahead + (self.once.pop() if self.once else 0.0)

    def count(self, bad: int, good: int) -> None:
        """Trials that began now, by its own clock."""
        slot = int(self.wall() / SLOT_S)
        counts = Counts("a", trials={slot: [good, bad, good, bad, 0]})
        self.guard.reported(Report(0, [counts]), time.monotonic())

    def read(self, now: float, eligible: int, compared: int) -> list[Share]:
        """Count reads; what is told of them."""
        counts = Counts("a", comparisons={"equal": compared}, eligible=eligible)
        self.guard.reported(Report(0, [counts]), now)
        return self.guard.pool.take()

    def needs(self, now: float) -> str:
        found = self.guard.needs("a", now)
        assert found is not None
        return found[1]


def test_coverage_is_that_of_all_replicas() -> None:
    one, other, now = Replicated("a1"), Replicated("b2"), time.monotonic()
    one.read(now, 10, 10)
    assert "a coverage of" not in one.needs(now)
    for said in other.read(now, 90, 0):
        one.guard.heard(said)
    assert "a coverage of 50%: 10% of the reads" in one.needs(now)


@pytest.mark.parametrize("repeat", [False, True])
def test_a_pair_that_was_compared_apart_is_covered(repeat: bool) -> None:
    one, other, now = Replicated("a1"), Replicated("b2"), time.monotonic()
    one.read(now, 2, 0)
    well = ExchangeRecord(200, 1.0)
    seen = Observation(time.time(), "a", "GET", "/a", 25, "", Side.LEGACY, well, well, False)
    seen = msgspec.structs.replace(seen, repeat=repeat)
    one.guard.assessed(Assessment("unverified", seen), now)
    assert "a coverage of 50%: 0% of the reads" in one.needs(now)
    one.guard.assessed(Assessment("divergent", seen), now)
    assert "a coverage of" not in one.needs(now)
    other.read(now, 1, 0)
    for said in one.guard.pool.take():
        other.guard.heard(said)
    assert "a coverage of" not in other.needs(now)


@pytest.mark.parametrize(
    ("arrive", "unverified", "wanted"),
    [
        (100, 0, "failing"),
        (20, 0, "failing"),
        (20, 80, "failing"),
        (0, 0, "inconclusive"),
        (0, 100, "inconclusive"),
    ],
)
def test_a_route_does_not_look_well_because_what_differs_is_lost(
    arrive: int, unverified: int, wanted: str
) -> None:
    """A tenth of its answers is wrong, and comparers have no time for most of them."""
    one, now, well = Replicated("a1"), time.monotonic(), ExchangeRecord(200, 1.0)
    at = one.wall()
    counts = Counts("a", trials={int(at / SLOT_S): [900, 0, 1000, 0, 100]})
    one.guard.reported(Report(0, [counts]), now)
    seen = Observation(at, "a", "GET", "/a", 25, "", Side.LEGACY, well, well, False)
    for _ in range(arrive):
        one.guard.assessed(Assessment("divergent", seen, slot=0, asked=True), now)
        # Its client has asked the same before.
        again = msgspec.structs.replace(seen, repeat=True)
        one.guard.assessed(Assessment("noise", again, slot=0), now)
    for _ in range(unverified):
        one.guard.assessed(Assessment("unverified", seen, slot=0, asked=True), now)
    one.guard.reported(Report(0, [Counts("a")]), now + 0.1)
    one.guard._release(now + 0.1)
    verdict = one.guard.verdict("a")
    assert verdict.state == wanted
    if arrive:
        assert "(10%, 1% is declared)" in verdict.evidence
    else:
        assert verdict.evidence.endswith(
            "; 0 of 100 that differ came through their comparison lately."
        )
    assert sum(share.trials[int(at / SLOT_S)][1] for share in one.guard.pool.take()) == arrive


def test_low_coverage_is_told_by_the_replica_that_climbs() -> None:
    one, other, now = Replicated("a1"), Replicated("b2"), time.monotonic()
    for said in other.read(now, 90, 9):
        one.guard.heard(said)
    for each in (one, other):
        each.guard.climb(now, TOLD_AFTER_S)
    assert (one.low, other.low) == ([("a", 0.1, 0.5)], [])


def test_coverage_is_of_the_last_five_minutes() -> None:
    coverage = Coverage()
    assert coverage.share(0.0) is None
    coverage.add(0.0, 30, 0)
    coverage.add(COVERAGE_SLOT_S, 10, 5)
    coverage.add(COVERAGE_SLOT_S, 0, 5)
    assert coverage.share(COVERAGE_SLOT_S) == 0.25
    assert coverage.share(COVERAGE_SLOT_S * COVERAGE_SLOTS) == 1.0
    assert coverage.share(COVERAGE_SLOT_S * (COVERAGE_SLOTS + 1)) is None
    for slot in range(2 * COVERAGE_SLOTS):
        coverage.add(COVERAGE_SLOT_S * slot, 4, 5)
    assert coverage.share(COVERAGE_SLOT_S * 2 * COVERAGE_SLOTS) == 1.0


@pytest.mark.parametrize("set_by_s", [-3600.0, -86400.0, 3600.0])
def test_a_clock_that_is_set_makes_nobody_blind(set_by_s: float) -> None:
    one = Replicated("a1", moved_at=time.time() - 1.0)
    one.count(0, 1000)
    one.ahead = set_by_s
    one.count(0, 10)
    assert one.guard.verdict("a").state == "inconclusive", "what was before cannot be compared"
    one.ahead += 2 * SLOT_S  # later
    one.count(30, 10)
    verdict = one.guard.verdict("a")
    assert (verdict.state, verdict.evidence[:8]) == ("failing", "30 of 40")


def test_a_controller_that_is_held_up_between_two_clocks_takes_none_for_set() -> None:
    one = Replicated("a1", moved_at=time.time() - 1.0)
    one.count(0, 1000)
    known = one.guard.progress("a")
    assert known is not None
    one.once = [-5.0]  # seconds before the other clock is looked at
    one.guard.reported(Report(0, []), time.monotonic())
    assert one.guard.progress("a") == known


def test_a_route_that_was_moved_by_a_clock_ahead_is_judged_at_once() -> None:
    one = Replicated("a1", moved_at=time.time() + 600.0)
    assert one.guard.verdict("a").state == "inconclusive"
    one.ahead = 2 * SLOT_S  # later
    one.count(30, 10)
    assert one.guard.verdict("a").state == "failing"


def test_a_cooldown_is_no_longer_than_declared_whatever_the_clock_was() -> None:
    one = Replicated("a1")
    record = msgspec.structs.replace(one.world.stored.records["a"], resumed_at=time.time() + 86400)
    stored = msgspec.structs.replace(one.world.stored, records={"a": record})
    one.guard.use(replace(one.world, stored=stored))
    assert "10.0 min more of the cool-down" in one.needs(time.monotonic())


def test_what_was_healthy_before_a_failure_does_not_count() -> None:
    one, now = Replicated("a1"), time.monotonic()
    one.count(0, 1000)
    one.guard.climb(now, 60.0)
    progress = one.guard.progress("a")
    assert progress is not None
    assert progress.healthy_s == 60.0
    one.ahead += 2 * SLOT_S
    one.count(30, 10)
    one.guard.climb(now, 60.0)
    progress = one.guard.progress("a")
    assert progress is not None
    assert progress.healthy_s == 0.0
