"""Reload, revert, resume, restart, advance in any order: what holds whatever happens.

1. What is stored decides: after a restart every route is where it was, latched if it was.
2. A latched route moves only further back, until it is resumed or edited to a phase that is not
   further along than the one it was reverted from.
3. The history tells every change of phase, each line beginning where the one before it ended.
4. Neither guard nor ladder makes a side answer that has missed writes.
5. Generations of a record only grow, by one.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.control.reconciler import decide
from proxy.control.steering import Order, Policy, lacking
from proxy.control.world import Event, Judged, Ordered, SlotQuiet, World, WriteMissed
from proxy.core.guard import Verdict
from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, NEW_ONLY, SHADOW_READ, ZERO, Phase, Side
from proxy.core.policy import Advance, Revert, Step
from proxy.store.records import Record, Stored, after
from tests.control.estate import at, route, table

PHASES = st.sampled_from(
    [LEGACY_ONLY, SHADOW_READ, ZERO, Phase(10), Phase(50), DUAL_WRITE, NEW_ONLY]
)
LADDER = Advance(tuple(Step(p) for p in (SHADOW_READ, ZERO, Phase(10), DUAL_WRITE, NEW_ONLY)))
VERDICTS = st.sampled_from([None, Verdict("failing", "bad"), Verdict("passing", "well")])
MOVES = ("phase", "revert", "advance", "resume")


class Routes(RuleBasedStateMachine):
    @initialize(phase=PHASES, ladder=st.booleans())
    def begin(self, phase: Phase, ladder: bool) -> None:
        self.now = 0
        self.number = 0
        self.slots = 2
        self.policy = Policy(Revert(), LADDER if ladder else None)
        self.declared = phase
        self.stored = Stored(starts=1)
        self.lines: list[tuple[str, str, str]] = []
        self.world = World.begin(self.slots, self.stored)
        self.first = str(phase)
        self.load()

    def event(self, *events: Event) -> dict[int, str]:
        """Decide on these, make it durable, and quieten what is paused."""
        self.now += 1
        before = self.record
        decision = decide(self.world, events, at(self.now))
        for changed in decision.change.records:
            had = self.stored.records.get(changed.name)
            assert changed.generation == (had.generation if had else 0) + 1
        self.stored = after(self.stored, decision.change)
        self.world = decision.world
        assert self.world.stored == self.stored
        self.lines += [
            (line.kind, line.before, line.after)
            for line in decision.change.transitions
            if line.kind in MOVES and line.route == "a" and line.before != line.after
        ]
        self.check_latch(before, events)
        paused = [move.paused_at for move in self.world.moves.values() if move.paused_at]
        if paused:
            quiet = [SlotQuiet(slot, "a", max(paused)) for slot in range(self.slots)]
            self.event(*quiet)
        return dict(decision.answers)

    def check_latch(self, before: Record | None, events: tuple[Event, ...]) -> None:
        now = self.record
        if before is None or before.latch is None or now is None:
            return
        if now.latch is not None:
            assert now.effective <= before.effective
            return
        resumed = any(isinstance(e, Ordered) and e.order.action == "resume" for e in events)
        assert resumed or now.declared <= before.latch.before

    @property
    def record(self) -> Record | None:
        return self.stored.records.get("a")

    def load(self) -> None:
        declared = table(route("a", self.declared))
        policies = {"a": self.policy}
        self.event(type(declared)(declared.routes, declared.digest, 5.0, False, policies))

    @rule(phase=PHASES)
    def edit(self, phase: Phase) -> None:
        self.declared = phase
        self.load()

    @rule()
    def save_again(self) -> None:
        before = self.record
        self.load()
        assert self.record == before

    @rule()
    def restart(self) -> None:
        before = self.world.states["a"]
        self.stored = Stored(self.stored.starts + 1, self.stored.table, self.stored.records)
        self.world = World.begin(self.slots, self.stored)
        self.load()
        assert self.world.states["a"] == before

    @rule()
    def fails(self) -> None:
        record = self.record
        assert record is not None
        self.event(Judged("a", record.effective, record.digest, "failing", "37 of 40", "errors"))
        after_it = self.record
        assert after_it is not None
        if after_it.effective != record.effective:
            assert after_it.latch is not None
            assert not lacking(after_it.missed, after_it.effective)

    @rule(phase=PHASES)
    def fails_late(self, phase: Phase) -> None:
        record = self.record
        assert record is not None
        if phase != record.effective:
            self.event(Judged("a", phase, record.digest, "failing", "late", "errors"))
            assert self.record == record

    @rule()
    def climbs(self) -> None:
        record = self.record
        assert record is not None
        self.event(Judged("a", record.effective, record.digest, "climb", "healthy"))
        after_it = self.record
        assert after_it is not None
        if after_it.effective != record.effective:
            assert record.latch is None
            assert record.hold is None
            assert not lacking(after_it.missed, after_it.effective)

    @rule(
        action=st.sampled_from(["revert", "advance", "hold", "resume"]),
        to=st.none() | PHASES,
        accept_loss=st.booleans(),
        force=st.booleans(),
        verdict=VERDICTS,
    )
    def ordered(
        self, action: str, to: Phase | None, accept_loss: bool, force: bool, verdict: Verdict | None
    ) -> None:
        self.number += 1
        before = self.record
        order = Order(action, "because", to, accept_loss, force, verdict)  # type: ignore[arg-type]
        answers = self.event(Ordered(self.number, "a", order))
        assert answers.keys() == {self.number}
        if answers[self.number]:
            assert self.record == before

    @precondition(lambda self: self.record is not None)
    @rule(side=st.sampled_from(Side))
    def misses(self, side: Side) -> None:
        self.event(WriteMissed("a", side, "a write"))

    @invariant()
    def the_history_tells_it(self) -> None:
        here = self.first
        for _, before, after_it in self.lines:
            assert before == here
            here = after_it
        assert self.record is not None
        assert here == str(self.record.effective)

    @invariant()
    def what_is_published_is_what_is_stored(self) -> None:
        assert self.record is not None
        assert self.world.states["a"].phase == self.record.effective


Routes.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestRoutes = Routes.TestCase
