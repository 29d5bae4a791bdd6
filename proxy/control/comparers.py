"""The controller's end of the links to the comparers: the rules down, results up.

Every comparer that connects gets the Ruleset in force and each later one; one that falls behind
skips those that were overtaken. What is no message of the link closes it.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping

import structlog

from proxy.core.framing import LinkError, frame
from proxy.core.model import Compare, Route
from proxy.observe.compared import Results, Ruleset, results_unframer

SEND_TIMEOUT_S = 10.0  # a comparison may keep it from reading for some seconds
READ_BYTES = 256 << 10

log = structlog.get_logger("proxy.control")


class Comparers:
    """Accepts comparers on the socket that the launcher opened."""

    def __init__(self, most: int, received: Callable[[Results], None]) -> None:
        self.wanted = most
        self._most = 2 * most + 8  # an old one may still be closing
        self._received = received
        self._ruleset: bytes | None = None
        self._changed: set[asyncio.Event] = set()  # one a connection

    @property
    def connected(self) -> int:
        """How many comparers there are."""
        return len(self._changed)

    def use(self, ruleset: Ruleset) -> None:
        """Compare by these rules from now on."""
        self._ruleset = frame(ruleset)
        for changed in self._changed:
            changed.set()

    async def serve(self, listening: socket.socket) -> None:
        """Serve until cancelled. The server holds the tasks of its connections."""
        server = await asyncio.start_unix_server(self._connection, sock=listening)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        changed = asyncio.Event()
        try:
            if len(self._changed) >= self._most:
                raise LinkError("too many comparers")
            self._changed.add(changed)
            changed.set()
            await self._speak(reader, writer, changed)
        except LinkError as error:
            log.error("comparer disconnected", reason=str(error))
        except (ConnectionError, asyncio.CancelledError):
            # It is gone, or the controller stops: nothing is left to say either way.
            pass
        finally:
            self._changed.discard(changed)
            writer.transport.abort()

    async def _speak(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, changed: asyncio.Event
    ) -> None:
        unframer = results_unframer()
        refused: LinkError | None = None
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send(writer, changed))
            try:
                while data := await reader.read(READ_BYTES):
                    for results in unframer.feed(data):
                        self._received(results)
            except LinkError as error:
                refused = error  # out of the group, which would wrap it
            except ConnectionError:
                pass
            sending.cancel()
        if refused is not None:
            raise refused

    async def _send(self, writer: asyncio.StreamWriter, changed: asyncio.Event) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        try:
            while True:
                await changed.wait()
                changed.clear()
                if self._ruleset is not None:
                    writer.write(self._ruleset)
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await writer.drain()
        except TimeoutError:
            log.error("comparer disconnected", reason=f"did not read for {SEND_TIMEOUT_S:g} s")
            writer.transport.abort()
        except ConnectionError:
            writer.transport.abort()


def ruleset_of(
    generation: int, routes: Mapping[str, Route], key: bytes, search_path: str
) -> Ruleset:
    """How the routes of a table compare; many of them share one object of rules."""
    rules: list[Compare] = []
    numbers: dict[int, int] = {}
    by_route: dict[str, int] = {}
    for name, route in routes.items():
        if route.compare is None:
            continue
        number = numbers.get(id(route.compare))
        if number is None:
            number = numbers[id(route.compare)] = len(rules)
            rules.append(route.compare)
        by_route[name] = number
    return Ruleset(generation, rules, by_route, key, search_path)
