"""How many clients a process may have with the file descriptors that the system gives it."""

from collections.abc import Iterable
from typing import Final

from proxy.core.model import Backend, Limits

UNLIMITED: Final = 1 << 20
RESERVED: Final = 64  # for sockets that listen, the link, comparers, look-ups of names


def share(of_all: int, workers: int) -> int:
    """What one of so many workers has of a bound on all of them; at least 1."""
    return max(1, -(-of_all // workers))


def client_room(descriptors: int, backends: Iterable[Backend], workers: int) -> int:
    """So many clients leave a worker descriptors for their backends; at least 1.

    `descriptors` is its limit, negative for none. Connections to backends are promised theirs, but
    no more than half of all.
    """
    free = (descriptors if descriptors >= 0 else UNLIMITED) - RESERVED
    promised = sum(share(backend.max_connections, workers) for backend in backends)
    return max(1, free - min(promised, free // 2))


def too_few(
    descriptors: int, limits: Limits, backends: Iterable[Backend], workers: int
) -> int | None:
    """How many clients fit into all workers, where that is fewer than `limits` promises."""
    room = client_room(descriptors, backends, workers)
    return room * workers if room < share(limits.connections, workers) else None
