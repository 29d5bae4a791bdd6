"""`routes.yaml`: read, checked and turned into the core's values."""

from proxy.config.addresses import Address, TcpAddress, UnixAddress
from proxy.config.findings import Finding, Position
from proxy.config.lint_edits import changes_for_restart, lint
from proxy.config.loading import load, load_bytes
from proxy.config.settings import (
    Admin,
    Alert,
    Config,
    Loaded,
    State,
    Telemetry,
)

__all__ = [
    "Address",
    "Admin",
    "Alert",
    "Config",
    "Finding",
    "Loaded",
    "Position",
    "State",
    "TcpAddress",
    "Telemetry",
    "UnixAddress",
    "changes_for_restart",
    "lint",
    "load",
    "load_bytes",
]
