"""What of a change of phase is unwise: of an edit, seen from what is in force (for reloads, and
`check --admin`), and of the steps of a ladder."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from proxy.config.findings import Finding, Position, bounded, finding
from proxy.config.settings import Config
from proxy.core.model import UNMATCHED, Phase, Route, Side
from proxy.core.policy import Advance

_ORDER = ("legacy-only", "shadow-read", "1% to 99%", "dual-write", "new-only")


def lint(
    config: Config,
    previous: Mapping[str, Phase] | None = None,
    missed: Mapping[str, frozenset[Side]] | None = None,
    latched: Mapping[str, tuple[Phase, Phase]] | None = None,
) -> tuple[Finding, ...]:
    """PHASE_SKIPPED and MISSED_WRITES where the file changes a phase, LATCHED where it does not.

    `previous` are the effective phases by route name (None: not known, then no phase counts as
    skipped and every route as changed), `missed` the sides that lack writes, `latched` the phase
    that a route was reverted from and the one that was declared until now.
    """
    found: list[Finding] = []
    for route in config.routes:
        if route.name == UNMATCHED:
            continue
        before = previous.get(route.name) if previous is not None else None
        if latched and route.name in latched and before is not None:
            origin, declared = latched[route.name]
            if route.phase == declared or route.phase > origin:
                found.append(_latched(config, route, before, origin))
                continue
        if before == route.phase:
            continue
        if before is not None:
            found += _phase_skipped(config, route, before)
        if missed and route.name in missed:
            found += _missed_writes(config, route, before, missed[route.name])
    return bounded(found)


def changes_for_restart(old: Config, new: Config) -> tuple[Finding, ...]:
    """RESTART_NEEDED for each key that a reload does not bring into force."""
    found = []
    for name, before, after in (
        ("listen", old.listen, new.listen),
        ("workers", old.workers, new.workers),
        ("comparers", old.comparers, new.comparers),
        ("state", old.state, new.state),
        ("admin", old.admin, new.admin),
        ("tls", old.tls, new.tls),
    ):
        if before != after:
            text = f"{name}: the change takes effect when banyan serve is started again"
            found.append(finding("RESTART_NEEDED", new.shown_as, Position(), name, text))
    return tuple(found)


def skipped_steps(route: Route, advance: Advance) -> Iterator[str]:
    """What a ladder leaves out, in words: of each step from where the route is declared to be."""
    steps = [step.phase for step in advance.steps if step.phase > route.phase]
    for before, after in pairwise([route.phase, *steps]):
        if _new_lacks_writes(route, before, after):
            yield (
                f"from {before} to {after} leaves out 0%: new has missed the writes made until "
                "then, so the step is never taken; put 0% before it, where new gets every write "
                "and is filled, or set accept_loss: true if that does not matter"
            )
        elif left_out := _left_out(before, after):
            yield (
                f"from {before} to {after} leaves out {left_out}, where trouble would show while "
                "it is small; add such a step"
            )


def _new_lacks_writes(route: Route, before: Phase, after: Phase) -> bool:
    """Whether new comes to answer without a phase in which it is only kept in step."""
    has_writes = not route.methods or not route.safe_methods.issuperset(route.methods)
    return (
        before.progress < 0 < after.progress
        and has_writes
        and not route.split_writes
        and not route.accept_loss
    )


def _left_out(before: Phase, after: Phase) -> str:
    return " and ".join(_ORDER[_rank(before) + 1 : _rank(after)])


def _phase_skipped(config: Config, route: Route, before: Phase) -> Iterator[Finding]:
    if left_out := _left_out(before, route.phase):
        yield _finding(
            config,
            route,
            "PHASE_SKIPPED",
            f"from {before} to {route.phase} leaves out {left_out}, where trouble "
            "would show while it is small; go there first",
        )


def _latched(config: Config, route: Route, before: Phase, origin: Phase) -> Finding:
    return _finding(
        config,
        route,
        "LATCHED",
        f"the route stays in {before}: it was reverted from {origin}; `banyan resume {route.name}` "
        "lifts that, or an edit to another phase that is not further along",
    )


def _missed_writes(
    config: Config, route: Route, before: Phase | None, missed: frozenset[Side]
) -> Iterator[Finding]:
    if route.accept_loss:
        return
    answered = _answering(before) if before is not None else frozenset()
    for side in sorted(missed & (_answering(route.phase) - answered), key=lambda s: s.value):
        yield _finding(
            config,
            route,
            "MISSED_WRITES",
            f"in {route.phase} {side.value} answers clients, and it has missed writes of this "
            "route; copy them over first, or set accept_loss: true if that does not matter",
        )


def _answering(phase: Phase) -> frozenset[Side]:
    """The sides whose data clients see in this phase."""
    if 1 <= phase.progress <= 99:
        return frozenset(Side)
    return frozenset({Side.NEW if phase.progress >= 100 else Side.LEGACY})


def _rank(phase: Phase) -> int:
    """The place in _ORDER; 0% counts among the weights."""
    return {-2: 0, -1: 1, 100: 3, 101: 4}.get(phase.progress, 2)


def _finding(config: Config, route: Route, code: str, text: str) -> Finding:
    at = config.phase_positions.get(route.name, Position())
    key_path = f"routes.{route.pattern}.phase"
    return finding(code, config.shown_as, at, key_path, f"routes.{route.pattern}: {text}")
