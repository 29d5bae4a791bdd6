"""Decides what is in force: declared routes + stored records + what workers said + now → states.

Pure. Who calls `decide` makes `Decision.change` durable first, then takes over `Decision.world`,
then publishes; if the commit fails, the decision is dropped, the store is read again and that is
decided upon (StoreRead). The rules, and what holds because of them:

1. Reads follow the declared phase at once. Authority over writes moves only through a pause:
   writes are paused (a revision), every slot says Quiet for that revision or a later one, the new
   authority is stored, and only then published and unpaused.
2. So two workers never have different authorities unpaused: while any worker may still hold the
   old one unpaused, the swap is not decided; a worker that was told nothing since its pause stays
   paused, through any death of the controller. A controller that dies between storing and
   publishing leaves every worker paused, and the next one publishes what is stored.
3. A slot without a living worker is waited for: the next one gets a Full and says Quiet. What a
   slot said is forgotten when a worker joins in it, so Quiet is always of the present one.
4. A pause ends after `switch_timeout_s`: the old authority is unpaused, the move stays pending, is
   alarmed, and is tried again after a back-off. What was said in one pause never counts in another.
5. A missed flag is stored before it is published, and so before the write that it is about. It is
   lifted only where the operator says `accept_loss` for a phase in which that side gets all writes.
6. A route that leaves the file leaves its record behind, so that its return finds authority and
   flags again; records of absent routes are bounded in age and number.
7. Where a route is: what the file declares when it is edited, and from then on what reverts,
   advances and resumes make of it (`steering`). A latch outlives any edit but one of the phase to
   one that is not further along than the one it was reverted from.
8. Frozen (the store is out of reach): records stay as they are; tables still change. When the
   store can be read again, an authority that was published meanwhile is where a move begins.
"""

from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as restruct

from proxy.control.steering import (
    Policy,
    Steered,
    climb,
    fully_written,
    go_back,
    obey,
    tell_ready,
)
from proxy.control.world import (
    REVISIONS_PER_START,
    Alarm,
    Decision,
    Event,
    Judged,
    Moment,
    Move,
    Ordered,
    SlotJoined,
    SlotQuiet,
    StoreRead,
    TableLoaded,
    World,
    WriteMissed,
)
from proxy.core.ladder import Progress
from proxy.core.model import Route, RouteState
from proxy.store.records import Change, Record, Stored, TableMark, Transition, after

FIRST_RETRY = 2.0  # times the switch timeout, doubling
LONGEST_RETRY_S = 300.0
ABSENT_KEPT = 1000
ABSENT_KEPT_S = 90 * 86400.0


def decide(world: World, events: Sequence[Event], now: Moment) -> Decision:
    """What follows from these events, in their order, at this moment."""
    draft = _Draft(world, now)
    for event in events:
        match event:
            case TableLoaded():
                draft.load(event)
            case WriteMissed():
                draft.miss(event)
            case SlotQuiet():
                draft.quieten(event)
            case SlotJoined():
                draft.forget_slot(event.slot)
            case StoreRead():
                draft.read_again(event.stored)
            case Judged():
                draft.judge(event)
            case Ordered():
                draft.order(event)
    return draft.decision()


def next_deadline(world: World) -> float | None:
    """When (on the clock) something must be decided even if nothing happens."""
    return min((move.until for move in world.moves.values()), default=None)


def retry_after_s(attempts: int, switch_timeout_s: float) -> float:
    """How long a move waits after that many tries, so that writes pause a third of the time at
    most."""
    doublings = min(attempts - 1, 20)
    return min(FIRST_RETRY * switch_timeout_s * 2.0**doublings, LONGEST_RETRY_S)


class _Draft:
    """One decision in the making."""

    def __init__(self, world: World, now: Moment) -> None:
        self._world = world
        self._now = now
        self._stored = world.stored
        self._revision = world.revision
        self._frozen = world.frozen
        self._switch_timeout_s = world.switch_timeout_s
        self._routes = world.routes
        self._source = world.source
        self._policies = world.policies
        self._records = dict(world.stored.records)
        self._moves = dict(world.moves)
        self._touched = set(world.moves)
        self._new_table = False
        self._table: TableMark | None = None
        self._forgotten: set[str] = set()
        self._transitions: list[Transition] = []
        self._alarms: list[Alarm] = []
        self._answers: dict[int, str] = {}

    def load(self, event: TableLoaded) -> None:
        mark = self._table or self._stored.table
        changed = event.digest != mark.digest or event.forced
        if changed:
            self._table = TableMark(mark.generation + 1, event.digest)
        if changed or not self._routes:
            self._new_table = True
        self._routes = {route.name: route for route in event.routes}
        self._switch_timeout_s = event.switch_timeout_s
        self._source = event.source
        self._policies = event.policies
        self._touched |= self._routes.keys() | self._moves.keys()
        if not self._frozen:
            self._age_absent_records()

    def miss(self, event: WriteMissed) -> None:
        record = self._records.get(event.route)
        if record is None or event.side in record.missed:
            return
        fields = {"route": event.route, "side": event.side.value, "reason": event.reason}
        if self._frozen:
            self._alarm("error", "missed write cannot be recorded, the store is away", **fields)
            return
        missed = record.missed | {event.side}
        self._history(event.route, "missed", record.missed, missed, "controller", event.reason)
        self._alarm("warning", "side misses writes", **fields)
        self._put(record, missed=missed)
        self._touched.add(event.route)

    def quieten(self, event: SlotQuiet) -> None:
        move = self._moves.get(event.route)
        if move is None or move.paused_at is None or event.revision < move.paused_at:
            return
        if 0 <= event.slot < self._world.slots:
            self._moves[event.route] = replace(move, quiet=move.quiet | {event.slot})

    def forget_slot(self, slot: int) -> None:
        for name, move in self._moves.items():
            if slot in move.quiet:
                self._moves[name] = replace(move, quiet=move.quiet - {slot})

    def read_again(self, stored: Stored) -> None:
        mark = self._table or self._stored.table
        if mark.generation > stored.table.generation:
            self._table = mark
        self._stored = stored
        self._frozen = False
        self._touched |= self._routes.keys()
        # A controller that began on a snapshot may have begun on the revisions of another.
        self._revision = max(self._revision, stored.starts * REVISIONS_PER_START)
        self._records = dict(stored.records)
        for name, record in stored.records.items():
            published = self._world.states.get(name)
            if published and published.authority is not record.authority:
                move = self._moves.get(name)
                if move is None or self._waits_for(move):
                    # A worker may hold the published one unpaused: from there it is a move.
                    self._records[name] = restruct(record, authority=published.authority)

    def judge(self, event: Judged) -> None:
        record, route = self._records.get(event.route), self._routes.get(event.route)
        is_late = (
            record is None
            or record.effective != event.phase
            or record.digest != event.digest
            or record.absent_since is not None
        )
        if self._frozen or is_late or record is None or route is None:
            return
        policy = self._policies.get(event.route, Policy())
        wall = self._now.wall
        if event.outcome == "progress":
            self._put(record, progress=event.progress)
        elif event.outcome == "climb":
            self._steer(climb(record, route, policy, event.evidence, wall))
        elif event.outcome == "ready":
            self._steer(tell_ready(record, policy, event.evidence, wall))
        elif record.refused_at is None:
            self._steer(go_back(record, route, policy, event.cause, event.evidence, wall))

    def order(self, event: Ordered) -> None:
        record, route = self._records.get(event.route), self._routes.get(event.route)
        if self._frozen:
            refusal = "the state store is out of reach: nothing can be changed until it is back"
        elif record is None or route is None:
            refusal = "there is no such route"
        else:
            policy = self._policies.get(event.route, Policy())
            steered = obey(record, route, policy, event.order, self._now.wall)
            refusal = steered.refusal
            if not refusal:
                self._steer(steered)
        self._answers[event.number] = refusal

    def decision(self) -> Decision:
        states = dict(self._world.states)
        for name in sorted(self._touched):
            route = self._routes.get(name)
            if route is None:
                self._moves.pop(name, None)
            else:
                states[name] = self._settle(route)
        if self._new_table:
            states = {name: states[name] for name in self._routes}
        changed = {
            name: states[name]
            for name in self._touched & states.keys()
            if states[name] != self._world.states.get(name)
        }
        if changed or self._new_table:
            self._revision += 1
        change = self._change()
        world = World(
            slots=self._world.slots,
            stored=after(self._stored, change),
            revision=self._revision,
            frozen=self._frozen,
            routes=self._routes,
            states=states,
            moves=self._moves,
            switch_timeout_s=self._switch_timeout_s,
            policies=self._policies,
            source=self._source,
        )
        durable = Change() if self._frozen else change
        alarms = tuple(self._alarms)
        return Decision(world, durable, self._new_table, changed, alarms, self._answers)

    def _settle(self, route: Route) -> RouteState:
        """The state of one route now; its record and its move are brought up to date."""
        record = self._records.get(route.name)
        if self._frozen:
            if record is None:
                return RouteState.of_phase(route.phase)
            return RouteState(record.effective, record.authority, missed=record.missed)
        record = self._declare(route, record)
        paused = False
        if record.authority is not record.effective.authority:
            if route.split_writes:
                # Each write goes to the side that answers its client: nobody has to be asked.
                record = self._put(record, authority=record.effective.authority)
            else:
                record, paused = self._advance_move(record)
        if record.authority is record.effective.authority:
            self._moves.pop(route.name, None)
        return RouteState(record.effective, record.authority, paused, record.missed)

    def _declare(self, route: Route, record: Record | None) -> Record:
        """The record with what the file says now."""
        if record is None:
            first = RouteState.of_phase(route.phase)
            record = Record(
                name=route.name,
                generation=0,
                digest=route.digest,
                declared=route.phase,
                effective=first.phase,
                authority=first.authority,
                accept_loss=route.accept_loss,
            )
            self._records[route.name] = record
            return record
        missed = record.missed
        effective, latch, progress = record.effective, record.latch, record.progress
        moved = record.declared != route.phase
        if moved and (latch is None or route.phase <= latch.before):
            why = "edited" if latch is None else "edited, which lifts the latch"
            self._history(route.name, "phase", effective, route.phase, "file", why)
            effective, latch, progress = route.phase, None, Progress(self._now.wall)
        elif moved:
            self._alarm(
                "warning",
                "edit leaves the latch",
                route=route.name,
                declared=str(route.phase),
                effective=str(effective),
            )
        if route.accept_loss and (moved or not record.accept_loss):
            missed -= fully_written(effective)
        if missed != record.missed:
            why = "accept_loss is set"
            self._history(route.name, "missed", record.missed, missed, "file", why)
        stays = effective == record.effective
        same = stays and route.digest == record.digest
        return self._put(
            record,
            digest=route.digest,
            declared=route.phase,
            effective=effective,
            missed=missed,
            accept_loss=route.accept_loss,
            absent_since=None,
            latch=latch,
            progress=progress,
            refused_at=record.refused_at if same else None,
            ready_at=record.ready_at if stays else None,
        )

    def _advance_move(self, record: Record) -> tuple[Record, bool]:
        """One step of the move of this route's authority; whether its writes are paused."""
        name, to = record.name, record.effective.authority
        move = self._moves.get(name)
        if move is None:
            return record, self._pause(name, Move(to, self._now.wall, None, 0.0, attempts=0))
        if move.paused_at is None:
            return record, self._now.clock >= move.until and self._pause(name, move)
        waiting = self._waits_for(move)
        if not waiting:
            self._history(
                name, "authority", record.authority.value, to.value, "controller", "all are quiet"
            )
            self._alarm("info", "write authority moved", route=name, to=to.value)
            return self._put(record, authority=to), False
        if self._now.clock < move.until:
            return record, True
        retry_s = retry_after_s(move.attempts, self._switch_timeout_s)
        self._moves[name] = replace(
            move, paused_at=None, until=self._now.clock + retry_s, quiet=frozenset()
        )
        self._alarm(
            "error",
            "write authority could not be moved, the old one stays",
            route=name,
            to=to.value,
            waited_for_slots=waiting,
            attempts=move.attempts,
            retry_s=retry_s,
        )
        return record, False

    def _steer(self, steered: Steered) -> None:
        """Take over what became of a verdict or an order."""
        record, line = steered.record, steered.transition
        if line is None:
            return
        self._records[record.name] = record
        self._transitions.append(line)
        self._touched.add(record.name)
        if line.kind == "refused":
            self._alarm(
                "critical",
                "route is failing and cannot be taken back",
                route=record.name,
                phase=line.before,
                reason=line.reason,
                evidence=line.evidence,
            )

    def _waits_for(self, move: Move) -> list[int]:
        """The slots that have not said Quiet in the present pause."""
        return sorted(set(range(self._world.slots)) - move.quiet)

    def _pause(self, name: str, move: Move) -> bool:
        # The state changes from unpaused to paused, so the next revision publishes it.
        self._moves[name] = replace(
            move,
            paused_at=self._revision + 1,
            until=self._now.clock + self._switch_timeout_s,
            attempts=move.attempts + 1,
        )
        return True

    def _age_absent_records(self) -> None:
        absent = [record for record in self._records.values() if record.name not in self._routes]
        for record in absent:
            if record.absent_since is None:
                self._put(record, absent_since=self._now.wall)
        dated = [self._records[record.name] for record in absent]
        dated.sort(key=lambda record: record.absent_since or 0.0, reverse=True)
        oldest = self._now.wall - ABSENT_KEPT_S
        for at, record in enumerate(dated):
            if at >= ABSENT_KEPT or (record.absent_since or 0.0) < oldest:
                del self._records[record.name]
                self._forgotten.add(record.name)

    def _put(self, record: Record, **changed: object) -> Record:
        fresh = restruct(record, **changed)
        self._records[record.name] = fresh
        return fresh

    def _change(self) -> Change:
        """Everything that differs from the store, each record one generation further."""
        before = self._stored.records
        records = []
        for name, record in self._records.items():
            stored = before.get(name)
            if record is not stored and record != stored:
                generation = 1 if stored is None else stored.generation + 1
                records.append(restruct(record, generation=generation))
        forgotten = tuple(sorted(name for name in self._forgotten if name in before))
        return Change(tuple(records), forgotten, tuple(self._transitions), self._table)

    def _history(
        self, route: str, kind: str, before: object, after: object, by: str, reason: str
    ) -> None:
        texts = [_text(before), _text(after)]
        self._transitions.append(
            Transition(self._now.wall, route, kind, texts[0], texts[1], by, reason)
        )

    def _alarm(self, level: str, event: str, **fields: object) -> None:
        self._alarms.append(Alarm(level, event, fields))


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(side.value for side in value)) or "none"
    return str(value)
