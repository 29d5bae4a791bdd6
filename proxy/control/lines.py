"""Lines of history: which were told already, and how the log says them."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Final

import structlog

from proxy.store.records import Transition

LEVELS: Final = {"revert": logging.WARNING, "refused": logging.CRITICAL}  # else INFO

MAX_KNOWN: Final = 20_000

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


class KnownLines:
    """Remembers the lines that were told, the newest MAX_KNOWN of them."""

    def __init__(self) -> None:
        self._lines: dict[Transition, None] = {}

    def fresh(self, lines: Iterable[Transition]) -> list[Transition]:
        """Those that were not told before, in their order; they are known from now on."""
        found = [line for line in lines if line not in self._lines]
        self._lines.update(dict.fromkeys(found))
        for line in list(islice(self._lines, max(len(self._lines) - MAX_KNOWN, 0))):
            del self._lines[line]
        return found
