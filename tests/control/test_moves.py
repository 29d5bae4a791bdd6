"""What holds whatever happens: workers, deaths and commits in any order, against one store.

The workers here are models of what the link asks of a worker; the store is the plain value that a
commit leaves. Each rule is a thing that can happen next.
"""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from proxy.control.reconciler import decide
from proxy.control.world import (
    Decision,
    Event,
    SlotJoined,
    SlotQuiet,
    StoreRead,
    World,
    WriteMissed,
)
from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, NEW_ONLY, Phase, RouteState, Side
from proxy.store.records import Stored, after
from proxy.store.state import check_generations
from tests.control.estate import at, route, table

SLOTS = 2
PHASES = [LEGACY_ONLY, Phase(99), DUAL_WRITE, NEW_ONLY]
slots = st.integers(0, SLOTS - 1)


def edited(phase: Phase) -> Event:
    return table(route("a", phase), digest=str(phase))


class ModelWorker:
    """A worker: its state, what it was sent and has not read, its writes under way."""

    def __init__(self) -> None:
        self.state: RouteState | None = None
        self.revision = 0
        self.inbox: list[tuple[int, RouteState]] = []
        self.connected = False
        self.writes: list[Side] = []
        self.asked: set[Side] = set()


class Moves(RuleBasedStateMachine):
    """One route, two workers, controllers that die anywhere, a store that fails anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.store = Stored()
        self.snapshot = Stored()
        self.phase = LEGACY_ONLY
        self.workers = [ModelWorker() for _ in range(SLOTS)]
        self.world: World | None = None
        self.pending: Decision | None = None  # decided, not committed yet
        self.deciding: list[Event] = []  # what the pending decision is about
        self.queued: list[Event] = []
        self.in_doubt = False

    @initialize(phase=st.sampled_from(PHASES))
    def start(self, phase: Phase) -> None:
        self.phase = phase
        self.start_controller(from_snapshot=False)

    # The controller.

    def start_controller(self, from_snapshot: bool) -> None:
        self.pending, self.in_doubt = None, False
        self.deciding, self.queued = [], []
        if from_snapshot:
            self.world = World.begin(SLOTS, self.snapshot, frozen=True)
        else:
            self.store = msgspec.structs.replace(self.store, starts=self.store.starts + 1)
            self.world = World.begin(SLOTS, self.store)
        self.decide_on([edited(self.phase)])

    def decide_on(self, events: list[Event]) -> None:
        if self.world is None:
            return
        if self.pending is not None or self.in_doubt:
            self.queued += events
            return
        self.pending = decide(self.world, events, at(self.clock))
        self.deciding = events
        if not self.pending.change:
            self.publish()

    def publish(self) -> None:
        decision, self.pending = self.pending, None
        assert decision is not None
        assert self.world is not None
        self.world = decision.world
        if not self.world.frozen:
            assert self.world.stored == self.store
            self.snapshot = self.store
        if decision.states or decision.new_table:
            for worker in self.workers:
                if worker.connected:
                    worker.inbox.append((self.world.revision, self.world.states["a"]))
        queued, self.queued = self.queued, []
        if queued:
            self.decide_on(queued)

    @precondition(lambda self: self.pending is not None and not self.in_doubt)
    @rule()
    def commit_succeeds(self) -> None:
        assert self.pending is not None
        self.write()
        self.publish()

    @precondition(lambda self: self.pending is not None and not self.in_doubt)
    @rule(written=st.booleans())
    def commit_fails(self, written: bool) -> None:
        if written:
            self.write()
        self.pending = None
        self.in_doubt = True

    def write(self) -> None:
        assert self.pending is not None
        check_generations(self.store, self.pending.change)
        self.store = after(self.store, self.pending.change)

    @precondition(lambda self: self.in_doubt or (self.world and self.world.frozen))
    @rule()
    def store_is_read_again(self) -> None:
        assert self.world is not None
        if self.pending is not None:
            return
        if self.world.frozen:
            self.store = msgspec.structs.replace(self.store, starts=self.store.starts + 1)
        self.in_doubt = False
        again = [event for event in self.deciding if not isinstance(event, StoreRead)]
        queued, self.queued = self.queued, []
        self.decide_on([StoreRead(self.store), *again, *queued])

    @precondition(lambda self: self.world is not None)
    @rule()
    def controller_dies(self) -> None:
        self.world = self.pending = None
        self.in_doubt = False
        for worker in self.workers:
            worker.connected = False
            worker.inbox.clear()

    @precondition(lambda self: self.world is None)
    @rule(from_snapshot=st.booleans())
    def controller_starts(self, from_snapshot: bool) -> None:
        # Without a snapshot nothing is served at all.
        self.start_controller(from_snapshot and bool(self.snapshot.records))

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        self.decide_on([])

    @rule(phase=st.sampled_from(PHASES))
    def the_file_is_edited(self, phase: Phase) -> None:
        self.phase = phase
        self.decide_on([edited(phase)])

    # The workers.

    @precondition(lambda self: self.world is not None)
    @rule(slot=slots)
    def worker_connects(self, slot: int) -> None:
        worker = self.workers[slot]
        assert self.world is not None
        worker.connected = True
        self.decide_on([SlotJoined(slot)])
        if "a" in self.world.states:
            worker.inbox = [(self.world.revision, self.world.states["a"])]

    @rule(slot=slots)
    def worker_is_restarted(self, slot: int) -> None:
        self.workers[slot] = ModelWorker()

    @rule(slot=slots, overtaking=st.booleans())
    def worker_reads(self, slot: int, overtaking: bool) -> None:
        worker = self.workers[slot]
        if worker.inbox:
            if overtaking:
                del worker.inbox[:-1]
            worker.revision, worker.state = worker.inbox.pop(0)

    @rule(slot=slots)
    def worker_says_quiet(self, slot: int) -> None:
        worker = self.workers[slot]
        if worker.connected and worker.state and worker.state.writes_paused and not worker.writes:
            self.decide_on([SlotQuiet(slot, "a", worker.revision)])

    @rule(slot=slots)
    def worker_begins_a_write(self, slot: int) -> None:
        worker = self.workers[slot]
        if worker.state is None or worker.state.writes_paused or len(worker.writes) > 1:
            return
        state = worker.state
        single = not state.phase.both_written and state.authority is state.phase.authority
        if single and state.authority.other not in state.missed:
            if worker.connected:
                self.decide_on([WriteMissed("a", state.authority.other)])
            return
        if single:
            assert state.authority.other in self.store.records["a"].missed
        worker.writes.append(state.authority)

    @rule(slot=slots)
    def worker_ends_a_write(self, slot: int) -> None:
        if self.workers[slot].writes:
            self.workers[slot].writes.pop()

    # What holds.

    @invariant()
    def writes_under_way_have_one_order(self) -> None:
        assert len({side for worker in self.workers for side in worker.writes}) <= 1

    @invariant()
    def unpaused_workers_agree_on_the_authority(self) -> None:
        states = [worker.state for worker in self.workers if worker.state]
        assert len({state.authority for state in states if not state.writes_paused}) <= 1

    @invariant()
    def a_published_flag_is_stored(self) -> None:
        for worker in self.workers:
            if worker.state:
                assert worker.state.missed <= self.store.records["a"].missed


Moves.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_moves = Moves.TestCase
