"""Reverts, advances, holds and resumes: what each does to the record of a route. Pure.

The rules, which a table of tests goes through edge by edge:

1. A revert goes from 1 to 100 % (`dual-write`) to 0 %: legacy answers, new is kept in step. From
   shadow-read it goes to legacy-only, from new-only to 0 %. At 0 % and in legacy-only it goes
   nowhere by itself, since further back new would begin to miss writes. `to:` names another phase.
2. It latches: the route stays there until `resume`, or an edit of its phase to one that is not
   further along than the one it was reverted from.
3. A side that has missed writes is never made to answer, unless `to` and `accept_loss` say so (of
   the operator, or both in the file).
4. An advance goes to the next rung. By hand it needs neither evidence nor approval (it is the
   approval), but it is refused while the route is latched, or failing and not forced.
5. A resume lifts the latch, or the hold where there is no latch. After it a route with a ladder
   climbs from where it is, once its cool-down is over, from legacy-only by way of shadow-read,
   since there is no evidence where new is not asked; any other returns to its declared phase.
6. A route with a ladder that has been in new-only for its `retire` is told to be ready to be
   removed, once, unless it is failing.
"""

from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace as restruct

from proxy.core.guard import Verdict
from proxy.core.ladder import Progress, next_step, spoken_time
from proxy.core.model import LEGACY_ONLY, NEW_ONLY, SHADOW_READ, ZERO, Phase, Route, Side
from proxy.core.policy import Advance, Revert
from proxy.store.records import Hold, Latch, Record, Transition

Action = Literal["revert", "advance", "hold", "resume"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What is declared of a route's moves."""

    revert: Revert | None = None
    advance: Advance | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator asked for. `verdict` is the one when it was asked."""

    action: Action
    reason: str
    to: Phase | None = None
    accept_loss: bool = False
    force: bool = False
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Steered:
    """What became of it: the record as it is then, and the line of history, or why not."""

    record: Record
    transition: Transition | None = None
    refusal: str = ""


def revert_target(phase: Phase, declared: Phase | None = None) -> Phase | None:
    """Where a route goes back to from a phase; None where it stays."""
    if declared is not None:
        return declared if declared < phase else None
    if phase > ZERO:
        return ZERO
    return LEGACY_ONLY if phase == SHADOW_READ else None


def no_way_back(phase: Phase, declared: Phase | None = None) -> str:
    """Why a route stays in a phase, where `revert_target` is None."""
    if declared is not None:
        return f"`revert.to` names {declared}, which is no step back from {phase}"
    if phase == LEGACY_ONLY:
        return "there is nothing further back than legacy-only"
    return "further back new would miss writes"


def lacking(missed: frozenset[Side], phase: Phase) -> frozenset[Side]:
    """The sides that would answer in a phase and have missed writes."""
    answering = set()
    if phase.progress < 100:
        answering.add(Side.LEGACY)
    if phase.progress > 0:
        answering.add(Side.NEW)
    return missed & answering


def fully_written(phase: Phase) -> frozenset[Side]:
    """The sides that get every write in this phase, once its authority is in place."""
    return frozenset(Side) if phase.both_written else frozenset({phase.authority})


def go_back(
    record: Record, route: Route, policy: Policy, cause: str, evidence: str, now: float
) -> Steered:
    """The guard found the route failing in its effective phase."""
    before = record.effective
    declared = policy.revert.to if policy.revert is not None else None
    to = revert_target(before, declared)
    reason = f"{cause} beyond what is declared"
    if to is None and record.latch is not None:
        return Steered(record, refusal="it has been taken back already")  # and that was told
    if to is None:
        why = f"it stays: {no_way_back(before, declared)}"
        return _refused(record, before, why, evidence, now)
    lost = lacking(record.missed, to)
    if lost and not (declared is not None and route.accept_loss):
        why = f"{_names(lost)} missed writes of this route and cannot answer at {to}"
        return _refused(record, to, why, evidence, now)
    latch = Latch(now, before, to, "guard", reason, evidence)
    line = Transition(now, record.name, "revert", *_both(before, to), "guard", reason, evidence)
    return Steered(_moved(record, to, now, loss=bool(lost), latch=latch), line)


def climb(record: Record, route: Route, policy: Policy, evidence: str, now: float) -> Steered:
    """The ladder says that everything is there for the next step."""
    before = record.effective
    step = next_step(policy.advance, before) if policy.advance is not None else None
    if step is None or record.latch is not None or record.hold is not None:
        return Steered(record, refusal="there is no step to take now")
    lost = lacking(record.missed, step.phase)
    if lost and not route.accept_loss:
        why = f"{_names(lost)} missed writes of this route and cannot answer at {step.phase}"
        return Steered(record, refusal=why)
    phases = _both(before, step.phase)
    line = Transition(now, record.name, "advance", *phases, "ladder", "healthy", evidence)
    return Steered(_moved(record, step.phase, now, loss=route.accept_loss), line)


def is_ready(record: Record, policy: Policy, now: float) -> bool:
    """Whether it is time to tell that the route can be removed."""
    ladder, progress = policy.advance, record.progress
    return (
        ladder is not None
        and ladder.retire_s is not None
        and record.effective == NEW_ONLY
        and record.ready_at is None
        and progress is not None
        and now - progress.since >= ladder.retire_s
    )


def tell_ready(record: Record, policy: Policy, evidence: str, now: float) -> Steered:
    """The route was long enough where the ladder ends."""
    if not is_ready(record, policy, now) or record.progress is None:
        return Steered(record, refusal="it is not time")
    why = f"in new-only for {spoken_time(now - record.progress.since)}: ready to be removed"
    phases = _both(record.effective, record.effective)
    line = Transition(now, record.name, "ready", *phases, "ladder", why, evidence)
    return Steered(restruct(record, ready_at=now), line)


def obey(record: Record, route: Route, policy: Policy, order: Order, now: float) -> Steered:
    """What an operator asked for."""
    match order.action:
        case "revert":
            return _revert(record, route, policy, order, now)
        case "advance":
            return _advance(record, route, policy, order, now)
        case "hold":
            return _hold(record, order, now)
    return _resume(record, policy, order, now)


def _revert(record: Record, route: Route, policy: Policy, order: Order, now: float) -> Steered:
    before = record.effective
    declared = policy.revert.to if policy.revert is not None else None
    to = order.to if order.to is not None else revert_target(before, declared)
    if to is None:
        why = no_way_back(before, declared)
        further = "" if before == LEGACY_ONLY else ": name the phase (`to`) if it is to go there"
        return Steered(record, refusal=why + further)
    if to >= before:
        return Steered(record, refusal=f"{to} is not a step back from {before}")
    lost = lacking(record.missed, to)
    if lost and not (order.accept_loss and order.to is not None):
        return Steered(
            record,
            refusal=f"{_names(lost)} missed writes of this route and would answer at {to}: bring "
            "it into step first, or name the phase (`to`) and say `accept_loss`",
        )
    evidence = order.verdict.evidence if order.verdict is not None else ""
    # What it was first reverted from is what an edit is held against.
    first = record.latch.before if record.latch is not None else before
    latch = Latch(now, first, to, "operator", order.reason, evidence)
    line = Transition(
        now, record.name, "revert", *_both(before, to), "operator", order.reason, evidence
    )
    return Steered(_moved(record, to, now, loss=order.accept_loss, latch=latch), line)


def _advance(record: Record, route: Route, policy: Policy, order: Order, now: float) -> Steered:
    before = record.effective
    to = order.to
    if record.latch is not None:
        return Steered(record, refusal="the route was reverted and is latched: resume it first")
    if to is None:
        step = next_step(policy.advance, before) if policy.advance is not None else None
        if step is None:
            why = "is at the end of its ladder" if policy.advance else "has no ladder (`advance`)"
            return Steered(record, refusal=f"the route {why}: name a phase (`to`), or edit it")
        to = step.phase
    if to <= before:
        return Steered(record, refusal=f"{to} is not a step forward from {before}")
    if order.verdict is not None and order.verdict.state == "failing" and not order.force:
        return Steered(record, refusal=_is_failing(order.verdict))
    accepts = order.accept_loss or route.accept_loss
    lost = lacking(record.missed, to)
    if lost and not accepts:
        return Steered(
            record,
            refusal=f"{_names(lost)} missed writes of this route and would answer at {to}: bring "
            "it into step first, or say `accept_loss`",
        )
    evidence = order.verdict.evidence if order.verdict is not None else ""
    phases = _both(before, to)
    line = Transition(now, record.name, "advance", *phases, "operator", order.reason, evidence)
    return Steered(_moved(record, to, now, loss=accepts), line)


def _hold(record: Record, order: Order, now: float) -> Steered:
    if record.hold is not None:
        return Steered(record, refusal=f"the route is on hold already: {record.hold.reason}")
    phases = _both(record.effective, record.effective)
    line = Transition(now, record.name, "hold", *phases, "operator", order.reason)
    return Steered(restruct(record, hold=Hold(now, order.reason)), line)


def _resume(record: Record, policy: Policy, order: Order, now: float) -> Steered:
    latch = record.latch
    if latch is None and record.hold is None:
        return Steered(record, refusal="the route is neither reverted nor on hold")
    verdict = order.verdict
    if latch is not None and verdict is not None and verdict.state == "failing" and not order.force:
        return Steered(record, refusal=_is_failing(verdict))
    before = to = record.effective
    evidence = verdict.evidence if verdict is not None else ""
    resumed = restruct(record, hold=None if latch is None else record.hold)
    if latch is not None:
        if policy.advance is None:
            to = record.declared
        elif before == LEGACY_ONLY:
            to = SHADOW_READ
        lost = lacking(record.missed, to)
        if lost and not order.accept_loss and to != before:
            return Steered(
                record,
                refusal=f"{_names(lost)} missed writes of this route and would answer at {to}: "
                "bring it into step first, or say `accept_loss`",
            )
        resumed = _moved(resumed, to, now, loss=order.accept_loss, latch=None)
        resumed = restruct(resumed, resumed_at=now)
    line = Transition(
        now, record.name, "resume", *_both(before, to), "operator", order.reason, evidence
    )
    return Steered(resumed, line)


def _refused(record: Record, to: Phase, why: str, evidence: str, now: float) -> Steered:
    """Told once in a phase, and loudly."""
    phases = _both(record.effective, to)
    line = Transition(now, record.name, "refused", *phases, "guard", why, evidence)
    return Steered(restruct(record, refused_at=now), line, why)


def _moved(
    record: Record, to: Phase, now: float, *, loss: bool, latch: Latch | None = None
) -> Record:
    """The record in another phase; `loss`: what its sides lack is accepted."""
    missed = record.missed - fully_written(to) if loss else record.missed
    return restruct(
        record,
        effective=to,
        missed=missed,
        latch=latch,
        progress=Progress(now),
        refused_at=None,
        ready_at=None,
    )


def _is_failing(verdict: Verdict) -> str:
    return f"the verdict is failing ({verdict.evidence.rstrip('.')}): `force` overrules"


def _both(before: Phase, after: Phase) -> tuple[str, str]:
    return str(before), str(after)


def _names(sides: frozenset[Side]) -> str:
    return " and ".join(sorted(side.value for side in sides))
