"""What happened since the last decision, kept small: of each kind only what still matters.

A worker may repeat itself and a file may be saved many times while a commit runs; the inbox holds
one table, one entry per missed side, slot and quiet route, whatever comes. Tables come first, so
that a flag raised meanwhile is not lifted by `accept_loss` of the same batch.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from proxy.control.world import (
    Event,
    Judged,
    Ordered,
    SlotJoined,
    SlotQuiet,
    StoreMoved,
    StoreRead,
    TableLoaded,
    WriteMissed,
    cannot_wait,
)
from proxy.core.model import Side


class Inbox:
    """The events to decide on next."""

    def __init__(self) -> None:
        self._filled = asyncio.Event()
        self._pressing = asyncio.Event()
        self._moved = False
        self._table: TableLoaded | None = None
        self._joined: set[int] = set()
        self._missed: dict[tuple[str, Side], WriteMissed] = {}
        self._quiet: dict[tuple[int, str], SlotQuiet] = {}
        self._judged: dict[tuple[str, str], Judged] = {}
        self._ordered: dict[int, Ordered] = {}  # bounded by who waits for an answer

    def put(self, event: Event) -> None:
        """Add it; it may replace an earlier one that it overtakes."""
        match event:
            case TableLoaded():
                forced = event.forced or (self._table is not None and self._table.forced)
                self._table = replace(event, forced=forced)
            case WriteMissed():
                self._missed[event.route, event.side] = event
            case SlotQuiet():
                self._quiet[event.slot, event.route] = event
            case SlotJoined():
                self._joined.add(event.slot)
                for key in [key for key in self._quiet if key[0] == event.slot]:
                    del self._quiet[key]
            case Judged():
                self._judged[event.route, event.outcome] = event
            case StoreMoved():
                self._moved = True
            case Ordered():
                self._ordered[event.number] = event
            case StoreRead():
                return  # follows from a failed commit, is never waited for
        self._filled.set()
        if cannot_wait(event):
            self._pressing.set()

    def put_back(self, events: Sequence[Event]) -> None:
        """Events whose decision could not be stored; what came later overtakes them."""
        later = self.take()
        for event in (*events, *later):
            self.put(event)

    def take(self) -> list[Event]:
        """Everything, in the order in which it is decided upon; empty afterwards."""
        events: list[Event] = [StoreMoved()] if self._moved else []
        events += [] if self._table is None else [self._table]
        events += [SlotJoined(slot) for slot in sorted(self._joined)]
        events += [*self._missed.values(), *self._quiet.values()]
        events += [*self._judged.values(), *self._ordered.values()]
        self._moved = False
        self._table = None
        self._joined.clear()
        self._missed.clear()
        self._quiet.clear()
        self._judged.clear()
        self._ordered.clear()
        self._filled.clear()
        self._pressing.clear()
        return events

    def take_pressing(self) -> list[Event]:
        """What cannot wait for a store that is out of reach; the rest stays."""
        judged = [key for key, each in self._judged.items() if cannot_wait(each)]
        ordered = [number for number, each in self._ordered.items() if cannot_wait(each)]
        events: list[Event] = [*self._missed.values()]
        events += [self._judged.pop(key) for key in judged]
        events += [self._ordered.pop(number) for number in ordered]
        self._missed.clear()
        self._pressing.clear()
        return events

    async def wait_for_pressing(self, timeout_s: float) -> None:
        """Wait until there is something that cannot wait, or for that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._pressing.wait()

    async def wait(self, timeout_s: float | None) -> None:
        """Wait until there is something, or for that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._filled.wait()
