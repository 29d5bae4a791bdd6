"""What the replicas that share a store mean for each other. Pure.

A replica is there as long as the store has heard of it within the last minute. Where nobody can
share the store there are none, and whoever asks is alone.
"""

import hashlib
from typing import Final

from msgspec.structs import replace

from proxy.control.world import TableLoaded
from proxy.core.ladder import Progress
from proxy.store.records import Record, Replica, Stored

SILENT_S: Final = 3.0  # each says every second that it is there


def declared_digest(table: TableLoaded) -> str:
    """The digest of what a file declares of its routes, on this machine with its environment.

    Comments do not count, nor where it listens and the like.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for route in table.routes:
        policy = table.policies.get(route.name)
        said = (route.name, route.digest, str(route.phase), route.accept_loss, policy)
        hashed.update(repr(said).encode())
    return hashed.hexdigest()


def leads(stored: Stored) -> bool:
    """Whether no replica has a newer file: then what the file declares is declared."""
    if not stored.replica:
        return True
    own = _own(stored)
    return own is not None and own.order == max(each.order for each in stored.replicas) > 0


def is_warden(stored: Stored) -> bool:
    """Whether this replica is the one that climbs ladders and keeps their progress.

    It is one of those with the newest file. A revert is decided by whoever sees the evidence first.
    """
    if not stored.replica:
        return True
    newest = max((each.order for each in stored.replicas), default=0)
    leading = [each.id for each in stored.replicas if each.order == newest]
    return leads(stored) and stored.replica == min(leading)


def newest_names(stored: Stored) -> str:
    """The replicas that have the newest file, for people."""
    newest = max((each.order for each in stored.replicas), default=0)
    return ", ".join(each.name or each.id for each in stored.replicas if each.order == newest)


def said_quiet(stored: Stored) -> dict[str, int]:
    """What this replica has said to hold back: routes and the generation of their records."""
    own = _own(stored)
    return own.quiet if own is not None else {}


def loud(stored: Stored, route: str, generation: int) -> list[str]:
    """The other replicas, by name, that do not hold the route's writes back as of its record."""
    return [
        each.name or each.id
        for each in stored.replicas
        if each.id != stored.replica and each.quiet.get(route) != generation
    ]


def silent(stored: Stored) -> list[str]:
    """The other replicas, by name, that have not been heard of for SILENT_S."""
    return [
        each.name or each.id
        for each in stored.replicas
        if each.id != stored.replica and each.age_s > SILENT_S
    ]


def is_held_elsewhere(stored: Stored, route: str, generation: int) -> bool:
    """Whether another replica holds the route's writes back now."""
    return any(
        each.quiet.get(route) == generation for each in stored.replicas if each.id != stored.replica
    )


def reconciled(mine: Record | None, theirs: Record) -> Record:
    """The stored record of a route with what the store has lost, or was never told.

    `mine` is what this replica knew before. The store is a later one unless its generation is
    lower: then it was put back, and what it held since is brought back to it. A latch that was set
    out of its reach is kept, unless the route was moved since.
    """
    if mine is None or replace(mine, generation=theirs.generation) == theirs:
        return theirs
    if mine.generation > theirs.generation:
        return replace(mine, generation=theirs.generation)
    if mine.generation == theirs.generation:  # each was written without the other
        theirs = replace(theirs, missed=theirs.missed | mine.missed)
    latch = mine.latch
    moved_at = max(theirs.resumed_at or 0.0, (theirs.progress or Progress(0.0)).since)
    if (
        latch is None
        or theirs.latch is not None
        or moved_at >= latch.at
        or mine.digest != theirs.digest
        or mine.effective >= theirs.effective
        or not theirs.missed <= mine.missed
    ):
        return theirs
    return replace(
        theirs,
        effective=mine.effective,
        latch=latch,
        progress=mine.progress,
        refused_at=None,
        ready_at=None,
    )


def _own(stored: Stored) -> Replica | None:
    return next((each for each in stored.replicas if each.id == stored.replica), None)
