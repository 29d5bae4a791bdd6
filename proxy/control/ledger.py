"""Runs the reconciler against the store: decide, make durable, then publish, one at a time.

The order is the point: nothing is published that is not stored, and after a commit of unknown
outcome nothing is decided before the store was read again (routes that are paused stay paused
meanwhile: their authority is in doubt). While the store is out of reach only what cannot wait is
decided, reverts of what fails and missed flags: the snapshot of the last commit takes it, and the
store is told when it is back. At the start the snapshot is used in the place of a store that is
away; without one nothing is published, and `problem` says why.

Of several replicas on one store each decides by itself. What another one commits is read as soon
as the store says so; of two that commit at once one is refused, reads again and decides again.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from msgspec.structs import replace as replace_struct

from proxy.control.inbox import Inbox
from proxy.control.lines import LEVELS, KnownLines, log_line
from proxy.control.orders import Orders
from proxy.control.reconciler import decide, next_deadline
from proxy.control.replicas import declared_digest, silent
from proxy.control.steering import Order
from proxy.control.world import (
    Decision,
    Event,
    Moment,
    StoreMoved,
    StoreRead,
    TableLoaded,
    World,
    WriteMissed,
)
from proxy.core.model import Side
from proxy.store.opening import Opened
from proxy.store.records import Stored, Transition
from proxy.store.snapshot import LastKnown
from proxy.store.state import (
    ConflictError,
    DamagedError,
    LostError,
    SharedStore,
    StateStore,
    StoreError,
)
from proxy.store.tasks import goes_on

RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
THAW_EVERY_S = 5.0
MAX_CONFLICTS = 50  # in a row
CONFLICT_S = 0.02  # others are let by for up to so long
WATCH_S = 30.0
WATCH_AGAIN_S = 0.5
PRESENT_S = 1.0
HEARD_AT_ONCE = 50  # lines of others

Opener = Callable[[], Awaitable[Opened]]

log = structlog.get_logger("proxy.control")


class Ledger:
    """Owns the world and the store. `publish` is called with each decision that holds.

    `told` gets each line of history that this replica makes, `heard` those of others.
    """

    def __init__(
        self,
        slots: int,
        opener: Opener,
        snapshot: Path,
        publish: Callable[[Decision], None],
        told: Callable[[Transition], None] = lambda line: None,
        heard: Callable[[Transition], None] = lambda line: None,
        memory: int | None = None,
    ) -> None:
        self.world: World | None = None
        self.problem: str | None = None  # why the store cannot be used now
        self.begun = asyncio.Event()  # there is a world
        self.leaves = False  # at the end: nothing is served any more
        self._slots = slots
        self._opener = opener
        self._known = LastKnown(snapshot, memory)
        self._publish = publish
        self._told = told
        self._heard = heard
        self._inbox = Inbox()
        self._store: StateStore | None = None
        self._opened = asyncio.Event()
        self._file = ""  # the digest of what the file declares
        self._missed_apart: dict[tuple[str, Side], WriteMissed] = {}
        self._known_lines = KnownLines()
        self._thaw_at = 0.0
        self._orders = Orders(self.submit)

    def submit(self, event: Event) -> None:
        """Something happened; it is decided upon soon."""
        self._inbox.put(event)

    async def order(self, route: str, order: Order) -> str:
        """Have it done, durably: the refusal, empty where it was done.

        Raises StoreError where that is not known in time; an order that was not begun by then is
        dropped.
        """
        return await self._orders.carry_out(route, order, lambda: self.problem)

    async def history(self, route: str | None, limit: int) -> list[Transition]:
        """The newest transitions first. Raises StoreError while the store is out of reach."""
        if self._store is None:
            raise StoreError(self.problem or "the state store is not open yet")
        return await self._store.history(route, limit)

    async def run(self) -> None:
        """Decide until cancelled; the store is closed then."""
        try:
            await self._begin()
            self.begun.set()
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._watch()), group.create_task(self._stay_present())]
                while goes_on():
                    await self._inbox.wait(self._time_left())
                    await self._decide(self._inbox.take())
                for task in others:
                    task.cancel()
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._store is not None:
            if self.leaves and isinstance(self._store, SharedStore):
                with contextlib.suppress(StoreError):
                    await self._store.leave()
            await self._store.close()

    # The beginning

    async def _begin(self) -> None:
        attempt = 0
        while self.world is None and goes_on():
            try:
                await self._open()
            except StoreError as error:
                self._report(error, attempt)
                self._begin_on_the_snapshot()
                if self.world is None:
                    await asyncio.sleep(_retry_s(attempt))
            attempt += 1

    async def _open(self) -> None:
        opened = await self._opener()
        self._store = opened.store
        try:
            await self._begin_on(opened)
        except StoreError:
            # It is opened again: a file that this process still holds could not be.
            self._store = None
            await opened.store.close()
            raise
        self._opened.set()

    async def _begin_on(self, opened: Opened) -> None:
        self.problem = None
        stored = opened.stored
        if isinstance(opened.store, SharedStore):
            self._known_lines.fresh(await opened.store.history(limit=HEARD_AT_ONCE))
        if opened.restored:
            path = str(self._known.path)
            log.warning("state store was new, filled from the snapshot", snapshot=path)
        if self.world is None:
            # The store may have lost, or was never told, what this machine still knows.
            known = World.begin(self._slots, self._read_snapshot() or stored)
            decision = decide(known, [StoreRead(stored)], _now())
            await self._make_durable(decision)
            self.world = decision.world
        else:
            await self._come_back(stored)

    def _begin_on_the_snapshot(self) -> None:
        snapshot, path = self._read_snapshot(), str(self._known.path)
        if snapshot is None:
            log.critical("no snapshot either, nothing can be served", snapshot=path)
            return
        log.critical("serving from the last snapshot, frozen", snapshot=path)
        self.world = World.begin(self._slots, snapshot, frozen=True)

    def _read_snapshot(self) -> Stored | None:
        try:
            return self._known.read()
        except StoreError as error:
            log.critical("the snapshot cannot be used", reason=str(error))
            return None

    # Decisions

    async def _decide(self, events: Sequence[Event]) -> None:
        """Decide on these; where the store moved on, or failed, on what it says then, and them."""
        assert self.world is not None
        if self.world.frozen and not any(isinstance(event, StoreRead) for event in events):
            events = [event for event in events if self._orders.is_wanted(event)]
            self._decide_apart(events)
            await self._try_to_thaw()
            return
        conflicts = failures = 0
        while goes_on():
            events = [event for event in events if self._orders.is_wanted(event)]
            try:
                events = await self._with_what_is_stored(events)
                decision = decide(self.world, events, _now())
                await self._make_durable(decision)
            except ConflictError as error:
                conflicts += 1
                self._put_back(events)
                if conflicts < MAX_CONFLICTS and isinstance(self._store, SharedStore):
                    await asyncio.sleep(random.uniform(0, CONFLICT_S))
                    events = [StoreMoved(), *self._inbox.take()]
                else:
                    events = [await self._until_it_is_back(error, failures), *self._inbox.take()]
            except StoreError as error:
                self._put_back(events)
                events = [await self._until_it_is_back(error, failures), *self._inbox.take()]
                failures += 1  # one that can be read may take no writes yet
            else:
                if decision.change or any(isinstance(event, StoreRead) for event in events):
                    self.problem = None
                self._missed_apart.clear()  # the store knows of them
                self._adopt(decision)
                return

    async def _with_what_is_stored(self, events: Sequence[Event]) -> list[Event]:
        """The events, behind what the store says now where they ask for it.

        A file is declared before it is decided upon: who else has decided on a newer one cannot be
        overlooked then.
        """
        assert self._store is not None
        files = [event for event in events if isinstance(event, TableLoaded)]
        if files:
            self._file = declared_digest(files[-1])
            if isinstance(self._store, SharedStore):
                await self._store.declare(self._file)
        asks = bool(files) and isinstance(self._store, SharedStore)
        asks |= any(isinstance(event, StoreMoved) for event in events)
        others: list[Event] = [event for event in events if not isinstance(event, StoreMoved)]
        if not asks or any(isinstance(event, StoreRead) for event in others):
            return others
        stored = await self._store.load()
        await self._hear(stored)
        return [StoreRead(stored), *others]

    async def _make_durable(self, decision: Decision) -> None:
        assert self._store is not None
        if decision.change:
            await self._store.commit(decision.change)
        elif not self._known.lacks(decision.world.stored):
            return
        try:
            # What others committed is to be known here too, before the workers are told.
            await asyncio.to_thread(self._known.keep, decision.world.stored)
        except StoreError as error:
            # The store has it; only the second net is missing what is new.
            log.error("snapshot not written", reason=str(error))

    def _put_back(self, events: Sequence[Event]) -> None:
        self._inbox.put_back([event for event in events if not isinstance(event, StoreRead)])

    # Out of reach

    async def _until_it_is_back(self, error: StoreError, attempt: int) -> StoreRead:
        """What the store says once it can be read; what cannot wait is decided meanwhile."""
        assert self.world is not None
        self._report(error, attempt)
        self.world = replace(self.world, frozen=True)
        while goes_on():
            until = time.monotonic() + _retry_s(attempt)
            while (left := until - time.monotonic()) > 0:
                await self._inbox.wait_for_pressing(left)
                if pressing := self._inbox.take_pressing():
                    self._decide_apart(pressing)
            try:
                stored = await self._read_again()
            except StoreError as later:
                attempt += 1
                self._report(later, attempt)
            else:
                return self._returned(stored)
        raise asyncio.CancelledError

    async def _read_again(self) -> Stored:
        assert self._store is not None
        assert self.world is not None
        if isinstance(self._store, SharedStore):
            try:
                await self._store.present()
            except LostError as error:
                log.critical(
                    "the state store is filled again with what is known", reason=str(error)
                )
                with contextlib.suppress(ConflictError):
                    await self._store.refill(self.world.stored)
                await self._store.present()
        return await self._store.load()

    def _returned(self, stored: Stored) -> StoreRead:
        log.info("state store is back")
        for missed in self._missed_apart.values():
            self._inbox.put(missed)
        return StoreRead(stored)

    async def _come_back(self, stored: Stored) -> None:
        """To the store of a world that began on the snapshot."""
        if isinstance(self._store, SharedStore) and self._file:
            await self._store.declare(self._file)
            stored = await self._store.load()
        await self._decide([self._returned(stored), *self._inbox.take()])

    def _decide_apart(self, events: Sequence[Event]) -> None:
        """Decide in a frozen world: what is to be durable goes to the snapshot."""
        assert self.world is not None
        for event in events:
            if isinstance(event, TableLoaded):
                self._file = declared_digest(event)
        decision = decide(self.world, events, _now())
        if decision.change:
            try:
                self._known.keep(decision.world.stored)
            except StoreError as error:
                log.error("snapshot not written", reason=str(error))
                # A flag that is not durable is none; a revert helps as long as it lasts, which is
                # as long as the launcher.
                others = [event for event in events if not isinstance(event, WriteMissed)]
                decision = decide(self.world, others, _now())
                with contextlib.suppress(StoreError):  # told above
                    self._known.remember(decision.world.stored)
        missed = [event for event in events if isinstance(event, WriteMissed)]
        self._missed_apart.update(((event.route, event.side), event) for event in missed)
        self._adopt(decision)

    async def _try_to_thaw(self) -> None:
        if time.monotonic() >= self._thaw_at:
            self._thaw_at = time.monotonic() + THAW_EVERY_S
            with contextlib.suppress(StoreError):
                await self._open()

    # Others on the same store

    async def _watch(self) -> None:
        """Ask for the store to be read when another replica has changed it, or it is away."""
        await self._opened.wait()
        store, version = self._store, -1
        if not isinstance(store, SharedStore):
            return
        while goes_on():
            try:
                changed = await store.wait_for_change(version, WATCH_S)
            except StoreError:
                self.submit(StoreMoved())
                await asyncio.sleep(WATCH_AGAIN_S)
                continue
            if changed != version:
                version = changed
                self.submit(StoreMoved())

    async def _stay_present(self) -> None:
        await self._opened.wait()
        while goes_on() and isinstance(self._store, SharedStore):
            try:
                found = await self._store.present()
            except DamagedError:
                self.submit(StoreMoved())  # nobody changes anything, and nobody would notice
            except StoreError:
                pass  # who watches tells of it
            else:
                known = self.world.stored if self.world is not None else Stored()
                if silent(replace_struct(known, replicas=found)) != silent(known):
                    self.submit(StoreMoved())
            await asyncio.sleep(PRESENT_S)

    async def _hear(self, stored: Stored) -> None:
        """Tell of the lines of history that others have made since."""
        assert self.world is not None
        assert self._store is not None
        if stored.records == self.world.stored.records:
            return
        newest = await self._store.history(limit=HEARD_AT_ONCE)
        for line in self._known_lines.fresh(reversed(newest)):
            self._heard(line)

    def _adopt(self, decision: Decision) -> None:
        self.world = decision.world
        # What was decided apart was told then, and comes again once the store takes it.
        lines = self._known_lines.fresh(decision.change.transitions)
        for each in lines:
            log_line("route changed", each, LEVELS.get(each.kind, logging.INFO))
        for alarm in decision.alarms:
            getattr(log, alarm.level)(alarm.event, **alarm.fields)
        # What is only remembered is published too: others hold it against what they see.
        self._publish(decision)
        for each in lines:
            self._told(each)
        self._orders.answered(decision.answers)

    def _time_left(self) -> float | None:
        assert self.world is not None
        deadline = next_deadline(self.world)
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        if self.world.frozen:
            return max(self._thaw_at - time.monotonic(), 0.0)
        return left

    def _report(self, error: StoreError, attempt: int) -> None:
        self.problem = str(error)
        log.critical("state store cannot be used", reason=str(error), attempt=attempt + 1)


def _retry_s(attempt: int) -> float:
    return RETRY_S[min(attempt, len(RETRY_S) - 1)]


def _now() -> Moment:
    return Moment(wall=time.time(), clock=time.monotonic())
