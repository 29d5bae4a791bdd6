"""What the guard of a replica makes of its evidence and of that of others: coverage."""

import time

import msgspec
import pytest

from proxy.control.guarding import Guard
from proxy.control.pooling import Share
from proxy.control.steering import Policy
from proxy.control.world import Judged, World
from proxy.core.ladder import COVERAGE_SLOT_S, COVERAGE_SLOTS, TOLD_AFTER_S, Coverage
from proxy.core.messages import Counts, ExchangeRecord, Observation, Report
from proxy.core.model import Phase, RouteState, Side
from proxy.core.policy import Advance, Revert, Step
from proxy.observe.assessing import Assessment
from proxy.store.records import Record, Replica, Stored
from tests.control.estate import route

LADDER = Advance((Step(Phase(25)), Step(Phase(50))), dwell_s=0.0, min_samples=0, min_coverage=0.5)


class Replicated:
    """The guard of one replica, `id`, of two: a1 climbs."""

    def __init__(self, id: str) -> None:
        self.judged: list[Judged] = []
        self.low: list[tuple[str, float, float]] = []
        self.guard = Guard(self.judged.append, lambda *low: self.low.append(low))
        state = RouteState.of_phase(Phase(25))
        record = Record("a", 1, "d", state.phase, state.phase, state.authority)
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
