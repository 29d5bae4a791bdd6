"""The local JSON snapshot of a store: what is used while the store is out of reach.

It is written after each commit and before anything of it is published, so it is never older than
what the workers were told. One that cannot be written is removed: a stale one would be believed.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from proxy.store.records import Stored
from proxy.store.state import StoreError

SCHEMA_VERSION: Final = 1


class _File(msgspec.Struct):
    schema: int
    stored: Stored


def snapshot_path(store: Path) -> Path:
    """The snapshot's place beside a store: `state.db` has `state.snapshot.json`."""
    return store.with_suffix(".snapshot.json")


def write_snapshot(path: Path, stored: Stored) -> None:
    """Replace the snapshot, durably. Raises StoreError, and then leaves none."""
    fresh = path.with_name(path.name + ".new")
    # Others that share the store are to be waited for; what they held back is over.
    others = tuple(msgspec.structs.replace(each, quiet={}) for each in stored.replicas)
    own = Stored(stored.starts, stored.table, stored.records, replicas=others)
    text = msgspec.json.format(msgspec.json.encode(_File(SCHEMA_VERSION, own)), indent=1)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise StoreError(f"the snapshot {path} cannot be written: {error.strerror}") from error


def read_snapshot(path: Path) -> Stored | None:
    """What the snapshot holds; None if there is none. Raises StoreError if it cannot be read."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the snapshot {path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"the snapshot {path} is damaged: {error}") from error
    if file.schema > SCHEMA_VERSION:
        raise StoreError(f"the snapshot {path} was written by a newer Banyan")
    return file.stored
