"""The StateStore protocol: where latches, flags, authority and history live.

Every store passes tests/store/test_contract.py. A call either did what it says, durably, or
raises StoreError; after an error other than ConflictError the outcome of a commit is unknown, and
the caller loads again before it decides anything.
"""

from typing import Protocol, runtime_checkable

from proxy.store.records import Change, Replica, Stored, Transition

HISTORY_KEPT = 10_000  # transitions over all routes; older ones are pruned


class StoreError(Exception):
    """The store cannot be used; the text says which, why, and what to do."""


class DamagedError(StoreError):
    """What is there is no good store: damaged, foreign, newer or empty."""


class ForeignError(DamagedError):
    """It is of something else, or of a newer Banyan: not what was meant."""


class LostError(DamagedError):
    """Nothing is there any more of what was, or a part is missing as a whole."""


class ConflictError(StoreError):
    """A record did not follow the stored one. Nothing was written."""


class StateStore(Protocol):
    """One store of the state of all routes."""

    async def begin(self) -> Stored:
        """Count one more start, durably; everything stored (with `starts` including it)."""
        ...

    async def load(self) -> Stored:
        """Everything stored but the history."""
        ...

    async def commit(self, change: Change) -> None:
        """Write it durably, whole or not at all; ConflictError if a generation is not next."""
        ...

    async def restore(self, stored: Stored) -> None:
        """Fill an empty store from a snapshot; ConflictError if it holds any record."""
        ...

    async def history(self, route: str | None = None, limit: int = 100) -> list[Transition]:
        """The newest transitions, newest first, of one route or of all."""
        ...

    async def close(self) -> None:
        """Give it back; further calls raise StoreError."""
        ...


@runtime_checkable
class SharedStore(StateStore, Protocol):
    """A store that several controllers share, each a replica of its own."""

    async def wait_for_change(self, known: int, timeout_s: float) -> int:
        """The version as soon as it is not `known`, or after that time."""
        ...

    async def declare(self, file: str) -> None:
        """Say which file this replica has now, by its digest, and so whether it leads."""
        ...

    async def present(self) -> tuple[Replica, ...]:
        """Say that this replica is there; all that are. To be called every few seconds."""
        ...

    async def refill(self, stored: Stored) -> None:
        """After a LostError, put back what is missing; ConflictError if another one did."""
        ...

    async def leave(self) -> None:
        """Say that this replica serves nothing any more."""
        ...


def check_generations(stored: Stored, change: Change) -> None:
    """Raise ConflictError unless each record of the change is the next of the stored one."""
    for record in change.records:
        have = stored.records.get(record.name)
        expected = 1 if have is None else have.generation + 1
        if record.generation != expected:
            raise ConflictError(
                f"the state of route {record.name} is at generation {expected - 1}, "
                f"generation {record.generation} does not follow it"
            )
