"""How clients come in: their connections are accepted, and over TLS the handshake is made.

A connection whose handshake is under way is a client's like any other: it takes a descriptor and
some memory, and is counted. Where there are too many of both, the oldest handshake goes: a client
that means it is done in milliseconds, so that a flood of those that say nothing costs nobody else
his place.
"""

import asyncio
import errno
import socket
import ssl
from typing import Final

from proxy.edge.client import UNHEARD_S, ClientConnection
from proxy.edge.context import Edge

BACKLOG: Final = 4096
HANDSHAKE_S: Final = 10.0  # of TLS: nobody holds a descriptor for longer without a word
NEVER_S: Final = 3600.0  # how long closing may take is decided by `sending`, by what is taken
AT_ONCE: Final = 16  # handshakes begun before the loop turns to what else there is
OUT_OF_DESCRIPTORS_S: Final = 0.1  # until accepting is tried again
# Beyond the bound on clients, so that some hear that there are too many.
TOLD: Final = 16
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


async def accept_until(
    stopped: "asyncio.Task[bool]",
    edge: Edge,
    listener: socket.socket,
    context: ssl.SSLContext | None,
    tasks: asyncio.TaskGroup,
) -> None:
    """Accept clients until told to stop; then take what the queue still holds."""
    if context is not None:
        door = Door(edge, listener, context, tasks)
        door.open()
        await stopped
        door.shut()
        return
    loop = edge.loop

    def new_client() -> asyncio.Protocol:
        return ClientConnection(edge).as_protocol()

    # A copy of the descriptor: the loop closes its own, the queue lives on in ours.
    server: asyncio.Server | None = await loop.create_server(
        new_client, sock=listener.dup(), backlog=BACKLOG
    )
    try:
        await stopped
    finally:
        assert server is not None
        server.close()
    for _ in range(BACKLOG):  # it fills up again while it is emptied
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        connection.setblocking(False)
        await loop.connect_accepted_socket(new_client, connection)


class Door:
    """Accepts clients that speak TLS. Its handshakes are tasks of the group, the oldest first."""

    def __init__(
        self,
        edge: Edge,
        listener: socket.socket,
        context: ssl.SSLContext,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._edge = edge
        self._listener = listener
        self._context = context
        self._tasks = tasks
        self._under_way: dict[asyncio.Task[None], None] = {}

    def open(self) -> None:
        """Accept from now on."""
        self._listener.listen(BACKLOG)
        self._edge.loop.add_reader(self._listener, self._accept_some)

    def shut(self) -> None:
        """Take what still waits to be accepted, and nothing after it.

        Handshakes have as long as a client that has said nothing yet.
        """
        edge = self._edge
        edge.loop.remove_reader(self._listener)
        for _ in range(BACKLOG):
            if not self._accept():
                break
        edge.loop.call_later(UNHEARD_S, self._end_all)

    def _accept_some(self) -> None:
        for _ in range(AT_ONCE):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Begin one handshake; False where nobody waits."""
        edge = self._edge
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM and not edge.draining:
                # The queue stays readable: it would be tried without a pause.
                edge.loop.remove_reader(self._listener)
                edge.loop.call_later(OUT_OF_DESCRIPTORS_S, self._try_again)
            return isinstance(error, ConnectionError)  # who has gone meanwhile is nobody's end
        connection.setblocking(False)
        most = min(edge.max_sockets, edge.max_clients + edge.max_clients // 8 + TOLD)
        if len(edge.clients) + edge.handshakes >= most:
            if not self._under_way:
                edge.tallies.refuse("connections")
                connection.close()
                return True
            self._end(next(iter(self._under_way)), "tls_oldest")
        task = self._tasks.create_task(self._shake_hands(connection))
        self._under_way[task] = None
        edge.handshakes += 1
        task.add_done_callback(self._is_done)
        return True

    def _try_again(self) -> None:
        if not self._edge.draining:
            self.open()

    async def _shake_hands(self, connection: socket.socket) -> None:
        edge = self._edge
        try:
            await edge.loop.connect_accepted_socket(
                lambda: ClientConnection(edge).as_protocol(),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=NEVER_S,
            )
        except ConnectionAbortedError:
            edge.tallies.refuse("tls_timeout")
        except OSError:  # an SSLError too
            edge.tallies.refuse("tls_failed")

    def _end(self, task: "asyncio.Task[None]", reason: str) -> None:
        """Cut a handshake; its connection closes as the task ends."""
        self._edge.tallies.refuse(reason)
        self._is_done(task)
        task.cancel()

    def _end_all(self) -> None:
        for task in list(self._under_way):
            self._end(task, "tls_timeout")

    def _is_done(self, task: "asyncio.Task[None]") -> None:
        if task in self._under_way:
            del self._under_way[task]
            self._edge.handshakes -= 1
            self._edge.check_drained()
