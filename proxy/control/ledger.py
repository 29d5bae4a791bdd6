"""Runs the reconciler against the store: decide, make durable, then publish, one at a time.

The order is the point: nothing is published that is not stored, and after a commit of unknown
outcome nothing is decided before the store was read again (routes that are paused stay paused
meanwhile: their authority is in doubt). Out of reach at the start, the snapshot of the last commit
is used, frozen; without one nothing is published, and `problem` says why.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from proxy.control.inbox import Inbox
from proxy.control.reconciler import decide, next_deadline
from proxy.control.world import Decision, Event, Moment, StoreRead, World, WriteMissed
from proxy.core.model import Side
from proxy.store.opening import open_state
from proxy.store.records import Stored, Transition
from proxy.store.snapshot import read_snapshot, snapshot_path, write_snapshot
from proxy.store.state import StateStore, StoreError

RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
THAW_EVERY_S = 5.0

Opener = Callable[[Path], Awaitable[tuple[StateStore, Stored, bool]]]

log = structlog.get_logger("proxy.control")


class Ledger:
    """Owns the world and the store. `publish` is called with each decision that holds."""

    def __init__(
        self,
        slots: int,
        store_path: Path,
        publish: Callable[[Decision], None],
        opener: Opener = open_state,
    ) -> None:
        self.world: World | None = None
        self.problem: str | None = None  # why the store cannot be used now
        self.begun = asyncio.Event()  # there is a world
        self._slots = slots
        self._path = store_path
        self._publish = publish
        self._opener = opener
        self._inbox = Inbox()
        self._store: StateStore | None = None
        self._unrecorded: dict[tuple[str, Side], WriteMissed] = {}  # while frozen
        self._thaw_at = 0.0

    def submit(self, event: Event) -> None:
        """Something happened; it is decided upon soon."""
        self._inbox.put(event)

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
            while True:
                await self._inbox.wait(self._time_left())
                await self._decide(self._inbox.take())
        finally:
            if self._store is not None:
                await self._store.close()

    async def _begin(self) -> None:
        attempt = 0
        while self.world is None:
            try:
                await self._open()
            except StoreError as error:
                self._report(error, attempt)
                self._begin_on_the_snapshot()
                if self.world is None:
                    await self._pause(attempt)
            attempt += 1

    async def _open(self) -> None:
        store, stored, restored = await self._opener(self._path)
        self._store = store
        self.problem = None
        if restored:
            log.warning("state store was new, filled from the snapshot", store=str(self._path))
        if self.world is None:
            self.world = World.begin(self._slots, stored)
        else:
            log.info("state store is back", store=str(self._path))
            missed, self._unrecorded = self._unrecorded, {}
            await self._decide([StoreRead(stored), *missed.values(), *self._inbox.take()])

    def _begin_on_the_snapshot(self) -> None:
        try:
            snapshot = read_snapshot(snapshot_path(self._path))
        except StoreError as error:
            log.critical("no snapshot either", reason=str(error))
            return
        if snapshot is None:
            log.critical("no snapshot either, nothing can be served", store=str(self._path))
            return
        log.critical("serving from the last snapshot, frozen", store=str(self._path))
        self.world = World.begin(self._slots, snapshot, frozen=True)

    async def _decide(self, events: Sequence[Event]) -> None:
        """Decide on these, and after a failed commit on what the store then says, and them."""
        assert self.world is not None
        if self.world.frozen and not any(isinstance(event, StoreRead) for event in events):
            # Nobody asks for a flag twice: it is raised when there is a store again.
            missed = [event for event in events if isinstance(event, WriteMissed)]
            self._unrecorded.update(((event.route, event.side), event) for event in missed)
            self._adopt(decide(self.world, events, _now()))
            await self._try_to_thaw()
            return
        attempt = 0
        while True:
            decision = decide(self.world, events, _now())
            try:
                await self._make_durable(decision)
            except StoreError as error:
                self._report(error, attempt)
                await self._pause(attempt)
                attempt += 1
                again = [event for event in events if not isinstance(event, StoreRead)]
                self._inbox.put_back(again)
                events = [StoreRead(await self._read_again()), *self._inbox.take()]
            else:
                self.problem = None
                self._adopt(decision)
                return

    async def _make_durable(self, decision: Decision) -> None:
        if not decision.change:
            return
        assert self._store is not None
        await self._store.commit(decision.change)
        try:
            stored = decision.world.stored
            await asyncio.to_thread(write_snapshot, snapshot_path(self._path), stored)
        except StoreError as error:
            # The store has it; only the second net is missing, and no stale one is left.
            log.error("snapshot not written", reason=str(error))

    async def _read_again(self) -> Stored:
        attempt = 0
        while True:
            try:
                assert self._store is not None
                return await self._store.load()
            except StoreError as error:
                self._report(error, attempt)
                await self._pause(attempt)
                attempt += 1

    async def _try_to_thaw(self) -> None:
        if time.monotonic() >= self._thaw_at:
            self._thaw_at = time.monotonic() + THAW_EVERY_S
            with contextlib.suppress(StoreError):
                await self._open()

    def _adopt(self, decision: Decision) -> None:
        self.world = decision.world
        for each in decision.change.transitions:
            log.info(
                "route changed",
                route=each.route,
                what=each.kind,
                before=each.before,
                after=each.after,
                by=each.by,
                reason=each.reason,
            )
        for alarm in decision.alarms:
            getattr(log, alarm.level)(alarm.event, **alarm.fields)
        if decision.new_table or decision.states:
            self._publish(decision)

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

    async def _pause(self, attempt: int) -> None:
        await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])


def _now() -> Moment:
    return Moment(wall=time.time(), clock=time.monotonic())
