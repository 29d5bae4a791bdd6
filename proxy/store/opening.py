"""Opening the state store: what is in it, or what the snapshot beside it says where it is new.

A store that no controller ever began on is filled from a snapshot that lies beside it: then the
store was lost or moved away, and what it held of reverts and missed writes is not forgotten.
"""

import contextlib
from pathlib import Path

from proxy.store.records import Stored
from proxy.store.snapshot import read_snapshot, snapshot_path
from proxy.store.sqlite import SqliteStore, check_store
from proxy.store.state import StoreError


def check_state(path: Path) -> None:
    """Raise StoreError unless the store can be opened (or made) and used by this process."""
    is_new = not path.exists()
    check_store(path)
    if is_new:
        try:
            read_snapshot(snapshot_path(path))
        except StoreError:
            # Nothing began on it yet: leave things as they were found.
            path.unlink(missing_ok=True)
            raise


async def open_state(path: Path) -> tuple[SqliteStore, Stored, bool]:
    """The opened store, what it holds, and whether that came from the snapshot."""
    store = await SqliteStore.open(path)
    try:
        stored = await store.load()
        restored = False
        if stored.starts == 0 and not stored.records:
            snapshot = read_snapshot(snapshot_path(path))
            if snapshot is not None:
                await store.restore(snapshot)
                restored = True
        return store, await store.begin(), restored
    except BaseException:
        with contextlib.suppress(StoreError):
            await store.close()
        raise
