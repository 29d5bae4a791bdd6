"""Runs the reconciler against the store: decide, make durable, then publish, one at a time.

The order is the point: nothing is published that is not stored, and after a commit of unknown
outcome nothing is decided before the store was read again (routes that are paused stay paused
meanwhile: their authority is in doubt). Out of reach at the start, the snapshot of the last commit
is used, frozen; without one nothing is published, and `problem` says why.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from proxy.control.inbox import Inbox
from proxy.control.reconciler import decide, next_deadline
from proxy.control.steering import Order
from proxy.control.world import Decision, Event, Moment, Ordered, StoreRead, World, WriteMissed
from proxy.core.model import Side
from proxy.store.opening import open_state
from proxy.store.records import Stored, Transition
from proxy.store.snapshot import read_snapshot, snapshot_path, write_snapshot
from proxy.store.state import StateStore, StoreError

ORDER_S = 8.0  # an order of an operator is done within
MAX_ORDERS = 100
LEVELS = {"revert": logging.WARNING, "refused": logging.CRITICAL}
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
        told: Callable[[Transition], None] = lambda line: None,
    ) -> None:
        self.world: World | None = None
        self.problem: str | None = None  # why the store cannot be used now
        self.begun = asyncio.Event()  # there is a world
        self._slots = slots
        self._path = store_path
        self._publish = publish
        self._opener = opener
        self._told = told
        self._inbox = Inbox()
        self._store: StateStore | None = None
        self._unrecorded: dict[tuple[str, Side], WriteMissed] = {}  # while frozen
        self._thaw_at = 0.0
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[str]] = {}  # to the orders under way

    def submit(self, event: Event) -> None:
        """Something happened; it is decided upon soon."""
        self._inbox.put(event)

    async def order(self, route: str, order: Order) -> str:
        """Have it done, durably: the refusal, empty where it was done.

        Raises StoreError where that is not known in time; an order that was not begun by then is
        dropped.
        """
        if len(self._answers) >= MAX_ORDERS:
            return "too many orders are under way"
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self.submit(Ordered(number, route, order))
        try:
            async with asyncio.timeout(ORDER_S):
                return await answer
        except TimeoutError:
            raise StoreError(
                f"not done within {ORDER_S:g} s: {self.problem or 'the state store is busy'}"
            ) from None
        finally:
            del self._answers[number]

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
        events = [event for event in events if self._is_wanted(event)]
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
                read = StoreRead(await self._read_again())
                events = [read, *filter(self._is_wanted, self._inbox.take())]
            else:
                self.problem = None
                self._adopt(decision)
                return

    def _is_wanted(self, event: Event) -> bool:
        """Not an order whose operator was told that it could not be done."""
        return not isinstance(event, Ordered) or event.number in self._answers

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
            log.log(
                LEVELS.get(each.kind, logging.INFO),
                "route changed",
                route=each.route,
                what=each.kind,
                before=each.before,
                after=each.after,
                by=each.by,
                reason=each.reason,
                **({"evidence": each.evidence} if each.evidence else {}),
            )
        for alarm in decision.alarms:
            getattr(log, alarm.level)(alarm.event, **alarm.fields)
        # What is only remembered is published too: others hold it against what they see.
        self._publish(decision)
        for each in decision.change.transitions:
            self._told(each)
        for number, refusal in decision.answers.items():
            answer = self._answers.get(number)
            if answer is not None and not answer.done():
                answer.set_result(refusal)

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
