"""How the file descriptors that the system gives a process are shared between its connections."""

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.core.model import Backend, Limits

UNLIMITED: Final = 1 << 20
RESERVED: Final = 64  # for sockets that listen, the link, comparers, look-ups of names


class Room(msgspec.Struct, frozen=True):
    """How many connections a worker may have: of clients, and by the name of the backend."""

    clients: int
    backends: dict[str, int]


def share(of_all: int, workers: int) -> int:
    """What one of so many workers has of a bound on all of them; at least 1."""
    return max(1, -(-of_all // workers))


def room(descriptors: int, backends: Mapping[str, Backend], workers: int) -> Room:
    """What fits into a worker; at least 1 of each.

    `descriptors` is its limit, negative for none. Backends have what they may take, but no more
    than two thirds in all: a client that is shadowed takes one of each side.
    """
    free = max(0, (descriptors if descriptors >= 0 else UNLIMITED) - RESERVED)
    wanted = {name: share(each.max_connections, workers) for name, each in backends.items()}
    promised = sum(wanted.values())
    most = min(promised, free * 2 // 3)
    return Room(
        clients=max(1, free - most),
        backends={name: max(1, each * most // promised) for name, each in wanted.items()},
    )


def is_too_little(
    fits: Room, limits: Limits, backends: Mapping[str, Backend], workers: int
) -> bool:
    """Whether less fits into each worker than the configuration promises."""
    return fits.clients < share(limits.connections, workers) or any(
        fits.backends[name] < share(each.max_connections, workers)
        for name, each in backends.items()
    )
