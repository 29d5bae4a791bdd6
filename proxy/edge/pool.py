"""The connections to one backend: kept alive, bounded, spread over its URLs.

A request takes the freshest idle connection of the URL with the fewest requests outstanding.
With every connection busy it waits in line, at most `connect_timeout`; the line is bounded. A
shadow never waits and takes one of half of the connections, so that it cannot delay an answer; of
an eighth more, where its route has few under way: one that hangs must not take all from the others.
A URL that fails several times in a row is ejected for a while, never the last one (panic: with
all of them out, all are used). Names are looked up anew for each connection, and a connection
lives at most MAX_AGE_S, so that a change in DNS takes effect.
"""

import asyncio
import ssl
from collections import deque
from typing import Final

from proxy.core.allowance import Restraint
from proxy.core.model import Backend, Failure, FailureKind
from proxy.edge.backend import BackendConnection
from proxy.edge.endpoint import Endpoint
from proxy.edge.exchange import Exchange
from proxy.edge.names import is_out_of_descriptors
from proxy.edge.outbox import Outbox
from proxy.edge.tunnel import Tunnel
from proxy.edge.wheel import Timed, Wheel

MAX_WAITING: Final = 1024
IDLE_S: Final = 60.0
# A backend may close an idle connection while a request is on its way. What cannot be sent twice
# goes only over a connection used this recently.
FRESH_S: Final = 1.0
MAX_AGE_S: Final = 300.0
EJECT_AFTER: Final = 5
# So long no shadow tries again to connect where a connection could not be made.
REFUSED_S: Final = 0.25
# So many connections a second are opened in place of those that shadows have cost: each takes
# longer than whole requests. A route is restrained before that; this is for many of them.
REPLACED_A_SECOND: Final = 300.0
EJECT_S: Final = 10.0
EJECT_MAX_S: Final = 300.0
MAX_EJECTIONS: Final = 16


class Pool(Timed):
    """All connections of this worker to one backend."""

    __slots__ = (
        "backend",
        "closed",
        "endpoints",
        "loop",
        "most",
        "most_shadows",
        "only",
        "outbox",
        "reserve",
        "restraint",
        "shadows",
        "tasks",
        "timeout_s",
        "total",
        "waiting",
        "wheel",
    )

    def __init__(
        self,
        backend: Backend,
        wheel: Wheel,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        workers: int,
    ) -> None:
        super().__init__()
        self.backend = backend
        self.wheel = wheel
        self.outbox = outbox
        self.loop = loop
        self.endpoints = [Endpoint(loop, url, backend.tls) for url in backend.urls]
        # The bound protects the backend, so it is shared out between the workers.
        self.most = max(1, -(-backend.max_connections // workers))
        self.most_shadows = max(1, self.most // 2)
        self.reserve = self.most // 8  # more of them, for routes with few
        self.timeout_s = backend.timeout_s
        self.only = self.endpoints[0] if len(self.endpoints) == 1 else None
        self.total = 0  # open or being opened
        self.shadows = 0  # connections in use by shadows
        self.restraint = Restraint(REPLACED_A_SECOND, self.most)
        self.waiting: deque[Exchange] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    # What exchanges ask for

    def acquire(self, exchange: Exchange, fresh: bool = False) -> None:
        """Answer with `connected` or `not_connected`, now or later. `fresh`: no reused one."""
        exchange.tried += 1
        if exchange.shadow:
            most = self.most_shadows + (self.reserve if exchange.one_of_few else 0)
            if self.waiting or self.shadows >= most:
                exchange.not_connected(Failure(FailureKind.POOL_FULL, "no room for a shadow"))
                return
            self.shadows += 1
        endpoint = self.only or self._choose()
        idle = endpoint.idle
        if (
            idle
            and not fresh
            and (exchange.repeatable or self.wheel.now - idle[-1].idle_since <= FRESH_S)
        ):
            connection = idle.pop()
            connection.busy = True
            connection.role_shadow = exchange.shadow
            endpoint.outstanding += 1
            exchange.connected(connection)
        elif exchange.shadow and endpoint.refused_until > self.wheel.now:
            # Each try costs more than a whole request; it is an error of that side all the same.
            self.shadows -= 1
            exchange.not_connected(
                Failure(FailureKind.REFUSED, "it took no connection a moment ago")
            )
        elif exchange.shadow and not self.restraint.take(self.wheel.now):
            self.shadows -= 1
            exchange.not_connected(
                Failure(FailureKind.POOL_FULL, "shadows have cost too many connections")
            )
        elif self.total < self.most or self._evict_idle():
            self._open(endpoint, exchange)
        elif exchange.shadow:
            self.shadows -= 1
            exchange.not_connected(Failure(FailureKind.POOL_FULL, "no room for a shadow"))
        elif len(self.waiting) >= MAX_WAITING:
            exchange.not_connected(Failure(FailureKind.POOL_FULL, "too many requests wait"))
        else:
            exchange.wait_until = self.wheel.now + self.backend.connect_timeout_s
            self.waiting.append(exchange)
            if not self.deadline:
                self.wheel.set(self, self.backend.connect_timeout_s)

    def forget(self, exchange: Exchange) -> None:
        """The exchange was given up before it had a connection."""
        if exchange in self.waiting:
            self.waiting.remove(exchange)

    def succeeded(self, exchange: Exchange) -> None:
        if exchange.connection is not None:
            endpoint = exchange.connection.endpoint
            endpoint.failures = 0
            endpoint.ejections = 0

    def failed(self, exchange: Exchange, connection: BackendConnection | None = None) -> None:
        connection = connection or exchange.connection
        if connection is not None:
            self.count_failure(connection.endpoint)

    # What connections tell

    def release(self, connection: BackendConnection, keep_alive: bytes | None) -> None:
        """A response is complete and the connection can carry another request."""
        endpoint = connection.endpoint
        endpoint.outstanding -= 1
        connection.busy = False
        if connection.role_shadow:
            self.shadows -= 1
        now = self.wheel.now
        too_old = endpoint.named and now - connection.born > MAX_AGE_S
        if self.closed or too_old or not endpoint.healthy:
            connection.close()
            return
        while self.waiting:
            exchange = self.waiting.popleft()
            if not exchange.ended:
                self._attach(connection, exchange)
                return
        connection.idle_since = now
        limit_s = IDLE_S
        if keep_alive is not None:
            limit_s = min(limit_s, _keep_alive_seconds(keep_alive))
        connection.idle_limit_s = limit_s
        endpoint.idle.append(connection)
        # A deadline later than that of the request before is found out when that one comes up.
        if limit_s < self.timeout_s or not connection.slot:
            self.wheel.set(connection, limit_s)

    def discard(self, connection: BackendConnection) -> None:
        """A connection that must not be used again; still counted until it is lost."""
        if connection in connection.endpoint.idle:
            connection.endpoint.idle.remove(connection)
            connection.close()
        elif connection.request_open or connection.transport.get_write_buffer_size():
            connection.abort()
        else:
            connection.close()

    def lost(self, connection: BackendConnection) -> None:
        """The connection is gone."""
        if not connection.handed:
            return
        self.wheel.forget(connection)
        endpoint = connection.endpoint
        if connection in endpoint.idle:
            endpoint.idle.remove(connection)
        elif connection.busy:
            connection.busy = False
            endpoint.outstanding -= 1
            if connection.role_shadow:
                self.shadows -= 1
        self.total -= 1
        self._serve_waiting()

    def on_deadline(self) -> None:
        """The first in line has waited long enough."""
        now = self.wheel.now
        late: list[Exchange] = []
        while self.waiting and (self.waiting[0].ended or self.waiting[0].wait_until <= now):
            late.append(self.waiting.popleft())
        if self.waiting:
            self.wheel.set(self, self.waiting[0].wait_until - now)
        if not late:
            return
        failure = Failure(FailureKind.POOL_FULL, "every connection to the backend is busy")
        if self._is_held_by_clients():
            failure = Failure(FailureKind.CLIENT_SLOW, "clients hold every connection to it")
        for exchange in late:
            if not exchange.ended:
                exchange.not_connected(failure)

    def _is_held_by_clients(self) -> bool:
        """Whether half of the connections wait for their clients: the backend is not slow then.

        A tunnel does: it lasts for as long as its client likes.
        """
        held = 0
        for timed in self.wheel.all_of():
            if isinstance(timed, BackendConnection):
                held += timed.pool is self and timed.is_held_by_client()
            elif isinstance(timed, Tunnel):
                held += timed.backend.pool is self
        return 2 * held >= self.most

    def set_health(self, url: str, up: bool) -> None:
        for endpoint in self.endpoints:
            if endpoint.url == url:
                endpoint.healthy = up
                if not up:
                    for connection in list(endpoint.idle):
                        self.discard(connection)

    def close(self) -> None:
        """No longer in the table: idle connections go now, busy ones when they are done."""
        self.closed = True
        if not self.waiting:
            # Who waits here still does, for no longer than elsewhere.
            self.wheel.forget(self)
        for endpoint in self.endpoints:
            for connection in list(endpoint.idle):
                self.discard(connection)

    async def stop(self) -> None:
        """End for good: cancel connects under way."""
        self.close()
        self.wheel.forget(self)
        for task in list(self.tasks):
            task.cancel()
        for endpoint in self.endpoints:
            endpoint.name.stop()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def in_use(self) -> int:
        return self.total

    # Inside

    def _choose(self) -> Endpoint:
        """The URL to ask: best none that took no connection a moment ago, then none left out."""
        now = self.wheel.now
        return min(
            self.endpoints,
            key=lambda each: (each.refused_until > now, not each.usable(now), each.outstanding),
        )

    def _attach(self, connection: BackendConnection, exchange: Exchange) -> None:
        connection.busy = True
        connection.role_shadow = exchange.shadow
        connection.endpoint.outstanding += 1
        exchange.connected(connection)

    def _evict_idle(self) -> bool:
        """Make room by closing the longest idle connection; False where none is idle."""
        oldest = [endpoint.idle[0] for endpoint in self.endpoints if endpoint.idle]
        if not oldest:
            return False
        # `total` falls when the transport reports the loss: one above the bound until then.
        self.discard(min(oldest, key=lambda connection: connection.idle_since))
        return True

    def _open(self, endpoint: Endpoint, exchange: Exchange) -> None:
        self.total += 1
        endpoint.outstanding += 1
        task = self.loop.create_task(self._connect(endpoint, exchange))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, endpoint: Endpoint, exchange: Exchange) -> None:
        untried = [other for other in self.endpoints if other is not endpoint]
        while True:
            failure = await self._try(endpoint, exchange)
            if failure is None:
                return
            if failure.kind is FailureKind.NO_DESCRIPTORS:
                # No URL is to blame, and none would fare better.
                break
            self.count_failure(endpoint)
            now = self.wheel.now
            endpoint.refused_until = now + REFUSED_S
            if exchange.ended or not untried:
                break
            endpoint.outstanding -= 1
            # Better one that is left out than none: it may be back, as in a rolling deployment.
            usable = [other for other in untried if other.usable(now)]
            endpoint = min(usable or untried, key=lambda other: other.outstanding)
            untried.remove(endpoint)
            endpoint.outstanding += 1
        endpoint.outstanding -= 1
        self.total -= 1
        if exchange.shadow:
            self.shadows -= 1
        if not exchange.ended:
            exchange.not_connected(failure)
        self._serve_waiting()

    async def _try(self, endpoint: Endpoint, exchange: Exchange) -> Failure | None:
        """Open one connection and give it to the exchange, or to whoever waits."""
        timeout_s = exchange.within_limit(self.backend.connect_timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connected(endpoint, timeout_s)
        except TimeoutError:
            return Failure(FailureKind.CONNECT_TIMEOUT, f"no connection to {endpoint.url} in time")
        except (OSError, ssl.SSLError, UnicodeError, ValueError) as error:
            if is_out_of_descriptors(error):
                return Failure(FailureKind.NO_DESCRIPTORS, "no file descriptor is left")
            return Failure(FailureKind.REFUSED, f"no connection to {endpoint.url}: {error}")
        if connection.closing:
            return Failure(FailureKind.REFUSED, f"{endpoint.url} closed a new connection at once")
        connection.handed = True
        connection.busy = True
        connection.role_shadow = exchange.shadow
        if exchange.ended:
            endpoint.failures = 0
            self.release(connection, None)
        else:
            exchange.connected(connection)
        return None

    async def _connected(self, endpoint: Endpoint, timeout_s: float) -> BackendConnection:
        """A new connection, to the first address of the URL that takes one. Raises OSError."""
        if endpoint.path is not None:
            connection = BackendConnection(self, endpoint)
            await self.loop.create_unix_connection(connection.as_protocol, endpoint.path)
            return connection
        addresses = await endpoint.name.addresses()
        failed: OSError | None = None
        for address in addresses:
            connection = BackendConnection(self, endpoint)
            try:
                # An address that swallows packets leaves time for the others.
                async with asyncio.timeout(timeout_s / len(addresses)):
                    await self.loop.create_connection(
                        connection.as_protocol,
                        address,
                        endpoint.port,
                        ssl=endpoint.context,
                        server_hostname=endpoint.host if endpoint.context else None,
                    )
            except OSError as error:  # a TimeoutError too
                failed = error
            else:
                return connection
        raise failed or OSError(f"{endpoint.host} has no address")

    def _serve_waiting(self) -> None:
        while self.waiting and self.total < self.most:
            exchange = self.waiting.popleft()
            if not exchange.ended:
                self._open(self._choose(), exchange)

    def count_failure(self, endpoint: Endpoint) -> None:
        """A failure in a row; enough of them eject the URL for a while."""
        endpoint.failures += 1
        if endpoint.failures >= EJECT_AFTER and len(self.endpoints) > 1:
            endpoint.failures = 0
            out_s = min(EJECT_MAX_S, EJECT_S * 2**endpoint.ejections)
            # Bounded: a power too large for a float would end the connect task, unnoticed.
            endpoint.ejections = min(endpoint.ejections + 1, MAX_EJECTIONS)
            endpoint.ejected_until = self.wheel.now + out_s


def _keep_alive_seconds(value: bytes) -> float:
    """The backend's `Keep-Alive: timeout=N`, less a second for the way."""
    for part in value.split(b","):
        name, _, number = part.strip().partition(b"=")
        if name.lower() == b"timeout" and number.isdigit() and len(number) < 9:
            return max(0.0, float(number) - 1.0)
    return IDLE_S
