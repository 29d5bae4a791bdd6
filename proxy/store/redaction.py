"""The key of the hashes that stand for redacted values: one an installation, made once.

It lies beside the state store, readable by its owner alone. Equal values are then seen to be
equal over restarts, and nobody without the key can try values out.
"""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from proxy.store.state import StoreError

NAME: Final = "redaction.key"
KEY_BYTES: Final = 32


def redaction_key(directory: Path) -> bytes:
    """The key, made where there is none. Raises StoreError where it cannot be read or kept."""
    path = directory / NAME
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise StoreError(f"the key {path} cannot be used: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"the key {path} is damaged: remove it, and hashes from now on are other ones"
        )
    return key


def _make(path: Path) -> None:
    """Whole or not at all, and never over one that another process has just made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.unlink(fresh)
