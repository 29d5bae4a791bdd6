"""A good configuration as values: what `load` returns when there is no error.

Everything is immutable; units stand in the names. Backends, routes, limits and the listener's TLS
are the core's values, so that a Snapshot is only put together, never translated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.config.addresses import Address
from proxy.config.findings import Finding, Position
from proxy.core.model import Backend, Limits, Route, RouteState, ServerTls, Snapshot
from proxy.core.policy import Advance, Revert


@dataclass(frozen=True, slots=True)
class State:
    """Where latches, flags and history live. `sqlite_path` is absolute; `redis_url` if several."""

    sqlite_path: Path
    redis_url: str | None = None


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API's own listener."""

    listen: Address
    tokens_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where spans go (`otlp`, a URL), the share of requests traced (0 to 1), the log's form."""

    otlp: str | None = None
    sample: float = 0.01
    log_format: str = "auto"  # or "json", "console"


@dataclass(frozen=True, slots=True)
class Alert:
    """A webhook and the events it wants."""

    url: str = field(repr=False)  # Slack's holds a secret
    events: tuple[str, ...]
    format: str = "json"  # or "slack"
    secret: str | None = field(default=None, repr=False)  # messages are signed with it


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file, every default filled in."""

    file: Path  # absolute; relative paths in the file resolve against its directory
    shown_as: str  # the file as the user named it, for findings
    text_digest: str  # of the file's bytes and the environment values it took
    listen: Address
    workers: int  # `auto` resolved
    comparers: int
    state: State
    admin: Admin
    tls: ServerTls | None
    limits: Limits
    switch_timeout_s: float
    trusted_proxies: tuple[str, ...]
    telemetry: Telemetry
    alerts: tuple[Alert, ...]
    backends: dict[str, Backend]
    routes: tuple[Route, ...]  # in the order of the file, `(unmatched)` last
    reverts: Mapping[str, Revert | None]  # by route name
    advances: Mapping[str, Advance | None]  # by route name
    phase_positions: Mapping[str, Position]  # by route name: where its phase is written

    def snapshot(
        self, generation: int, revision: int, states: Mapping[str, RouteState]
    ) -> Snapshot:
        """What the workers get: this table, and the state of each of its routes.

        A route that `states` does not name is in its declared phase.
        """
        return Snapshot(
            generation=generation,
            revision=revision,
            backends=self.backends,
            routes=self.routes,
            states={
                route.name: states.get(route.name) or RouteState.of_phase(route.phase)
                for route in self.routes
            },
            limits=self.limits,
            trusted_proxies=self.trusted_proxies,
            trace_sample=self.telemetry.sample,
            switch_timeout_s=self.switch_timeout_s,
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of reading a file: `config` is None when any finding is an error."""

    config: Config | None
    findings: tuple[Finding, ...]
