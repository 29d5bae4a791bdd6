"""What holds whatever happens: workers, deaths and commits in any order, against one store.

The workers here are models of what the link asks of a worker; the store is the plain value that a
commit leaves. Each rule is a thing that can happen next.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

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
FATES = ["fails", "fails, but is written", "takes long"]  # of a commit
PHASES = [Phase(99), DUAL_WRITE, NEW_ONLY, LEGACY_ONLY]


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


class Moves:
    """One route, two workers, controllers that die anywhere, a store that fails anywhere."""

    def __init__(self, phase: Phase) -> None:
        self.clock = 0.0
        self.store = Stored()
        self.snapshot = Stored()
        self.phase = phase
        self.workers = [ModelWorker() for _ in range(SLOTS)]
        self.world: World | None = None
        self.pending: Decision | None = None  # decided, not committed yet
        self.deciding: list[Event] = []  # what the pending decision is about
        self.queued: list[Event] = []
        self.in_doubt = False
        self.fate = "succeeds"  # of the next commit

        self.start_controller(from_snapshot=False)
        for slot in range(SLOTS):
            self.worker_connects(slot)
            self.worker_reads(slot, overtaking=True)

    # The controller.

    def start_controller(self, from_snapshot: bool) -> None:
        self.pending, self.in_doubt = None, False
        self.deciding, self.queued = [], []
        if from_snapshot:
            self.world = World.begin(SLOTS, self.snapshot, frozen=True)
            self.decide_on([edited(self.phase)])
            return
        self.store = msgspec.structs.replace(self.store, starts=self.store.starts + 1)
        self.world = World.begin(SLOTS, self.snapshot if self.snapshot.records else self.store)
        self.decide_on([StoreRead(self.store), edited(self.phase)])

    def decide_on(self, events: list[Event]) -> None:
        if self.world is None:
            return
        if self.in_doubt:
            # What cannot wait for the store is decided in a frozen world.
            pressing = [event for event in events if isinstance(event, WriteMissed)]
            self.queued += [event for event in events if event not in pressing]
            if pressing:
                self.decide_apart(pressing)
            return
        if self.pending is not None:
            self.queued += events
            return
        if self.world.frozen and not any(isinstance(event, StoreRead) for event in events):
            self.decide_apart(events)
            return
        self.pending = decide(self.world, events, at(self.clock))
        self.deciding = events
        fate, self.fate = self.fate, "succeeds"
        if not self.pending.change:
            self.publish()
        elif fate != "takes long":
            self.commit_ends(fate == "succeeds", fate != "fails")

    def decide_apart(self, events: Sequence[Event]) -> None:
        assert self.world is not None
        self.queued += [event for event in events if isinstance(event, WriteMissed)]
        queued, self.queued = self.queued, []
        self.pending = decide(self.world, events, at(self.clock))
        self.snapshot = self.pending.world.stored
        self.publish()
        self.queued = queued

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

    def commit_will(self, fate: str) -> None:
        self.fate = fate

    def commit_ends(self, succeeds: bool, written: bool) -> None:
        if self.pending is None:
            return
        if succeeds or written:
            self.write()
        if succeeds:
            self.publish()
        else:
            self.pending = None
            self.in_doubt = True
            assert self.world is not None
            self.world = replace(self.world, frozen=True)

    def write(self) -> None:
        assert self.pending is not None
        check_generations(self.store, self.pending.change)
        self.store = after(self.store, self.pending.change)

    def store_is_read_again(self) -> None:
        if self.world is None or self.pending is not None:
            return
        if not self.in_doubt and not self.world.frozen:
            return
        if not self.in_doubt:
            self.store = msgspec.structs.replace(self.store, starts=self.store.starts + 1)
        self.in_doubt = False
        again = [event for event in self.deciding if not isinstance(event, StoreRead)]
        queued, self.queued = self.queued, []
        self.decide_on([StoreRead(self.store), *again, *queued])

    def controller_dies(self) -> None:
        """It dies where it stands: a commit under way is lost, or done and never published."""
        self.world = self.pending = None
        self.in_doubt = False
        for worker in self.workers:
            worker.connected = False
            worker.inbox.clear()

    def controller_starts(self, from_snapshot: bool) -> None:
        if self.world is None:
            # Without a snapshot nothing is served at all.
            self.start_controller(from_snapshot and bool(self.snapshot.records))

    def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        self.decide_on([])

    def the_file_is_edited(self, phase: Phase) -> None:
        self.phase = phase
        self.decide_on([edited(phase)])

    # The workers.

    def worker_connects(self, slot: int) -> None:
        worker = self.workers[slot]
        if self.world is None:
            return
        worker.connected = True
        self.decide_on([SlotJoined(slot)])
        if "a" in self.world.states:
            worker.inbox = [(self.world.revision, self.world.states["a"])]

    def worker_is_restarted(self, slot: int) -> None:
        self.workers[slot] = ModelWorker()

    def worker_reads(self, slot: int, overtaking: bool) -> None:
        """The next of what it was sent, or only the last; then what follows by itself."""
        worker = self.workers[slot]
        if worker.inbox:
            if overtaking:
                del worker.inbox[:-1]
            worker.revision, worker.state = worker.inbox.pop(0)
        self.say_quiet(slot)

    def say_quiet(self, slot: int) -> None:
        worker = self.workers[slot]
        if worker.connected and worker.state and worker.state.writes_paused and not worker.writes:
            self.decide_on([SlotQuiet(slot, "a", worker.revision)])

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
            assert self.is_durable(frozenset({state.authority.other}))
        worker.writes.append(state.authority)

    def worker_ends_a_write(self, slot: int) -> None:
        if self.workers[slot].writes:
            self.workers[slot].writes.pop()
            self.say_quiet(slot)

    # What holds.

    def writes_under_way_have_one_order(self) -> None:
        assert len({side for worker in self.workers for side in worker.writes}) <= 1

    def unpaused_workers_agree_on_the_authority(self) -> None:
        states = [worker.state for worker in self.workers if worker.state]
        assert len({state.authority for state in states if not state.writes_paused}) <= 1

    def a_published_flag_is_stored(self) -> None:
        for worker in self.workers:
            if worker.state:
                assert self.is_durable(worker.state.missed)

    def is_durable(self, missed: frozenset[Side]) -> bool:
        kept = [each.records.get("a") for each in (self.store, self.snapshot)]
        return any(missed <= record.missed for record in kept if record is not None)


# Each thing that can happen as often as it should be tried; `pick` is 0 to 9.
STEPS: list[Callable[[Moves, int, int], None]] = [
    *[lambda moves, slot, pick: moves.worker_reads(slot, overtaking=pick < 5)] * 8,
    *[lambda moves, slot, pick: moves.worker_begins_a_write(slot)] * 6,
    *[lambda moves, slot, pick: moves.worker_ends_a_write(slot)] * 6,
    *[lambda moves, slot, pick: moves.the_file_is_edited(PHASES[pick % len(PHASES)])] * 4,
    *[lambda moves, slot, pick: moves.time_passes([1.0, 6.0, 20.0][pick % 3])] * 2,
    *[lambda moves, slot, pick: moves.worker_connects(slot)] * 2,
    *[lambda moves, slot, pick: moves.worker_is_restarted(slot)] * 1,
    *[lambda moves, slot, pick: moves.commit_will(FATES[pick % len(FATES)])] * 2,
    *[lambda moves, slot, pick: moves.commit_ends(succeeds=pick < 5, written=pick < 8)] * 2,
    *[lambda moves, slot, pick: moves.store_is_read_again()] * 2,
    *[lambda moves, slot, pick: moves.controller_dies()] * 1,
    *[lambda moves, slot, pick: moves.controller_starts(from_snapshot=pick < 5)] * 2,
]
steps = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, SLOTS - 1), st.integers(0, 9)),
    min_size=40,
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(phase=st.sampled_from(PHASES), steps=steps)
def test_writes_keep_one_order_and_flags_come_first(
    phase: Phase, steps: list[tuple[Callable[[Moves, int, int], None], int, int]]
) -> None:
    moves = Moves(phase)
    for step, slot, pick in steps:
        step(moves, slot, pick)
        moves.writes_under_way_have_one_order()
        moves.unpaused_workers_agree_on_the_authority()
        moves.a_published_flag_is_stored()
