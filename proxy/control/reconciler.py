"""Decides what is in force: declared routes + stored records + what workers said + now → states.

Pure. Who calls `decide` makes `Decision.change` durable first, then takes over `Decision.world`,
then publishes; if the commit fails, the decision is dropped, the store is read again and that is
decided upon (StoreRead). The rules, and what holds because of them:

1. Reads follow the declared phase at once. Authority over writes moves only through a pause
   (`authority`): paused by all, then stored, then published.
2. A worker that was told nothing since its pause stays paused, through any death of the
   controller. One that dies between storing and publishing leaves every worker paused, and the next
   one publishes what is stored.
3. What is declared is what the newest file says. A replica with an older one, amid a deployment,
   declares nothing and keeps to what is stored.
4. What a store that comes back has lost, or was never told, it is told again (`reconciled`).
5. A missed flag is stored before it is published, and so before the write that it is about. It is
   lifted only where the operator says `accept_loss` for a phase in which that side gets all writes.
6. A route that leaves the file leaves its record behind, so that its return finds authority and
   flags again; records of absent routes are bounded in age and number.
7. Where a route is: what the file declares when it is edited, and from then on what reverts,
   advances and resumes make of it (`steering`). A latch outlives any edit but one of the phase to
   one that is not further along than the one it was reverted from.
8. Frozen (the store is out of reach): tables still change; of records only what cannot wait does,
   reverts (by hand too) and missed flags, which the snapshot keeps. What is paused stays so, since
   another may have moved its authority. When the store of one machine can be read again, an
   authority that was published meanwhile is where a move begins.
"""

from collections.abc import Sequence

from msgspec.structs import replace as restruct

from proxy.control.authority import Authority
from proxy.control.replicas import leads, reconciled
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
    Ordered,
    SlotJoined,
    SlotQuiet,
    StoreRead,
    TableLoaded,
    World,
    WriteMissed,
    cannot_wait,
)
from proxy.core.ladder import Progress
from proxy.core.model import UNMATCHED, Route, RouteState
from proxy.store.records import Change, Record, TableMark, Transition, after, latched_line

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
                draft.authority.quieten(event.route, event.slot, event.revision)
            case SlotJoined():
                draft.authority.forget_slot(event.slot)
            case StoreRead():
                draft.read_again(event)
            case Judged():
                draft.judge(event)
            case Ordered():
                draft.order(event)
    return draft.decision()


def next_deadline(world: World) -> float | None:
    """When (on the clock) something must be decided even if nothing happens."""
    return min((move.until for move in world.moves.values()), default=None)


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
        self.authority = Authority(world.slots, world.moves, now, self._alarm)
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
        self._touched |= self._routes.keys() | self.authority.moves.keys()
        if not self._frozen and leads(self._stored):
            self._age_absent_records()

    def miss(self, event: WriteMissed) -> None:
        record = self._records.get(event.route)
        if record is None or event.side in record.missed:
            return
        fields = {"route": event.route, "side": event.side.value, "reason": event.reason}
        missed = record.missed | {event.side}
        self._history(event.route, "missed", record.missed, missed, "controller", event.reason)
        self._alarm("warning", "side misses writes", **fields)
        self._put(record, missed=missed)
        self._touched.add(event.route)

    def read_again(self, event: StoreRead) -> None:
        stored, mine = event.stored, self._records
        mark = self._table or self._stored.table
        if mark.generation > stored.table.generation:
            self._table = mark
        if self._frozen or leads(self._stored) != leads(stored):
            self._touched |= self._routes.keys()
        else:  # of many routes few have changed
            fresh = stored.records.items()
            self._touched |= {name for name, record in fresh if record != mine.get(name)}
        self._stored = stored
        self._frozen = False
        # A controller that began on a snapshot may have begun on the revisions of another.
        self._revision = max(self._revision, stored.starts * REVISIONS_PER_START)
        # What was forgotten on purpose had left all files before.
        lost = {
            name: record
            for name, record in mine.items()
            if name not in stored.records and record.absent_since is None
        }
        if lost:
            self._alarm(
                "critical", "state store has lost routes, they are put back", routes=len(lost)
            )
        self._records = {**stored.records, **lost}
        for name, record in stored.records.items():
            known = reconciled(mine.get(name), record)
            published = self._world.states.get(name)
            held = published.authority if published is not None else known.authority
            is_alone = not stored.replica and not self.authority.is_quiet(name)
            if is_alone and held is not known.authority:
                # A worker may hold the published one unpaused: from there it is a move.
                known = restruct(known, authority=held)
            if known != record:
                self._records[name] = known
                self._tell_again(record, known)

    def _tell_again(self, record: Record, known: Record) -> None:
        """The history of what the store was not told, or has lost."""
        line = latched_line(known) if known.latch != record.latch else None
        if line is not None:
            self._transitions.append(line)
        if known.missed - record.missed:
            why = "while the state store was out of reach"
            self._history(known.name, "missed", record.missed, known.missed, "controller", why)

    def judge(self, event: Judged) -> None:
        record, route = self._records.get(event.route), self._routes.get(event.route)
        is_late = (
            record is None
            or record.effective != event.phase
            or record.digest != event.digest
            or record.absent_since is not None
        )
        if is_late or record is None or route is None:
            return
        if self._frozen and not cannot_wait(event):
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
        if self._frozen and not cannot_wait(event):
            refusal = (
                "the state store is out of reach: until it is back only a revert can be done, "
                "without `accept_loss`"
            )
        elif record is None or route is None:
            refusal = "there is no such route"
        elif route.name == UNMATCHED:
            refusal = "what no route matches goes to legacy: declare a route to move some of it"
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
                self.authority.moves.pop(name, None)
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
        self.authority.take_back_what_is_over(self._stored)
        change = self._change()
        world = World(
            slots=self._world.slots,
            stored=after(self._stored, change),
            revision=self._revision,
            frozen=self._frozen,
            routes=self._routes,
            states=states,
            moves=self.authority.moves,
            switch_timeout_s=self._switch_timeout_s,
            policies=self._policies,
            source=self._source,
        )
        alarms = tuple(self._alarms)
        return Decision(world, change, self._new_table, changed, alarms, self._answers)

    def _settle(self, route: Route) -> RouteState:
        """The state of one route now; its record and its move are brought up to date."""
        record, published = self._records.get(route.name), self._world.states.get(route.name)
        if self._frozen:
            if record is None:
                return published or RouteState.of_phase(route.phase)
            held = published or RouteState(record.effective, record.authority)
            return RouteState(record.effective, held.authority, held.writes_paused, record.missed)
        if leads(self._stored):
            record = self._declare(route, record)
        elif record is None:
            return RouteState.of_phase(route.phase)
        if route.split_writes:
            # Each write goes to the side that answers its client: nobody has to be asked.
            self.authority.moves.pop(route.name, None)
            record = self._put(record, authority=record.effective.authority)
            return RouteState(record.effective, record.authority, False, record.missed)
        moved, state = self.authority.settle(
            record, self._stored, published, self._revision, self._switch_timeout_s
        )
        if moved is not record:
            authorities = record.authority.value, moved.authority.value
            self._records[route.name] = moved
            self._history(route.name, "authority", *authorities, "controller", "all are quiet")
            self._alarm("info", "write authority moved", route=route.name, to=authorities[1])
        return state

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
        said = self.authority.quiet, self.authority.withdrawn, self.authority.swapped
        return Change(tuple(records), forgotten, tuple(self._transitions), self._table, *said)

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
