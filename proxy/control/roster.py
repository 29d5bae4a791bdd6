"""Which worker holds which slot, what it serves, and how often the slot was refilled."""

from dataclasses import dataclass

from proxy.admin.view import WorkerView
from proxy.core.messages import Applied, Report


@dataclass(slots=True)
class _Slot:
    pid: int | None = None
    connected: bool = False
    generation: int | None = None
    revision: int | None = None
    draining: bool = False
    restarts: int = 0
    compiled: bool = False


class Roster:
    """The slots of the workers, from 0 on."""

    def __init__(self, slots: int) -> None:
        self._slots = [_Slot() for _ in range(slots)]

    def joined(self, slot: int, pid: int, compiled: bool = False) -> None:
        """A worker said Hello. Another pid than before means that the slot was refilled."""
        held = self._slots[slot]
        refilled = held.pid not in (None, pid)
        restarts = held.restarts + refilled
        self._slots[slot] = _Slot(pid, connected=True, restarts=restarts, compiled=compiled)

    def left(self, slot: int) -> None:
        """Its connection ended; it may be alive and serve the last table."""
        self._slots[slot].connected = False

    def applied(self, message: Applied) -> None:
        """It serves that table now."""
        held = self._slots[message.slot]
        held.generation, held.revision = message.generation, message.revision

    def reported(self, report: Report) -> None:
        """It said how it is."""
        self._slots[report.slot].draining = report.draining

    def all_serve(self, generation: int) -> bool:
        """Whether every slot serves that table or a later one."""
        return all(
            held.connected and held.generation is not None and held.generation >= generation
            for held in self._slots
        )

    def restarts(self) -> dict[int, int]:
        """How often each slot was refilled."""
        return {slot: held.restarts for slot, held in enumerate(self._slots)}

    def views(self, generation: int) -> tuple[WorkerView, ...]:
        """Each slot as the admin API shows it, against the table that should be in force."""
        return tuple(
            WorkerView(
                slot=slot,
                pid=held.pid if held.connected else None,
                serving=held.connected and held.generation is not None and not held.draining,
                generation=held.generation,
                revision=held.revision,
                restarts=held.restarts,
                degraded=_degraded(held, generation),
                compiled=held.compiled,
            )
            for slot, held in enumerate(self._slots)
        )


def _degraded(held: _Slot, generation: int) -> str | None:
    if not held.connected:
        return "has not started yet" if held.pid is None else "is not connected"
    if held.draining:
        return "drains"
    if held.generation is None:
        return "has no table yet"
    if held.generation < generation:
        return f"serves generation {held.generation}, in force is {generation}"
    return None
