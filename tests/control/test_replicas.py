"""What replicas mean for each other, rule by rule. What holds in any order: test_replicas_model."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from proxy.control.reconciler import decide
from proxy.control.replicas import declared_digest, is_warden, leads, loud, reconciled
from proxy.control.steering import Order
from proxy.control.world import Event, Ordered, SlotQuiet, StoreRead, World
from proxy.core.ladder import Progress
from proxy.core.model import (
    DUAL_WRITE,
    LEGACY_ONLY,
    NEW_ONLY,
    UNMATCHED,
    ZERO,
    Phase,
    RouteState,
    Side,
)
from proxy.store.records import Latch, Record, Replica, Stored, after
from tests.control.estate import at, route, table

NINETY_NINE = Phase(99)


def shared(me: str, *replicas: Replica, records: dict[str, Record] | None = None) -> Stored:
    return Stored(starts=1, records=records or {}, replica=me, replicas=replicas)


def replica(id: str, order: int, **quiet: int) -> Replica:
    return Replica(id, f"machine {id}", order, 0.0, dict(quiet))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (Stored(), (True, True)),  # nobody can share it
        (shared("a", replica("a", 1)), (True, True)),
        (shared("a", replica("a", 0)), (False, False)),  # it has not said its file yet
        (shared("a"), (False, False)),  # it was taken for gone
        (shared("a", replica("a", 1), replica("b", 2)), (False, False)),
        (shared("b", replica("a", 1), replica("b", 2)), (True, True)),
        (shared("a", replica("a", 2), replica("b", 2), replica("c", 1)), (True, True)),
        (shared("b", replica("a", 2), replica("b", 2), replica("c", 1)), (True, False)),
    ],
)
def test_who_leads_and_who_climbs(stored: Stored, expected: tuple[bool, bool]) -> None:
    assert (leads(stored), is_warden(stored)) == expected


def test_the_digest_of_a_file_has_the_environment_in_it() -> None:
    file = table(route("a", ZERO), digest="text")
    assert declared_digest(file) == declared_digest(table(route("a", ZERO), digest="commented"))
    for other in (
        table(route("a", DUAL_WRITE), digest="text"),
        table(route("a", ZERO, digest="another backend"), digest="text"),
    ):
        assert declared_digest(other) != declared_digest(file)


MINE = Record("a", 5, "d", Phase(25), Phase(25), Side.LEGACY, progress=Progress(100.0))
LATCH = Latch(200.0, Phase(25), ZERO, "guard", "errors beyond what is declared")
REVERTED = replace(MINE, effective=ZERO, latch=LATCH, progress=Progress(200.0))


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        # What the store says holds.
        (None, MINE, MINE),
        (MINE, replace(MINE, generation=6, effective=ZERO), None),
        (REVERTED, replace(MINE, generation=9, resumed_at=300.0), None),
        (REVERTED, replace(MINE, generation=9, progress=Progress(300.0)), None),
        # Only the generation differs: there is nothing to write.
        (replace(MINE, generation=9), MINE, MINE),
        # It was put back to an older state.
        (replace(REVERTED, generation=9), MINE, REVERTED),
        # A latch that was set while it was out of reach, whatever others wrote meanwhile.
        (replace(REVERTED, generation=6), replace(MINE, generation=6), "latched"),
        (
            replace(REVERTED, generation=6),
            replace(MINE, generation=8, progress=Progress(100.0, 60.0)),
            "latched",
        ),
        # Not under other rules, and not to a side that misses writes by now.
        (replace(REVERTED, generation=6), replace(MINE, generation=8, digest="e"), None),
        (
            replace(REVERTED, generation=6),
            replace(MINE, generation=8, missed=frozenset({Side.LEGACY})),
            None,
        ),
    ],
)
def test_what_a_store_has_lost_or_was_never_told(
    mine: Record | None, theirs: Record, expected: Record | str | None
) -> None:
    found = reconciled(mine, theirs)
    if expected == "latched":
        assert (found.effective, found.latch) == (ZERO, LATCH)
        assert found.generation == theirs.generation
    else:
        assert found == (theirs if expected is None else expected)


def test_flags_of_both_hold_where_each_was_written_without_the_other() -> None:
    mine = replace(MINE, missed=frozenset({Side.NEW}))
    theirs = replace(MINE, effective=LEGACY_ONLY, missed=frozenset({Side.LEGACY}))
    assert reconciled(mine, theirs).missed == {Side.NEW, Side.LEGACY}
    later = replace(theirs, generation=6)
    assert reconciled(mine, later) == later


# Decisions of one of two replicas


class Two:
    """Replica a as it decides, beside replica b as the store shows it. The commit is a value."""

    def __init__(self, phase: Phase, b: Replica, order: int = 1) -> None:
        self.stored = shared("a", replica("a", order), b)
        self.world = World.begin(1, self.stored)
        self.clock = 0.0
        self.decides(table(route("a", phase), digest=str(phase)))

    def decides(self, *events: Event) -> RouteState:
        decision = decide(self.world, events, at(self.clock))
        self.stored = after(self.stored, decision.change)
        self.change = decision.change
        self.alarms = [alarm.event for alarm in decision.alarms]
        self.world = decision.world
        return decision.world.states["a"]

    def reads(self, change: Callable[[Stored], Stored]) -> RouteState:
        self.stored = change(self.stored)
        return self.decides(StoreRead(self.stored))

    def is_quiet(self) -> RouteState:
        return self.decides(SlotQuiet(0, "a", self.world.revision))


def with_b(b: Replica) -> Callable[[Stored], Stored]:
    return lambda stored: replace(
        stored, replicas=tuple(b if each.id == "b" else each for each in stored.replicas)
    )


def with_record(**changed: object) -> Callable[[Stored], Stored]:
    """Another replica has written to the record."""

    def change(stored: Stored) -> Stored:
        record = stored.records["a"]
        fresh = replace(record, generation=record.generation + 1, **changed)
        return replace(stored, records={**stored.records, "a": fresh})

    return change


def test_an_older_file_declares_nothing_and_keeps_to_what_is_stored() -> None:
    two = Two(Phase(25), replica("b", 2))
    # Nothing is known of the route: it is served as the file says, and nothing is written of it.
    assert two.world.states["a"] == RouteState.of_phase(Phase(25))
    assert two.change.records == ()
    record = Record("a", 1, "a newer digest", ZERO, Phase(50), Side.LEGACY)
    state = two.reads(lambda stored: replace(stored, records={"a": record}))
    assert state == RouteState(Phase(50), Side.LEGACY)
    assert not two.change
    # The newer file is gone: what this one says is declared.
    state = two.reads(lambda stored: replace(stored, replicas=stored.replicas[:1]))
    assert state == RouteState(Phase(25), Side.LEGACY)
    assert [line.by for line in two.change.transitions] == ["file"]


def test_authority_waits_for_the_word_of_the_other_replica_of_the_same_record() -> None:
    two = Two(NINETY_NINE, replica("b", 1))
    state = two.decides(table(route("a", DUAL_WRITE), digest="edited"))
    assert state.writes_paused
    two.is_quiet()
    assert two.change.quiet == {"a": 2}
    assert loud(two.stored, "a", 2) == ["machine b"]
    two.reads(with_b(replica("b", 1, a=1)))  # of an earlier generation: it does not count
    assert not two.change.swapped
    state = two.reads(with_b(replica("b", 1, a=2)))
    assert two.change.swapped == {"a": 2}
    assert state == RouteState(DUAL_WRITE, Side.NEW)
    assert two.stored.replicas[0].quiet == {}


def test_a_pause_that_is_given_up_is_taken_back_first_and_the_next_one_joined() -> None:
    two = Two(NINETY_NINE, replica("b", 1))
    two.decides(table(route("a", DUAL_WRITE), digest="edited"))
    two.is_quiet()
    two.clock += 6.0
    state = two.decides()
    assert two.change.withdrawn == {"a": 2}
    assert state == RouteState(DUAL_WRITE, Side.LEGACY)
    assert two.alarms == ["write authority could not be moved, the old one stays"]
    two.clock += 1.0
    assert not two.decides().writes_paused  # its next try is later
    assert two.reads(with_b(replica("b", 1, a=2))).writes_paused  # but the other one holds already
    state = two.is_quiet()
    assert state == RouteState(DUAL_WRITE, Side.NEW)


def test_no_write_waits_for_a_replica_that_is_not_heard_of() -> None:
    two = Two(NINETY_NINE, replace(replica("b", 1), age_s=4.0))
    state = two.decides(table(route("a", DUAL_WRITE), digest="edited"))
    assert state == RouteState(DUAL_WRITE, Side.LEGACY)
    two.clock += 60.0
    assert not two.decides().writes_paused
    assert two.reads(with_b(replica("b", 1))).writes_paused is False  # its next look is soon
    two.clock += 3.0
    assert two.decides().writes_paused


def test_what_no_route_matches_is_not_moved() -> None:
    two = Two(NINETY_NINE, replica("b", 1))
    order = Order("advance", "why", to=NEW_ONLY)
    decision = decide(two.world, [Ordered(1, UNMATCHED, order)], at(1))
    assert "declare a route" in decision.answers[1]


def test_a_word_that_is_about_a_move_that_is_over_is_taken_back() -> None:
    two = Two(NINETY_NINE, replica("b", 1))
    two.decides(table(route("a", DUAL_WRITE), digest="edited"))
    two.is_quiet()
    state = two.reads(with_record(effective=NINETY_NINE, declared=DUAL_WRITE))
    assert state == RouteState(NINETY_NINE, Side.LEGACY)
    assert two.change.withdrawn == {"a": 2}


def test_a_replica_without_which_authority_was_moved_holds_writes_until_its_workers_are_quiet() -> (
    None
):
    two = Two(NINETY_NINE, replica("b", 1))
    moved = with_record(authority=Side.NEW, effective=NEW_ONLY, declared=NINETY_NINE)
    state = two.reads(moved)
    assert state == RouteState(NEW_ONLY, Side.LEGACY, writes_paused=True)
    assert two.alarms == ["authority was moved without this replica"]
    assert not two.change.records  # it is never moved back for that
    two.clock += 6.0
    assert two.decides().writes_paused
    assert two.alarms == [
        "authority was moved without this replica, its workers hold on to the old one"
    ]
    assert two.is_quiet() == RouteState(NEW_ONLY, Side.NEW)
    assert not two.change.records
