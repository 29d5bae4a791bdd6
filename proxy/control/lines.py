"""Lines of history as lines of the log."""

import logging
from typing import Final

import structlog

from proxy.store.records import Transition

LEVELS: Final = {"revert": logging.WARNING, "refused": logging.CRITICAL}  # else INFO

log = structlog.get_logger("proxy.control")


def log_line(event: str, line: Transition, level: int = logging.INFO) -> None:
    """Tell the log of it."""
    log.log(
        level,
        event,
        route=line.route,
        what=line.kind,
        before=line.before,
        after=line.after,
        by=line.by,
        reason=line.reason,
        **({"evidence": line.evidence} if line.evidence else {}),
    )
