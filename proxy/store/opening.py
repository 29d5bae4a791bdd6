"""Opening the state store: what is in it, or what the snapshot beside it says where it is new.

A store that no controller ever began on is filled from a snapshot that lies beside it: then the
store was lost or moved away, and what it held of reverts and missed writes is not forgotten. So is
a Redis that has lost some of its keys.
"""

import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from proxy.store.records import Stored
from proxy.store.redis_address import shown_address
from proxy.store.snapshot import read_snapshot, snapshot_path
from proxy.store.sqlite import SqliteStore, check_store
from proxy.store.state import (
    ConflictError,
    DamagedError,
    ForeignError,
    LostError,
    StateStore,
    StoreError,
)
from proxy.store.state_redis import RedisStore

SHARED_NAME: Final = "shared.db"  # of no file: its snapshot is what this machine knows of the Redis


class Opened(NamedTuple):
    """A store, what it holds, and whether that came from the snapshot."""

    store: StateStore
    stored: Stored
    restored: bool


def shared_snapshot_path(local: Path) -> Path:
    """The place of the snapshot of a Redis, in the folder of the local state."""
    return snapshot_path(local.with_name(SHARED_NAME))


def check_state(path: Path) -> str:
    """What is wrong with the store where its snapshot serves in its place; empty: nothing.

    Raises StoreError where there is neither, or another process has the store.
    """
    is_new = not path.exists()
    try:
        check_store(path)
    except ForeignError:
        raise
    except DamagedError as error:
        if read_snapshot(snapshot_path(path)) is None:
            raise
        return str(error)
    if is_new:
        try:
            read_snapshot(snapshot_path(path))
        except StoreError:
            # Nothing began on it yet: leave things as they were found.
            path.unlink(missing_ok=True)
            raise
    return ""


def check_shared_state(url: str, local: Path) -> None:
    """Raise StoreError for what no waiting mends: the form of the URL, a damaged snapshot.

    A Redis that is away is waited for, and the snapshot of it serves meanwhile.
    """
    shown_address(url)
    read_snapshot(shared_snapshot_path(local))


async def open_state(path: Path) -> Opened:
    """The store of one machine, opened."""
    return await _begun(await SqliteStore.open(path), snapshot_path(path))


async def open_shared_state(url: str, replica: str, name: str, snapshot: Path) -> Opened:
    """The store of several machines, opened as this replica."""
    try:
        store = await RedisStore.open(url, replica, name)
    except LostError:
        known = read_snapshot(snapshot)
        if known is None:
            raise
        store = await RedisStore.open(url, replica, name, known)
        return (await _begun(store, snapshot))._replace(restored=True)
    return await _begun(store, snapshot)


async def _begun(store: StateStore, snapshot: Path) -> Opened:
    try:
        stored = await store.load()
        restored = False
        if stored.starts == 0 and not stored.records:
            known = read_snapshot(snapshot)
            if known is not None:
                # Another replica may have been first, and knows as much.
                with contextlib.suppress(ConflictError):
                    await store.restore(known)
                    restored = True
        return Opened(store, await store.begin(), restored)
    except BaseException:
        with contextlib.suppress(StoreError):
            await store.close()
        raise
