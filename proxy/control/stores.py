"""Where the controller keeps what it knows: on this machine, or in a Redis that several share."""

import os
import random
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from proxy.config import Config
from proxy.store.divergences import DivergenceStore, StoreBounds
from proxy.store.divergences_redis import RedisDivergences
from proxy.store.divergences_sqlite import SqliteDivergences
from proxy.store.evidence_redis import RedisEvidence
from proxy.store.opening import Opened, open_shared_state, open_state, shared_snapshot_path
from proxy.store.redaction import redaction_key
from proxy.store.snapshot import snapshot_path
from proxy.store.state import StoreError

DIVERGENCES_NAME: Final = "divergences.db"

log = structlog.get_logger("proxy.control")


@dataclass(frozen=True, slots=True)
class Stores:
    """Opens each of them. `local` is the state store of this machine, `url` that of several.

    The URL may hold a password: it is not part of what is shown of this.
    """

    local: Path
    replica: str
    name: str
    url: str | None

    @classmethod
    def of(cls, config: Config, local: Path, replica: str) -> "Stores":
        """As the configuration had it when the launcher began: a change takes a restart."""
        name = f"{socket.gethostname()} {config.listen} (launcher {os.getppid()})"
        return cls(local, replica, name, config.state.redis_url)

    def __repr__(self) -> str:
        return f"Stores({self.local}, {self.name})"

    @property
    def snapshot(self) -> Path:
        """What is used while the state store is out of reach."""
        return snapshot_path(self.local) if self.url is None else shared_snapshot_path(self.local)

    async def state(self) -> Opened:
        """Raises StoreError."""
        if self.url is None:
            return await open_state(self.local)
        return await open_shared_state(self.url, self.replica, self.name, self.snapshot)

    async def divergences(self) -> DivergenceStore:
        """Raises StoreError."""
        if self.url is None:
            path = self.local.with_name(DIVERGENCES_NAME)
            return await SqliteDivergences.open(path, StoreBounds(), random.random)
        return await RedisDivergences.open(self.url, StoreBounds(), random.random)

    async def evidence(self) -> RedisEvidence:
        """Where replicas share what they count. Raises StoreError."""
        assert self.url is not None
        return await RedisEvidence.open(self.url)


def installation_key(directory: Path) -> bytes:
    """The installation's key; one for this life of the controller where it cannot be kept."""
    try:
        return redaction_key(directory)
    except StoreError as error:
        log.error("hashes of redacted values change at each restart", reason=str(error))
        return secrets.token_bytes(32)
