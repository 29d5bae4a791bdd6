"""The guard at work: evidence of each route in, verdicts out, and what follows from them.

Owned by the controller. What workers and comparers report is counted by the judge of the route's
present phase; a route that comes into another phase, or under other rules, or is resumed, gets a
new one: fresh evidence. What fails is told to the reconciler, again and again until it is another
phase, since the store may not have taken it. Evidence and records have times of the wall clock;
`now` is in seconds of a clock that does not go back. Where the wall clock is set, what was counted
before cannot be told from what comes, and evidence begins anew. Nothing is believed to have begun
later than now: other replicas have clocks of their own.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import structlog

from proxy.control.pooling import Pool, Share
from proxy.control.replicas import is_warden
from proxy.control.steering import Policy, is_ready
from proxy.control.world import Judged, World
from proxy.core.detection import SLOT_S
from proxy.core.guard import RouteGuard, Verdict
from proxy.core.ladder import Coverage, Progress, Shortage, needs, next_step
from proxy.core.messages import Counts, Observation, Report
from proxy.core.model import Phase, Route, RouteState
from proxy.core.policy import Revert
from proxy.core.thinning import Thinning
from proxy.observe.assessing import Assessment
from proxy.observe.window import COMPARISON_CELLS
from proxy.store.records import Record

TICK_S: Final = 0.25
CLIMB_EVERY_S: Final = 1.0
TELL_AGAIN_S: Final = 5.0
SAVE_PROGRESS_S: Final = 15.0
HELD_S: Final = 2.0  # a worker without anything new reports nothing
MAX_HELD: Final = 20_000
WELL: Final = 0.9  # of the trials that differ: where fewer come through, the verdict says so
SET_S: Final = 2.0  # by so much at once no clock drifts
NOT_JUDGED: Final = Verdict("inconclusive", "`revert` is null: nothing is judged.")
# What an Assessment says of its trial: whether it is bad, None where nobody could tell.
_CAME_TO: Final = {"equal": False, "noise": False, "divergent": True, "unverified": None}
NOT_ASKED: Final = Verdict("inconclusive", "New is not asked in this phase.")

log = structlog.get_logger("proxy.control")

Key = tuple[Phase, str, float | None]


class _Judge:
    """A route's judge, and what decides that it is the right one."""

    __slots__ = (
        "base",
        "compares",
        "coverage",
        "guard",
        "healthy_s",
        "key",
        "saved_at",
        "since",
        "thinning",
        "told_at",
        "uncovered",
    )

    def __init__(self, key: Key, revert: Revert, compares: bool, wall: float, now: float) -> None:
        self.key = key
        self.guard = RouteGuard(revert, wall)
        self.thinning = Thinning(revert.divergence or 0.0)
        self.compares = compares
        self.told_at: float | None = None  # when it was told to be failing
        # On a ladder: what was saved of this phase before a restart.
        self.since = wall or time.time()
        self.healthy_s = 0.0
        self.base = 0
        self.saved_at = now
        self.coverage = Coverage()
        self.uncovered = Shortage()

    def share(self, route: str) -> Share:
        """An empty one, of what is judged here."""
        return Share(route, *self.key)


class _Held(NamedTuple):
    """A pair that was compared, and waits for what was reported of its time."""

    since: float
    slot: int
    route: str
    phase: int
    at: float
    is_bad: bool | None  # None: nobody could tell
    asked: bool  # for asking again to tell


class Guard:
    """Judges every route that has evidence."""

    def __init__(
        self,
        submit: Callable[[Judged], None],
        tell_low: Callable[[str, float, float], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._submit = submit
        self._tell_low = tell_low  # a route, its coverage, and what it should be
        self._world: World | None = None
        self._judges: dict[str, _Judge] = {}
        self._dirty: set[str] = set()
        self._held: deque[_Held] = deque()
        self.pool = Pool()
        self._reported_at: dict[int, float] = {}  # by slot
        self._climbed_at = 0.0
        self._wall = wall
        self._ahead = wall() - time.monotonic()  # the wall clock, of the other one
        self._set_at = 0.0  # on the wall

    def use(self, world: World) -> None:
        """What is in force now; routes that have left it are forgotten."""
        self._world = world
        self.pool.is_open = len(world.stored.replicas) > 1
        for name in [name for name in self._judges if name not in world.routes]:
            del self._judges[name]

    # Evidence

    def reported(self, report: Report, now: float) -> None:
        """What a worker counted."""
        self._look_at_the_clock()
        self._reported_at[report.slot] = now
        for counts in report.counts:
            self._count(counts, now)

    def _count(self, counts: Counts, now: float) -> None:
        judge = self._judge(counts.route, now)
        if judge is None:
            return
        share, wall = judge.share(counts.route), self._wall()
        for slot, (equal, new_failed, fine, failed, differing) in counts.trials.items():
            at = min(slot * SLOT_S, wall)
            if at < judge.guard.began_at:
                continue  # it began in another phase
            judge.guard.asked(at, fine, failed)
            self.pool.trial(share, slot, (0, 0, fine, failed))
            judge.thinning.known(slot, equal, new_failed, differing)
        if not judge.thinning.is_underway():
            self._settle(counts.route, judge)
        legacy, new = counts.latency.get("legacy", {}), counts.latency.get("new", {})
        judge.guard.took(wall, legacy, new)
        self.pool.took(share, legacy, new)
        compared = sum(counts.comparisons.get(result, 0) for result in COMPARISON_CELLS)
        self._read(judge, share, now, counts.eligible, compared)
        self._dirty.add(counts.route)

    def _read(self, judge: _Judge, share: Share, now: float, eligible: int, compared: int) -> None:
        """Count reads that could be compared, and those that were."""
        judge.coverage.add(now, eligible, compared)
        self.pool.read(share, eligible, compared)

    def _settle(self, route: str, judge: _Judge) -> None:
        """Count the trials of which enough is known."""
        taken = judge.thinning.take()
        if taken:
            share, wall = judge.share(route), self._wall()
            for slot, good, bad in taken:
                judge.guard.compared(min(slot * SLOT_S, wall), good, bad)
                self.pool.trial(share, slot, (good, bad, 0, 0))

    def heard(self, share: Share) -> None:
        """What another replica has counted: of the same rules, phase and resume, or nothing."""
        self._look_at_the_clock()
        now, wall = time.monotonic(), self._wall()
        judge = self._judge(share.route, now)
        if judge is None or judge.key != (share.phase, share.digest, share.resumed_at):
            return
        for slot, (equal, divergent, fine, failed) in share.trials.items():
            at = min(slot * SLOT_S, wall)
            if at >= judge.guard.began_at:
                judge.guard.compared(at, equal, divergent)
                judge.guard.asked(at, fine, failed)
        judge.guard.took(wall, share.legacy, share.new)
        judge.coverage.add(now, share.eligible, share.compared)
        self._dirty.add(share.route)

    def assessed(self, found: Assessment, now: float) -> None:
        """What became of a pair that was compared apart.

        It is counted once its worker has reported the others of that time: alone, those that
        differ would look as if all did.
        """
        seen = found.observation
        if found.result not in _CAME_TO or _is_failed(seen):
            return
        is_bad = _CAME_TO[found.result]
        if is_bad is not None:
            judge = self._judge(seen.route, now)
            if judge is not None and seen.phase == judge.key[0].progress:
                self._read(judge, judge.share(seen.route), now, 0, 1)
        if seen.repeat:
            return
        self._held.append(
            _Held(now, found.slot, seen.route, seen.phase, seen.at, is_bad, found.asked)
        )
        if len(self._held) > MAX_HELD:
            self._count_held(self._held.popleft(), now)

    def _release(self, now: float) -> None:
        waiting = self._held
        self._held = deque()
        for held in waiting:
            if self._reported_at.get(held.slot, 0.0) > held.since or now - held.since >= HELD_S:
                self._count_held(held, now)
            else:
                self._held.append(held)

    def _count_held(self, held: "_Held", now: float) -> None:
        judge = self._judge(held.route, now)
        at = min(held.at, self._wall())
        if judge is None or at < judge.guard.began_at:
            return
        if held.phase == judge.key[0].progress:
            judge.thinning.judged(int(at / SLOT_S), held.is_bad, held.asked)
            self._dirty.add(held.route)

    def _look_at_the_clock(self) -> None:
        before, now, after = self._wall(), time.monotonic(), self._wall()
        if abs(after - before) > SET_S / 2:
            return  # it was held up here, or the clock was set just now: the next look tells
        ahead = after - now
        by_s, self._ahead = ahead - self._ahead, ahead
        if abs(by_s) > SET_S:
            log.warning("the clock was set: evidence begins anew", by_s=round(by_s, 1))
            self._set_at = self._wall()
            self._judges.clear()
            self._held.clear()

    # Verdicts

    def verdict(self, name: str) -> Verdict:
        """The verdict on a route now."""
        world = self._world
        route = world.routes.get(name) if world is not None else None
        if world is None or route is None or _policy(world, name).revert is None:
            return NOT_JUDGED
        judge = self._judge(name, time.monotonic())
        if judge is None:
            return NOT_ASKED
        self._settle(name, judge)
        verdict = judge.guard.verdict(self._wall(), compares=judge.compares)
        differing, through = judge.thinning.underway()
        if verdict.state == "inconclusive" and judge.compares and through < WELL * differing:
            lost = f"{through:,} of {differing:,} that differ came through their comparison lately"
            return msgspec.structs.replace(verdict, evidence=f"{verdict.evidence[:-1]}; {lost}.")
        return verdict

    def progress(self, name: str) -> Progress | None:
        """How far a route has come in its present phase, what is not saved yet included."""
        judge = self._judges.get(name)
        return _progress(judge) if judge is not None else None

    def needs(self, name: str, now: float) -> tuple[Phase, str] | None:
        """The next phase of a route on a ladder, and what is still needed for it."""
        world = self._world
        if world is None or name not in world.routes:
            return None
        record, policy = world.stored.records.get(name), _policy(world, name)
        if record is None or policy.advance is None:
            return None
        step = next_step(policy.advance, record.effective)
        if step is None:
            return None
        verdict, coverage = self.verdict(name), self._covered(name, now)
        return step.phase, "; ".join(self._needs(name, record, policy, verdict, coverage))

    def _needs(
        self, name: str, record: Record, policy: Policy, verdict: Verdict, coverage: float | None
    ) -> list[str]:
        assert policy.advance is not None
        if record.latch is not None:
            return ["a resume: the route was reverted"]
        if record.hold is not None:
            return [f"a resume: the route is on hold ({record.hold.reason})"]
        progress = self.progress(name) or record.progress or Progress(self._wall())
        cooldown_s = 0.0
        if record.resumed_at is not None and policy.revert is not None:
            left_s = record.resumed_at + policy.revert.cooldown_s - self._wall()
            cooldown_s = min(left_s, policy.revert.cooldown_s)
        return list(
            needs(
                policy.advance,
                record.effective,
                progress,
                verdict,
                coverage,
                cooldown_s,
            )
        )

    def _covered(self, name: str, now: float) -> float | None:
        """The coverage of a route, at all replicas; None where there was nothing to compare."""
        judge = self._judges.get(name)
        return judge.coverage.share(now) if judge is not None and judge.compares else None

    # At work

    async def run(self) -> None:
        """Judge until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            self._look_at_the_clock()
            self._release(now)
            self._judge_dirty(now)
            if now - self._climbed_at >= CLIMB_EVERY_S:
                passed_s = min(now - self._climbed_at, 10 * CLIMB_EVERY_S)
                self._climbed_at = now
                for judge in self._judges.values():
                    judge.thinning.rest(int(self._wall() / SLOT_S))
                self.climb(now, passed_s)

    def _judge_dirty(self, now: float) -> None:
        dirty, self._dirty = self._dirty, set()
        for name in dirty:
            judge = self._judges.get(name)
            if judge is None:
                continue
            self._settle(name, judge)
            verdict = judge.guard.verdict(self._wall(), compares=judge.compares)
            if verdict.state != "failing":
                continue
            if judge.told_at is None or now - judge.told_at >= TELL_AGAIN_S:
                judge.told_at = now
                phase, digest, _ = judge.key
                evidence, cause = verdict.evidence, verdict.cause
                self._submit(Judged(name, phase, digest, "failing", evidence, cause))

    def climb(self, now: float, passed_s: float) -> None:
        """Look at the routes with a ladder; `passed_s` is the time since the last look."""
        world = self._world
        if world is None or world.frozen:
            return
        # One replica climbs for all; the others know as much, should it go away.
        climbs = is_warden(world.stored)
        submit = self._submit if climbs else _ignore
        for name, policy in world.policies.items():
            record = world.stored.records.get(name)
            if policy.advance is None or record is None or name not in world.routes:
                continue
            verdict = self.verdict(name)
            if verdict.state != "failing" and is_ready(record, policy, self._wall()):
                phase, digest = record.effective, record.digest
                submit(Judged(name, phase, digest, "ready", verdict.evidence))
            judge = self._judge(name, now)
            if judge is None or record.latch is not None or record.hold is not None:
                continue
            if verdict.state == "passing":
                judge.healthy_s += passed_s
            elif verdict.state == "failing":
                judge.healthy_s = 0.0  # at 0% it stays, and has to show anew that it is well
            coverage = self._covered(name, now)
            phase, digest, _ = judge.key
            missing = self._needs(name, record, policy, verdict, coverage)
            step = next_step(policy.advance, phase)
            if step is not None and coverage is not None:
                # Low coverage that lasts is told once, until it is good again or the phase another.
                wanted = policy.advance.min_coverage
                if judge.uncovered.is_to_be_told(coverage < wanted, passed_s) and climbs:
                    self._tell_low(name, coverage, wanted)
            if step is not None and not missing:
                submit(Judged(name, phase, digest, "climb", verdict.evidence))
            elif now - judge.saved_at >= SAVE_PROGRESS_S:
                judge.saved_at = now
                progress = _progress(judge)
                if progress != record.progress:
                    submit(Judged(name, phase, digest, "progress", progress=progress))

    def _judge(self, name: str, now: float) -> _Judge | None:
        """The judge of the route's present phase, made where there is none; None: no evidence."""
        world = self._world
        route = world.routes.get(name) if world is not None else None
        state = world.states.get(name) if world is not None else None
        if world is None or route is None or state is None:
            return None
        policy = _policy(world, name)
        if policy.revert is None or not asks_new(state):
            return None
        record = world.stored.records.get(name)
        key = (state.phase, route.digest, record.resumed_at if record is not None else None)
        judge = self._judges.get(name)
        if judge is None or judge.key != key:
            wall = self._wall()
            began = min(max(_began(record), self._set_at), wall)
            if judge is not None and judge.key[1] != route.digest:
                began = wall  # what began under other rules is no evidence for these
            judge = self._judges[name] = _Judge(
                key, policy.revert, _compares(route, state), began, now
            )
            if record is not None and record.progress is not None:
                judge.since = record.progress.since
                judge.healthy_s = record.progress.healthy_s
                judge.base = record.progress.trials
        return judge


def _ignore(judged: Judged) -> None:
    pass


def asks_new(state: RouteState) -> bool:
    """Whether new is asked in this state, for an answer or beside."""
    return state.phase.progress > -2


def _compares(route: Route, state: RouteState) -> bool:
    return route.compare is not None and -2 < state.phase.progress < 101


def _began(record: Record | None) -> float:
    """When a route came to where it is; zero where it was never moved."""
    if record is None:
        return 0.0
    return max(record.progress.since if record.progress else 0.0, record.resumed_at or 0.0)


def _policy(world: World, name: str) -> Policy:
    return world.policies.get(name) or Policy()


def _progress(judge: _Judge) -> Progress:
    trials = judge.base + judge.guard.trials()
    return Progress(judge.since, round(judge.healthy_s, 1), trials)


def _is_failed(seen: Observation) -> bool:
    """A pair of which new failed: the workers have counted it."""
    return bool(seen.new.failure) or seen.new.status >= 500
