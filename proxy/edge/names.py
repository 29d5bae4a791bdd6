"""Names of backends, looked up beside the connections that need them.

A look-up occupies one of the loop's few threads for as long as the name servers take. So each
URL has at most one under way, whoever waits for it: a side whose name does not resolve cannot
keep the look-ups of the other one from running. Answers are used for FRESH_S, so that a change
in DNS takes effect.
"""

import asyncio
import errno
import ipaddress
import socket

FRESH_S = 5.0


class HostName:
    """The addresses of one host. Owned by its endpoint; the task is cancelled by `stop`."""

    __slots__ = ("_fresh_until", "_host", "_known", "_literal", "_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        self._loop = loop
        self._host = host
        self._known: list[str] = []
        self._fresh_until = 0.0
        self._task: asyncio.Task[list[str] | OSError] | None = None
        self._literal = is_address(host)
        if self._literal:
            self._known = [host]

    async def addresses(self) -> list[str]:
        """Every address, in the resolver's order. Raises OSError. Cancelling it is free."""
        if self._literal or self._loop.time() < self._fresh_until:
            return self._known
        if self._task is None:
            self._task = self._loop.create_task(self._look_up())
        found = await asyncio.shield(self._task)
        if isinstance(found, OSError):
            raise found
        return found

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _look_up(self) -> list[str] | OSError:
        # A failure is a value: there may be nobody left to tell.
        try:
            infos = await self._loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            return error if isinstance(error, OSError) else OSError(str(error))
        finally:
            self._task = None
        self._known = list(dict.fromkeys(str(info[4][0]) for info in infos))
        self._fresh_until = self._loop.time() + FRESH_S
        return self._known


def is_out_of_descriptors(error: Exception) -> bool:
    """Whether a connection could not be made because this process, or machine, has no descriptor.

    A look-up that failed does not say so: one is asked for.
    """
    if isinstance(error, socket.gaierror):
        try:
            socket.socket().close()
        except OSError as refused:
            error = refused
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def is_address(host: str) -> bool:
    """Whether this is an address already, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
