"""Reverts, advances, holds and resumes, edge by edge."""

import pytest
from msgspec.structs import replace

from proxy.control.steering import (
    Order,
    Policy,
    Steered,
    climb,
    go_back,
    is_ready,
    lacking,
    obey,
    tell_ready,
)
from proxy.core.guard import Verdict
from proxy.core.ladder import Progress
from proxy.core.model import (
    DUAL_WRITE,
    LEGACY_ONLY,
    NEW_ONLY,
    SHADOW_READ,
    ZERO,
    Phase,
    Route,
    Side,
)
from proxy.core.policy import Advance, Revert, Step
from proxy.store.records import Hold, Latch, Record

NOW = 1000.0
LADDER = Policy(Revert(), Advance((Step(SHADOW_READ), Step(ZERO), Step(Phase(10)), Step(NEW_ONLY))))
PLAIN = Policy(Revert())
FAILING = Verdict("failing", "37 of 40 diverged", "divergence")
PASSING = Verdict("passing", "all is well")
ONE, NINETY_NINE = Phase(1), Phase(99)
PHASES = (LEGACY_ONLY, SHADOW_READ, ZERO, ONE, NINETY_NINE, DUAL_WRITE, NEW_ONLY)
LEGACY, NEW = frozenset({Side.LEGACY}), frozenset({Side.NEW})


def route(*, accept_loss: bool = False) -> Route:
    return Route("r", "/r", (), None, "/r", ZERO, accept_loss=accept_loss)


def record(phase: Phase, **changed: object) -> Record:
    made = Record("r", 3, "d", phase, phase, phase.authority)
    return replace(made, **changed)


def fail(before: Record, policy: Policy = PLAIN, *, accept_loss: bool = False) -> Steered:
    return go_back(before, route(accept_loss=accept_loss), policy, "divergence", "37 of 40", NOW)


def order(before: Record, asked: Order, policy: Policy = PLAIN) -> Steered:
    return obey(before, route(), policy, asked, NOW)


def asked(action: str, **more: object) -> Order:
    return Order(action, "because", **more)  # type: ignore[arg-type]


# The guard

BACK = {
    SHADOW_READ: LEGACY_ONLY,
    ONE: ZERO,
    NINETY_NINE: ZERO,
    DUAL_WRITE: ZERO,
    NEW_ONLY: ZERO,
}


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_where_a_failing_route_goes(phase: Phase) -> None:
    steered = fail(record(phase))
    line = steered.transition
    assert line is not None
    if phase in BACK:
        assert steered.record.effective == BACK[phase]
        assert steered.record.latch == Latch(
            NOW, phase, BACK[phase], "guard", "divergence beyond what is declared", "37 of 40"
        )
        assert (line.kind, line.before, line.after) == ("revert", str(phase), str(BACK[phase]))
        assert line.evidence == "37 of 40"
    else:
        assert steered.record == replace(record(phase), refused_at=NOW)
        assert line.kind == "refused"
        assert steered.refusal.startswith("it stays: ")


@pytest.mark.parametrize("phase", PHASES, ids=str)
@pytest.mark.parametrize("to", PHASES, ids=str)
def test_a_declared_target_is_gone_to_only_backwards(phase: Phase, to: Phase) -> None:
    steered = fail(record(phase), Policy(Revert(to=to)))
    if to < phase:
        assert steered.record.effective == to
    else:
        assert steered.record.effective == phase
        assert steered.transition is not None
        assert steered.transition.kind == "refused"


def test_legacy_that_missed_writes_is_not_gone_back_to() -> None:
    before = record(NEW_ONLY, missed=LEGACY)
    steered = fail(before)
    assert steered.record == replace(before, refused_at=NOW)
    assert "legacy missed writes" in steered.refusal
    # Neither word alone is enough.
    assert fail(before, accept_loss=True).refusal
    assert fail(before, Policy(Revert(to=ZERO))).refusal
    both = fail(before, Policy(Revert(to=ZERO)), accept_loss=True)
    assert (both.record.effective, both.record.missed) == (ZERO, frozenset())


def test_a_route_that_went_back_and_still_fails_is_not_told_again() -> None:
    back = fail(record(ONE)).record
    assert fail(back) == Steered(back, None, "it has been taken back already")


def test_new_that_missed_writes_does_not_hinder_a_revert() -> None:
    assert fail(record(SHADOW_READ, missed=NEW)).record.effective == LEGACY_ONLY
    assert fail(record(ONE, missed=NEW)).record.missed == NEW


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_who_would_answer_and_lacks_writes(phase: Phase) -> None:
    everything = LEGACY | NEW
    answering = {
        LEGACY_ONLY: LEGACY,
        SHADOW_READ: LEGACY,
        ZERO: LEGACY,
        DUAL_WRITE: NEW,
        NEW_ONLY: NEW,
    }
    assert lacking(everything, phase) == answering.get(phase, everything)
    assert lacking(frozenset(), phase) == frozenset()


# The ladder


@pytest.mark.parametrize(
    ("phase", "to"),
    [(LEGACY_ONLY, SHADOW_READ), (SHADOW_READ, ZERO), (ZERO, Phase(10)), (ONE, Phase(10))],
    ids=str,
)
def test_a_route_climbs_to_the_next_rung(phase: Phase, to: Phase) -> None:
    steered = climb(record(phase), route(), LADDER, "healthy", NOW)
    assert steered.record.effective == to
    assert steered.record.progress is not None
    assert steered.record.progress.since == NOW
    assert steered.transition is not None
    assert (steered.transition.kind, steered.transition.by) == ("advance", "ladder")


@pytest.mark.parametrize(
    "before",
    [
        record(NEW_ONLY),
        record(ZERO, latch=Latch(1.0, ONE, ZERO, "guard", "")),
        record(ZERO, hold=Hold(1.0, "freeze")),
        record(ZERO, missed=NEW),
    ],
    ids=["at the end", "latched", "on hold", "new lacks writes"],
)
def test_what_keeps_a_route_from_climbing(before: Record) -> None:
    steered = climb(before, route(), LADDER, "healthy", NOW)
    assert steered.refusal
    assert (steered.record, steered.transition) == (before, None)


# Orders


@pytest.mark.parametrize("phase", PHASES, ids=str)
@pytest.mark.parametrize("to", [None, *PHASES], ids=str)
def test_a_revert_by_hand(phase: Phase, to: Phase | None) -> None:
    steered = order(record(phase), asked("revert", to=to))
    target = to if to is not None else BACK.get(phase)
    if target is None or target >= phase:
        assert steered.refusal
        assert steered.record == record(phase)
    else:
        assert steered.record.effective == target
        assert steered.record.latch is not None
        assert steered.record.latch.before == phase
        assert steered.transition is not None
        assert (steered.transition.by, steered.transition.reason) == ("operator", "because")


def test_a_second_revert_keeps_where_the_first_one_began() -> None:
    first = order(record(NINETY_NINE), asked("revert")).record
    second = order(first, asked("revert", to=LEGACY_ONLY)).record
    assert second.latch is not None
    assert (second.latch.before, second.effective) == (NINETY_NINE, LEGACY_ONLY)


def test_a_revert_to_a_side_that_lacks_writes_takes_two_words() -> None:
    before = record(NEW_ONLY, missed=LEGACY)
    for more in ({}, {"to": ZERO}, {"accept_loss": True}):
        assert "legacy missed writes" in order(before, asked("revert", **more)).refusal
    done = order(before, asked("revert", to=ZERO, accept_loss=True))
    assert (done.record.effective, done.record.missed) == (ZERO, frozenset())


@pytest.mark.parametrize("phase", PHASES, ids=str)
@pytest.mark.parametrize("to", PHASES, ids=str)
def test_an_advance_by_hand_goes_forward_only(phase: Phase, to: Phase) -> None:
    steered = order(record(phase), asked("advance", to=to))
    assert bool(steered.refusal) == (to <= phase)
    assert steered.record.effective == (phase if to <= phase else to)


def test_an_advance_without_a_phase_takes_the_next_rung() -> None:
    approving = Policy(Revert(), Advance((Step(ZERO), Step(NEW_ONLY)), approve=(NEW_ONLY,)))
    assert order(record(ZERO), asked("advance"), approving).record.effective == NEW_ONLY
    assert "no ladder" in order(record(ZERO), asked("advance")).refusal
    assert "end of its ladder" in order(record(NEW_ONLY), asked("advance"), LADDER).refusal


def test_an_advance_is_refused_while_latched_failing_or_lacking_writes() -> None:
    latched = record(ZERO, latch=Latch(1.0, ONE, ZERO, "guard", ""))
    assert "resume it first" in order(latched, asked("advance", to=ONE, force=True)).refusal
    failing = asked("advance", to=ONE, verdict=FAILING)
    assert "failing" in order(record(ZERO), failing).refusal
    forced = asked("advance", to=ONE, verdict=FAILING, force=True)
    assert order(record(ZERO), forced).record.effective == ONE
    behind = record(ZERO, missed=NEW)
    assert "new missed writes" in order(behind, asked("advance", to=ONE)).refusal
    accepted = order(behind, asked("advance", to=ONE, accept_loss=True)).record
    assert (accepted.effective, accepted.missed) == (ONE, frozenset())


def test_a_hold_is_held_once_and_lifted() -> None:
    held = order(record(ONE), asked("hold")).record
    assert held.hold == Hold(NOW, "because")
    assert "already" in order(held, asked("hold")).refusal
    assert fail(held).record.effective == ZERO  # it still reverts
    lifted = order(held, asked("resume")).record
    assert (lifted.hold, lifted.effective, lifted.resumed_at) == (None, ONE, None)


def test_a_resume_of_a_revert_leaves_the_hold_of_somebody_else() -> None:
    reverted = order(order(record(ONE), asked("hold")).record, asked("revert")).record
    resumed = order(reverted, asked("resume")).record
    assert (resumed.latch, resumed.hold) == (None, Hold(NOW, "because"))
    assert order(resumed, asked("resume")).record.hold is None


def test_a_resume_returns_to_the_declared_phase_or_climbs_from_here() -> None:
    back = replace(fail(record(ONE)).record, declared=ONE)
    plain = order(back, asked("resume", verdict=PASSING)).record
    assert (plain.effective, plain.latch, plain.resumed_at) == (ONE, None, NOW)
    ladder = order(back, asked("resume", verdict=PASSING), LADDER).record
    assert (ladder.effective, ladder.latch, ladder.resumed_at) == (ZERO, None, NOW)


def test_a_resume_in_legacy_only_lets_a_ladder_ask_new_again() -> None:
    back = fail(record(SHADOW_READ), LADDER).record
    assert back.effective == LEGACY_ONLY
    resumed = order(back, asked("resume"), LADDER).record
    assert (resumed.effective, resumed.latch, resumed.resumed_at) == (SHADOW_READ, None, NOW)
    lacking_legacy = order(replace(back, missed=frozenset({Side.LEGACY})), asked("resume"), LADDER)
    assert "legacy missed writes" in lacking_legacy.refusal


@pytest.mark.parametrize(
    ("phase", "to", "why"),
    [
        (LEGACY_ONLY, None, "there is nothing further back than legacy-only"),
        (ZERO, None, "further back new would miss writes"),
        (Phase(25), Phase(25), "`revert.to` names 25%, which is no step back from 25%"),
    ],
)
def test_why_a_route_has_no_way_back(phase: Phase, to: Phase | None, why: str) -> None:
    policy = Policy(Revert(to=to))
    assert order(record(phase), asked("revert"), policy).refusal.startswith(why)
    told = fail(record(phase), policy)
    assert told.refusal == f"it stays: {why}"


def test_a_resume_is_refused_while_failing_unless_forced() -> None:
    back = fail(record(ONE)).record
    assert "failing" in order(back, asked("resume", verdict=FAILING)).refusal
    assert order(back, asked("resume", verdict=FAILING, force=True)).record.latch is None
    assert "neither" in order(record(ONE), asked("resume")).refusal


def test_a_resume_does_not_let_a_side_answer_that_lacks_writes() -> None:
    back = replace(fail(record(SHADOW_READ)).record, declared=ONE, missed=NEW)
    assert "new missed writes" in order(back, asked("resume")).refusal
    assert order(back, asked("resume", accept_loss=True)).record.effective == ONE


# The end


def test_a_route_that_was_long_enough_in_new_only_is_told_to_be_ready_once() -> None:
    week = 7 * 86400.0
    there = order(record(ZERO), asked("advance", to=NEW_ONLY), LADDER).record
    assert there.progress == Progress(NOW)
    assert not is_ready(there, LADDER, NOW + week - 1)
    assert tell_ready(there, LADDER, "all is well", NOW + week - 1).transition is None
    told = tell_ready(there, LADDER, "all is well", NOW + week)
    assert told.record == replace(there, ready_at=NOW + week)
    line = told.transition
    assert line is not None
    assert (line.kind, line.by, line.evidence) == ("ready", "ladder", "all is well")
    assert line.reason == "in new-only for 7.0 d: ready to be removed"
    assert tell_ready(told.record, LADDER, "", NOW + 2 * week).transition is None
    # Whatever takes it elsewhere begins that anew.
    assert fail(told.record).record.ready_at is None


@pytest.mark.parametrize(
    ("phase", "policy", "progress"),
    [
        (DUAL_WRITE, LADDER, Progress(0.0)),
        (NEW_ONLY, PLAIN, Progress(0.0)),
        (NEW_ONLY, Policy(Revert(), Advance((Step(NEW_ONLY),), retire_s=None)), Progress(0.0)),
        (NEW_ONLY, LADDER, None),
    ],
)
def test_others_are_not(phase: Phase, policy: Policy, progress: Progress | None) -> None:
    assert not is_ready(record(phase, progress=progress), policy, 1e9)
