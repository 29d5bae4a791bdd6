"""The reconciler, rule by rule. The rules that hold whatever happens are in test_moves.py."""

import pytest

from proxy.control.authority import LONGEST_RETRY_S, retry_after_s
from proxy.control.inbox import Inbox
from proxy.control.reconciler import ABSENT_KEPT, ABSENT_KEPT_S, decide, next_deadline
from proxy.control.steering import Order
from proxy.control.world import (
    Event,
    Ordered,
    SlotJoined,
    SlotQuiet,
    StoreRead,
    World,
    WriteMissed,
)
from proxy.core.model import (
    DUAL_WRITE,
    LEGACY_ONLY,
    NEW_ONLY,
    SHADOW_READ,
    UNMATCHED,
    ZERO,
    Phase,
    RouteState,
    Side,
)
from proxy.store.records import Stored
from tests.control.estate import at, route, table

NINETY = Phase(90)
ALL_PHASES = [LEGACY_ONLY, SHADOW_READ, ZERO, Phase(1), Phase(99), DUAL_WRITE, NEW_ONLY]


def world_with(*events: Event, slots: int = 2, stored: Stored | None = None) -> World:
    world = World.begin(slots, stored or Stored(starts=1))
    for event in events:
        world = decide(world, [event], at(0)).world
    return world


@pytest.mark.parametrize("phase", ALL_PHASES, ids=str)
def test_a_route_that_was_never_elsewhere_is_in_its_declared_phase(phase: Phase) -> None:
    decision = decide(world_with(), [table(route("a", phase))], at(0))
    assert decision.states["a"] == RouteState.of_phase(phase)
    assert decision.new_table
    assert {record.name for record in decision.change.records} == {"a", UNMATCHED}
    assert decision.change.transitions == ()


def test_the_same_table_again_changes_nothing() -> None:
    world = world_with(table(route("a", ZERO)))
    decision = decide(world, [table(route("a", ZERO))], at(1))
    assert not decision.change
    assert not decision.new_table
    assert decision.world.revision == world.revision


def test_the_same_table_is_compiled_again_when_forced() -> None:
    world = world_with(table(route("a", ZERO)))
    decision = decide(world, [table(route("a", ZERO), forced=True)], at(1))
    assert decision.new_table
    assert decision.world.generation == world.generation + 1


def test_a_restarted_controller_keeps_the_generation_of_an_unchanged_file() -> None:
    world = world_with(table(route("a", ZERO)))
    decision = decide(World.begin(2, world.stored), [table(route("a", ZERO))], at(1))
    assert decision.new_table
    assert decision.world.generation == world.generation


def test_revisions_of_a_later_start_are_higher() -> None:
    world = world_with(table(route("a", ZERO)))
    later = World.begin(2, Stored(world.stored.starts + 1, world.stored.table, {}))
    assert later.revision > world.revision


@pytest.mark.parametrize("before", ALL_PHASES, ids=str)
@pytest.mark.parametrize("after", ALL_PHASES, ids=str)
def test_every_change_of_phase_moves_reads_at_once(before: Phase, after: Phase) -> None:
    world = world_with(table(route("a", before)))
    decision = decide(world, [table(route("a", after))], at(1))
    state = decision.world.states["a"]
    assert state.phase == after
    assert state.authority is before.authority
    assert state.writes_paused == (before.authority is not after.authority)
    assert [t.kind for t in decision.change.transitions] == (["phase"] if before != after else [])


def test_authority_moves_when_every_slot_is_quiet() -> None:
    world = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE)))
    paused = world.revision
    decision = decide(world, [SlotQuiet(0, "a", paused)], at(1))
    assert decision.world.states["a"].writes_paused
    decision = decide(decision.world, [SlotQuiet(1, "a", paused)], at(2))
    assert decision.states == {"a": RouteState(DUAL_WRITE, Side.NEW)}
    assert [record.authority for record in decision.change.records] == [Side.NEW]
    assert decision.world.moves == {}
    assert decision.world.revision == paused + 1


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([(0, -1), (1, -1)], id="before the pause"),
        pytest.param([(0, 0), (7, 0)], id="a slot that is not ours"),
        pytest.param([(0, 0), (0, 0)], id="one slot twice"),
    ],
)
def test_authority_stays_while_a_slot_has_not_said_quiet(said: list[tuple[int, int]]) -> None:
    world = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE)))
    events = [SlotQuiet(slot, "a", world.revision + offset) for slot, offset in said]
    assert decide(world, events, at(1)).world.states["a"].authority is Side.LEGACY


def test_a_slot_that_joins_again_has_to_say_quiet_again() -> None:
    world = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE)))
    quiet = [SlotQuiet(slot, "a", world.revision) for slot in (0, 1)]
    decision = decide(world, [quiet[0], SlotJoined(0), quiet[1]], at(1))
    assert decision.world.states["a"].authority is Side.LEGACY
    decision = decide(decision.world, [quiet[0]], at(1))
    assert decision.world.states["a"].authority is Side.NEW


def test_a_move_with_a_stuck_slot_is_given_up_alarmed_and_tried_again() -> None:
    world = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE)))
    world = decide(world, [SlotQuiet(0, "a", world.revision)], at(1)).world
    assert next_deadline(world) == 5.0
    given_up = decide(world, [], at(5))
    assert given_up.states == {"a": RouteState(DUAL_WRITE, Side.LEGACY)}
    assert [(a.level, a.fields["waited_for_slots"]) for a in given_up.alarms] == [("error", [1])]
    assert not given_up.change
    assert next_deadline(given_up.world) == 15.0

    # What was said in the first pause counts no more.
    retried = decide(given_up.world, [SlotQuiet(1, "a", world.revision)], at(15))
    assert retried.states["a"].writes_paused
    quiet = SlotQuiet(1, "a", retried.world.revision)
    assert decide(retried.world, [quiet], at(16)).world.states["a"].writes_paused
    done = decide(retried.world, [quiet, SlotQuiet(0, "a", retried.world.revision)], at(16))
    assert done.states == {"a": RouteState(DUAL_WRITE, Side.NEW)}


def test_tries_grow_rarer_up_to_a_limit() -> None:
    assert [retry_after_s(1, 5.0), retry_after_s(2, 5.0)] == [10.0, 20.0]
    assert retry_after_s(5000, 5.0) == LONGEST_RETRY_S


def test_an_edit_back_ends_the_pause_at_once() -> None:
    world = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE)))
    decision = decide(world, [table(route("a", NINETY))], at(1))
    assert decision.states["a"] == RouteState(NINETY, Side.LEGACY)
    assert decision.world.moves == {}


def test_a_controller_that_died_in_a_pause_begins_the_move_again() -> None:
    world = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE)))
    stored = Stored(world.stored.starts + 1, world.stored.table, world.stored.records)
    decision = decide(World.begin(2, stored), [table(route("a", DUAL_WRITE))], at(1))
    assert decision.states["a"] == RouteState(DUAL_WRITE, Side.LEGACY, writes_paused=True)


def test_split_writes_need_no_pause() -> None:
    world = world_with(table(route("a", NINETY, split_writes=True)))
    decision = decide(world, [table(route("a", DUAL_WRITE, split_writes=True))], at(1))
    assert decision.states["a"] == RouteState(DUAL_WRITE, Side.NEW)


def test_a_missed_write_is_stored_and_published_once() -> None:
    world = world_with(table(route("a", LEGACY_ONLY)))
    decision = decide(world, [WriteMissed("a", Side.NEW), WriteMissed("a", Side.NEW)], at(1))
    assert decision.states["a"].missed == {Side.NEW}
    assert [record.missed for record in decision.change.records] == [{Side.NEW}]
    assert [t.kind for t in decision.change.transitions] == ["missed"]
    assert not decide(decision.world, [WriteMissed("a", Side.NEW)], at(2)).change


def test_a_missed_write_of_a_route_that_just_left_the_table_is_not_forgotten() -> None:
    world = world_with(table(route("a", LEGACY_ONLY)), table())
    decision = decide(world, [WriteMissed("a", Side.NEW)], at(1))
    assert [record.missed for record in decision.change.records] == [{Side.NEW}]
    assert decision.states == {}


@pytest.mark.parametrize(
    ("after", "left"),
    [
        (SHADOW_READ, {Side.NEW}),
        (ZERO, set()),
        (DUAL_WRITE, set()),
        (NEW_ONLY, set()),
    ],
    ids=str,
)
def test_accept_loss_lifts_the_flag_where_the_side_gets_every_write(
    after: Phase, left: set[Side]
) -> None:
    world = world_with(table(route("a", LEGACY_ONLY)), WriteMissed("a", Side.NEW))
    kept = decide(world, [table(route("a", after))], at(1)).world
    assert kept.states["a"].missed == {Side.NEW}
    lifted = decide(world, [table(route("a", after, accept_loss=True))], at(1)).world
    assert lifted.states["a"].missed == left


def test_accept_loss_that_stays_in_the_file_lifts_no_later_flag() -> None:
    world = world_with(table(route("a", DUAL_WRITE, accept_loss=True)))
    world = decide(world, [WriteMissed("a", Side.LEGACY)], at(1)).world
    again = table(route("a", DUAL_WRITE, accept_loss=True, rewrite="/b"))
    assert decide(world, [again], at(2)).world.states["a"].missed == {Side.LEGACY}


def test_a_route_that_comes_back_finds_its_authority_and_its_flags() -> None:
    world = world_with(table(route("a", DUAL_WRITE)), WriteMissed("a", Side.LEGACY), table())
    assert "a" not in world.states
    decision = decide(world, [table(route("a", NINETY))], at(1))
    assert decision.world.states["a"] == RouteState(
        NINETY, Side.NEW, writes_paused=True, missed=frozenset({Side.LEGACY})
    )


def test_records_of_absent_routes_are_bounded_in_number_and_age() -> None:
    many = [route(f"r{number}", ZERO) for number in range(ABSENT_KEPT + 5)]
    world = world_with(table(*many), table())
    assert len(world.stored.records) == ABSENT_KEPT + 1
    decision = decide(world, [table(route("b", ZERO))], at(ABSENT_KEPT_S + 1))
    assert set(decision.world.stored.records) == {"b", UNMATCHED}
    assert len(decision.change.forgotten) == ABSENT_KEPT


def test_frozen_keeps_to_the_snapshot_but_for_what_cannot_wait() -> None:
    stored = world_with(table(route("a", DUAL_WRITE))).stored
    world = World.begin(2, stored, frozen=True)
    edited = table(route("a", LEGACY_ONLY), route("b", NINETY))
    decision = decide(world, [edited, WriteMissed("a", Side.LEGACY)], at(1))
    [changed] = decision.change.records
    assert (changed.generation, changed.effective) == (2, DUAL_WRITE)
    assert changed.missed == {Side.LEGACY}
    assert decision.new_table
    flagged = RouteState(DUAL_WRITE, Side.NEW, missed=frozenset({Side.LEGACY}))
    assert decision.world.states["a"] == flagged
    assert decision.world.states["b"] == RouteState.of_phase(NINETY)
    assert decision.world.generation == stored.table.generation + 1
    assert [alarm.event for alarm in decision.alarms] == ["side misses writes"]

    thawed = decide(decision.world, [StoreRead(Stored(9, stored.table, stored.records))], at(2))
    assert thawed.states["a"] == RouteState(LEGACY_ONLY, Side.NEW, True, flagged.missed)
    assert thawed.change.table == decision.world.stored.table
    assert thawed.world.revision > 9_000_000_000


@pytest.mark.parametrize(
    ("order", "is_done"),
    [
        (Order("revert", "x"), True),
        (Order("revert", "x", to=SHADOW_READ), True),
        (Order("revert", "x", to=SHADOW_READ, accept_loss=True), False),
        (Order("advance", "x", to=DUAL_WRITE), False),
        (Order("hold", "x"), False),
        (Order("resume", "x"), False),
    ],
)
def test_of_orders_only_a_revert_is_done_while_the_store_is_away(
    order: Order, is_done: bool
) -> None:
    stored = world_with(table(route("a", NINETY))).stored
    frozen = decide(World.begin(2, stored, frozen=True), [table(route("a", NINETY))], at(0)).world
    decision = decide(frozen, [Ordered(7, "a", order)], at(1))
    assert ("only a revert can be done" in decision.answers[7]) is not is_done
    assert (decision.world.stored.records["a"].latch is not None) is is_done
    inbox = Inbox()
    inbox.put(Ordered(7, "a", order))
    assert (inbox.take_pressing() == [Ordered(7, "a", order)]) is is_done
    assert bool(inbox.take()) is not is_done


def test_records_that_a_store_has_lost_are_put_back_loudly() -> None:
    world = world_with(table(route("a", NINETY), route("b", ZERO)))
    records = {name: each for name, each in world.stored.records.items() if name != "a"}
    decision = decide(world, [StoreRead(Stored(1, world.stored.table, records))], at(1))
    assert [record.name for record in decision.change.records] == ["a"]
    [alarm] = decision.alarms
    assert (alarm.level, dict(alarm.fields)) == ("critical", {"routes": 1})


def test_a_stored_authority_that_was_never_published_is_reached_by_a_move() -> None:
    """The store had swapped before it went away; the snapshot, and so the workers, had not."""
    legacy = world_with(table(route("a", NINETY)), table(route("a", DUAL_WRITE))).stored
    swapped = world_with(table(route("a", DUAL_WRITE))).stored
    frozen = decide(World.begin(2, legacy, frozen=True), [table(route("a", DUAL_WRITE))], at(0))
    assert frozen.world.states["a"] == RouteState(DUAL_WRITE, Side.LEGACY)
    records = {**legacy.records, "a": swapped.records["a"]}
    decision = decide(frozen.world, [StoreRead(Stored(2, legacy.table, records))], at(1))
    assert decision.world.states["a"] == RouteState(DUAL_WRITE, Side.LEGACY, writes_paused=True)
