"""The worker's end of the link: snapshots in, counts and requests for flags out.

The worker serves on while the controller is away and connects again with back-off. Nothing that
was counted is lost by that: counts stay where they add up until there is somebody to tell. What
could not be delivered for want of a link (Missing, Quiet) is said anew after each Hello.
"""

import asyncio
import os
from typing import cast

from proxy.core.framing import LinkError, frame, worker_unframer
from proxy.core.messages import (
    Applied,
    AskAgain,
    Bye,
    EndpointHealth,
    FromWorker,
    Full,
    Hello,
    Missing,
    NotAsked,
    Quiet,
    Report,
    SameAgain,
    States,
)
from proxy.core.model import Side
from proxy.edge.build import is_compiled
from proxy.edge.context import Edge
from proxy.edge.pool import Pool
from proxy.edge.table import Table, compile_table

REPORT_INTERVAL_S = 0.1
MAX_OBSERVATIONS_A_REPORT = 2000
# While the controller does not read, nothing more is handed to the socket than this.
MAX_UNSENT_BYTES = 4 << 20
CONNECT_TIMEOUT_S = 2.0
BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Link(asyncio.Protocol):
    """Connects, listens, reports. Owned by the worker's main task group."""

    def __init__(self, edge: Edge, path: str, slot: int) -> None:
        self._edge = edge
        self._path = path
        self._slot = slot
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []  # whole frames of this turn
        self._unframer = worker_unframer()
        self._closed = asyncio.Event()
        self._inbox: asyncio.Queue[Full | States] = asyncio.Queue()
        self._missing: dict[tuple[str, Side], str] = {}
        self.ready = asyncio.Event()
        edge.tell_missing = self._tell_missing
        edge.tell_quiet = self._tell_quiet
        edge.tell_not_asked = self._tell_not_asked
        edge.tell_same_again = self._tell_same_again
        self.pools: dict[str, Pool] = {}
        self._health: dict[tuple[str, str], bool] = {}

    async def run(self) -> None:
        """Keep the link up for as long as the worker lives."""
        attempt = 0
        while True:
            self._closed.clear()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._edge.loop.create_unix_connection(lambda: self, self._path)
                attempt = 0
                await self._closed.wait()
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)])
            attempt += 1

    async def apply(self) -> None:
        """Put snapshots into force, one after the other."""
        while True:
            message = await self._inbox.get()
            if isinstance(message, Full):
                await self._apply_full(message)
            else:
                self._apply_states(message)

    async def report(self) -> None:
        """Tell the controller several times a second what happened."""
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            self.send_report()

    def send_report(self, *, last: bool = False) -> None:
        """Hand over what was counted, if somebody reads it."""
        edge = self._edge
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return
        counts, observations, dropped, refused = edge.tallies.take(MAX_OBSERVATIONS_A_REPORT)
        connections = {name: pool.total for name, pool in self.pools.items()}
        connections["client"] = len(edge.clients) + edge.handshakes
        self._send(
            Report(
                slot=self._slot,
                counts=counts,
                observations=observations,
                observations_dropped=dropped,
                connections=connections,
                refused=refused,
                draining=edge.draining,
            )
        )
        if last:
            self._send(Bye(slot=self._slot))

    async def flushed(self) -> None:
        """The last words are out, or nobody reads them."""
        transport = self._transport
        if transport is None:
            return
        self._write_unsent()
        transport.close()
        try:
            async with asyncio.timeout(1.0):
                await self._closed.wait()
        except TimeoutError:
            transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._unframer = worker_unframer()
        self._send(Hello("worker", self._slot, os.getpid(), compiled=is_compiled()))
        for (route, side), reason in self._missing.items():
            self._send(Missing(slot=self._slot, route=route, side=side, reason=reason))

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._unframer.feed(data):
                if isinstance(message, EndpointHealth):
                    self._health[message.backend, message.url] = message.up
                    pool = self.pools.get(message.backend)
                    if pool is not None:
                        pool.set_health(message.url, message.up)
                elif isinstance(message, AskAgain):
                    self._edge.tickets.ask(message.id, message.new_too)
                else:
                    self._inbox.put_nowait(message)
        except LinkError:
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unsent.clear()
        self._closed.set()

    # Inside

    def _send(self, message: FromWorker) -> None:
        """Write it at the end of the loop's turn, with what else this turn has to say."""
        if self._transport is not None:
            if not self._unsent:
                self._edge.loop.call_soon(self._write_unsent)
            self._unsent.append(frame(message))

    def _write_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _tell_missing(self, route: str, side: Side, reason: str) -> None:
        self._missing[route, side] = reason
        self._send(Missing(slot=self._slot, route=route, side=side, reason=reason))

    def _tell_quiet(self, route: str) -> None:
        table = self._edge.table
        if table is not None:
            self._send(Quiet(slot=self._slot, route=route, revision=table.revision))

    def _tell_not_asked(self, suspect: int, reason: str) -> None:
        self._send(NotAsked(slot=self._slot, id=suspect, reason=reason))

    def _tell_same_again(self, suspect: int, new_too: bool) -> None:
        self._send(SameAgain(slot=self._slot, id=suspect, new_too=new_too))

    async def _apply_full(self, message: Full) -> None:
        edge = self._edge
        snapshot = message.snapshot
        before = edge.table
        pools: dict[str, Pool] = {}
        for name, backend in snapshot.backends.items():
            old = self.pools.get(name)
            if old is not None and old.backend == backend:
                pools[name] = old
            else:
                pools[name] = pool = Pool(backend, edge.wheel, edge.outbox, edge.loop, edge.workers)
                for url in backend.urls:
                    pool.set_health(url, self._health.get((name, url), True))
        table = await compile_table(snapshot, pools, before, edge.tallies)
        retired = [pool for name, pool in self.pools.items() if pools.get(name) is not pool]
        edge.table = table
        self.pools = pools
        edge.apply_limits(snapshot, pools)
        for pool in retired:
            pool.close()
        if before is not None:
            self._refuse_removed(before, table)
        self._in_force(table, list(table.services))

    def _apply_states(self, message: States) -> None:
        table = self._edge.table
        if table is None or message.generation != table.generation:
            return  # of another table: its Full is on the way
        if message.revision <= table.revision:
            return
        table.revision = message.revision
        for name, state in message.states.items():
            service = table.services.get(name)
            if service is not None:
                service.set_state(state)
        self._in_force(table, list(message.states))

    def _in_force(self, table: Table, changed: list[str]) -> None:
        """Acknowledge, say which paused routes are quiet, let parked writes try again."""
        self.ready.set()
        self._send(Applied(slot=self._slot, generation=table.generation, revision=table.revision))
        for name in changed:
            service = table.services.get(name)
            if service is None:
                continue
            live = service.live
            for side in service.state.missed:
                self._missing.pop((name, side), None)
            if service.state.writes_paused:
                if live.writes == 0:
                    self._tell_quiet(name)
            elif live.parked:
                parked = list(live.parked)
                live.parked.clear()
                for relay in parked:
                    relay.unpark(service)

    def _refuse_removed(self, before: Table, table: Table) -> None:
        """Writes that waited on a route that is no more: the client may come again."""
        for name, service in before.services.items():
            if name not in table.services:
                for relay in list(service.live.parked):
                    relay.on_deadline()
