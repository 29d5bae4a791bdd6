"""`routes.yaml`: read, checked and turned into the core's values."""

from proxy.config.addresses import Address, TcpAddress, UnixAddress
from proxy.config.findings import Finding, Position
from proxy.config.lint_edits import changes_for_restart, lint
from proxy.config.loading import load, load_bytes
from proxy.config.settings import (
    Admin,
    Advance,
    Alert,
    Config,
    LatencyRule,
    Loaded,
    Revert,
    State,
    Step,
    Telemetry,
)

__all__ = [
    "Address",
    "Admin",
    "Advance",
    "Alert",
    "Config",
    "Finding",
    "LatencyRule",
    "Loaded",
    "Position",
    "Revert",
    "State",
    "Step",
    "TcpAddress",
    "Telemetry",
    "UnixAddress",
    "changes_for_restart",
    "lint",
    "load",
    "load_bytes",
]
