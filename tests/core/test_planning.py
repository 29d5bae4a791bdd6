"""The plans against the contract's table: one row a phase, and the rules under it."""

import pytest

from proxy.core.model import (
    DUAL_WRITE,
    LEGACY_ONLY,
    NEW_ONLY,
    SHADOW_READ,
    UNMATCHED,
    ZERO,
    Phase,
    Route,
    RouteState,
    Side,
)
from proxy.core.planning import (
    ReadPlan,
    WritePlan,
    draws_new,
    needs_draw,
    plan_read,
    plan_write,
    under_maintenance,
)

LEGACY, NEW = Side.LEGACY, Side.NEW
QUARTER = Phase(25)
ROUTE = Route("orders", "/orders", (), None, "/orders", LEGACY_ONLY)


def changed(**settings: object) -> Route:
    return Route("orders", "/orders", (), None, "/orders", LEGACY_ONLY, **settings)  # type: ignore[arg-type]  # the fields are checked where they are read


@pytest.mark.parametrize(
    ("phase", "to_new", "plan"),
    [
        (LEGACY_ONLY, False, ReadPlan(LEGACY)),
        (LEGACY_ONLY, True, ReadPlan(LEGACY)),
        (SHADOW_READ, False, ReadPlan(LEGACY, NEW)),
        (SHADOW_READ, True, ReadPlan(LEGACY, NEW)),
        (ZERO, False, ReadPlan(LEGACY, NEW)),
        (ZERO, True, ReadPlan(LEGACY, NEW)),
        (QUARTER, False, ReadPlan(LEGACY, NEW)),
        (QUARTER, True, ReadPlan(NEW, LEGACY, fallback=LEGACY)),
        (DUAL_WRITE, False, ReadPlan(NEW, LEGACY, fallback=LEGACY)),
        (NEW_ONLY, False, ReadPlan(NEW, None, fallback=LEGACY)),
    ],
)
def test_reads(phase: Phase, to_new: bool, plan: ReadPlan) -> None:
    assert plan_read(ROUTE, RouteState.of_phase(phase), to_new) == plan


@pytest.mark.parametrize(
    ("phase", "plan"),
    [
        (LEGACY_ONLY, WritePlan(LEGACY, misses=NEW)),
        (SHADOW_READ, WritePlan(LEGACY, misses=NEW)),
        (ZERO, WritePlan(LEGACY, second=NEW)),
        (QUARTER, WritePlan(LEGACY, second=NEW, wait_for_second=True)),
        (Phase(99), WritePlan(LEGACY, second=NEW, wait_for_second=True)),
        (DUAL_WRITE, WritePlan(NEW, second=LEGACY)),
        (NEW_ONLY, WritePlan(NEW, misses=LEGACY)),
    ],
)
@pytest.mark.parametrize("to_new", [False, True])
def test_writes_to_both_whatever_the_draw(phase: Phase, to_new: bool, plan: WritePlan) -> None:
    assert plan_write(ROUTE, RouteState.of_phase(phase), to_new) == plan


@pytest.mark.parametrize(
    ("phase", "to_new", "answer"),
    [
        (LEGACY_ONLY, True, LEGACY),
        (ZERO, True, LEGACY),
        (QUARTER, False, LEGACY),
        (QUARTER, True, NEW),
        (DUAL_WRITE, False, NEW),
        (NEW_ONLY, False, NEW),
    ],
)
def test_split_writes_go_where_the_reads_go(phase: Phase, to_new: bool, answer: Side) -> None:
    split = changed(split_writes=True)
    assert plan_write(split, RouteState.of_phase(phase), to_new) == WritePlan(answer)


@pytest.mark.parametrize("phase", [LEGACY_ONLY, QUARTER, DUAL_WRITE, NEW_ONLY])
@pytest.mark.parametrize("authority", [LEGACY, NEW])
def test_while_a_move_is_pending_no_side_misses_a_write(phase: Phase, authority: Side) -> None:
    plan = plan_write(ROUTE, RouteState(phase, authority), False)
    assert plan.answer is authority
    if authority is not phase.authority:
        assert plan.second is authority.other
        assert plan.misses is None


@pytest.mark.parametrize(
    ("ack", "phase", "waits"),
    [
        ("auto", ZERO, False),
        ("auto", QUARTER, True),
        ("auto", DUAL_WRITE, False),
        ("both", ZERO, True),
        ("both", DUAL_WRITE, True),
        ("authoritative", QUARTER, False),
    ],
)
def test_who_waits_for_both(ack: str, phase: Phase, waits: bool) -> None:
    plan = plan_write(changed(ack=ack), RouteState.of_phase(phase), False)
    assert plan.wait_for_second is waits


def test_no_fallback_to_a_side_that_has_missed_writes() -> None:
    state = RouteState(NEW_ONLY, NEW, missed=frozenset({LEGACY}))
    assert plan_read(ROUTE, state, False).fallback is None
    assert plan_read(changed(fallback=False), RouteState.of_phase(DUAL_WRITE), False) == ReadPlan(
        NEW, LEGACY
    )


def test_an_override_chooses_the_side_and_is_not_judged() -> None:
    plan = plan_read(ROUTE, RouteState.of_phase(QUARTER), False, override=NEW)
    assert plan == ReadPlan(NEW, judged=False)


def test_no_side_misses_a_write_that_no_route_takes() -> None:
    unmatched = Route(UNMATCHED, "/*", (), None, "/*", LEGACY_ONLY)
    assert plan_write(unmatched, RouteState.of_phase(LEGACY_ONLY), False) == WritePlan(LEGACY)


def test_the_draw_decides_between_1_and_99_alone() -> None:
    assert [p.progress for p in map(Phase, range(-2, 102)) if needs_draw(ROUTE, p, True)] == [
        *range(1, 100)
    ]
    assert not needs_draw(ROUTE, QUARTER, False)
    assert needs_draw(changed(split_writes=True), QUARTER, False)
    assert draws_new(QUARTER, 24.999)
    assert not draws_new(QUARTER, 25.0)


@pytest.mark.parametrize(
    ("maintenance", "reads", "writes"),
    [(None, False, False), ("reads", True, False), ("writes", False, True), ("all", True, True)],
)
def test_maintenance(maintenance: str | None, reads: bool, writes: bool) -> None:
    route = changed(maintenance=maintenance)
    assert under_maintenance(route, True) is reads
    assert under_maintenance(route, False) is writes
