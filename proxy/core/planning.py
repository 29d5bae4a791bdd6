"""What one client request becomes: who answers, who is asked beside, who is owed a write.

Pure: a plan is a value computed from the route, its state and a draw; the data plane executes
it. The tables are the contract's: one row a phase, one column for reads, one for writes.
"""

import msgspec

from proxy.core.model import UNMATCHED, Phase, Route, RouteState, Side


class ReadPlan(msgspec.Struct, frozen=True):
    """How a read is served: `answer` answers the client, `shadow` is asked too and compared."""

    answer: Side
    shadow: Side | None = None
    fallback: Side | None = None  # answers where `answer` fails before its first byte
    judged: bool = True  # False: chosen by an override, no evidence


class WritePlan(msgspec.Struct, frozen=True):
    """How a write is served: `answer` is asked first, `second` gets it after it succeeded."""

    answer: Side
    second: Side | None = None
    wait_for_second: bool = False  # ack: both
    misses: Side | None = None  # the side that will lack this write


def needs_draw(route: Route, phase: Phase, is_read: bool) -> bool:
    """Whether the sticky draw decides anything for this request."""
    return 0 < phase.progress < 100 and (is_read or route.split_writes)


def draws_new(phase: Phase, draw: float) -> bool:
    """Whether a draw (0 <= draw < 100) falls to new. Raising the weight only adds draws."""
    return draw < phase.weight


def plan_read(
    route: Route, state: RouteState, to_new: bool, override: Side | None = None
) -> ReadPlan:
    """The plan of a read. `to_new` is the draw's outcome; it decides at 1 to 99 % alone."""
    if override is not None:
        return ReadPlan(override, judged=False)
    progress = state.phase.progress
    if progress == -2:
        return ReadPlan(Side.LEGACY)
    answer = Side.NEW if progress >= 100 or (to_new and progress > 0) else Side.LEGACY
    fallback = (
        Side.LEGACY
        if answer is Side.NEW and route.fallback and Side.LEGACY not in state.missed
        else None
    )
    shadow = None if progress == 101 else answer.other
    return ReadPlan(answer, shadow, fallback)


def plan_write(route: Route, state: RouteState, to_new: bool) -> WritePlan:
    """The plan of a write. With `writes: split` it goes where the client's reads go."""
    progress = state.phase.progress
    if route.split_writes:
        return WritePlan(Side.NEW if progress >= 100 or (to_new and progress > 0) else Side.LEGACY)
    answer = state.authority
    # While a move of authority is pending, the side that will lose it already answers reads (or
    # the one that gains it does not have them yet): both sides stay in step until it is done.
    if not state.phase.both_written and answer is state.phase.authority:
        # What no route takes never moves: there is no side that could lack it.
        misses = None if route.name == UNMATCHED else answer.other
        return WritePlan(answer, misses=misses)
    wait = route.ack == "both" or (route.ack == "auto" and 0 < progress < 100)
    return WritePlan(answer, second=answer.other, wait_for_second=wait)


def under_maintenance(route: Route, is_read: bool) -> bool:
    """Whether the route refuses this request for maintenance."""
    return route.maintenance == "all" or route.maintenance == ("reads" if is_read else "writes")
