"""How authority over the writes of a route moves: paused by all, then stored, then published. Pure.

1. Writes are paused (a revision), and every slot of every replica says Quiet for it; then the new
   authority is stored, and only then published and unpaused. So no two workers have different
   authorities unpaused.
2. A slot without a living worker is waited for: the next one gets a Full and says Quiet. What a
   slot said is forgotten when a worker joins in it, so Quiet is always of the present one.
3. A pause ends after `switch_timeout_s`: the old authority is unpaused, the move stays pending, is
   alarmed, and is tried again after a back-off. What was said in one pause never counts in another.
4. Of several replicas each pauses by itself, and says so in the store, of the generation of the
   record that it saw. The store moves authority only where all have said it of the present one,
   and a replica takes its word back in the store before it unpauses: one of the two comes first.
   A pause of another one is joined at once, so that all of them overlap. While one is not heard of
   none begins: it would be for nothing.
5. A replica that finds the authority moved without its word (it was taken for gone) pauses, and
   takes the new one over once its own workers are quiet: never the other way round.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from msgspec.structs import replace as restruct

from proxy.control.replicas import SILENT_S, is_held_elsewhere, loud, said_quiet, silent
from proxy.control.world import Moment, Move
from proxy.core.model import RouteState, Side
from proxy.store.records import Record, Stored

FIRST_RETRY = 2.0  # times the switch timeout, doubling
LONGEST_RETRY_S = 300.0


def retry_after_s(attempts: int, switch_timeout_s: float) -> float:
    """How long a move waits after that many tries, so that writes pause a third of the time at
    most."""
    doublings = min(attempts - 1, 20)
    return min(FIRST_RETRY * switch_timeout_s * 2.0**doublings, LONGEST_RETRY_S)


class Authority:
    """The moves of one decision, and what is to be said of them in the store."""

    def __init__(
        self,
        slots: int,
        moves: Mapping[str, Move],
        now: Moment,
        alarm: Callable[..., None],
    ) -> None:
        self.moves = dict(moves)
        self.quiet: dict[str, int] = {}
        self.withdrawn: dict[str, int] = {}
        self.swapped: dict[str, int] = {}
        self._slots = slots
        self._now = now
        self._alarm = alarm

    def quieten(self, route: str, slot: int, revision: int) -> None:
        """A worker has no write of the route under way, as of that revision."""
        move = self.moves.get(route)
        if move is None or move.paused_at is None or revision < move.paused_at:
            return
        if 0 <= slot < self._slots:
            self.moves[route] = replace(move, quiet=move.quiet | {slot})

    def forget_slot(self, slot: int) -> None:
        """Another worker is there now."""
        for name, move in self.moves.items():
            if slot in move.quiet:
                self.moves[name] = replace(move, quiet=move.quiet - {slot})

    def is_quiet(self, route: str) -> bool:
        """Whether all slots have said Quiet in a pause of the route that goes on."""
        move = self.moves.get(route)
        return move is not None and move.paused_at is not None and not self._waits_for(move)

    def settle(
        self,
        record: Record,
        stored: Stored,
        published: RouteState | None,
        revision: int,
        timeout_s: float,
    ) -> tuple[Record, RouteState]:
        """The record, moved where that is done, and the state to publish in this revision."""
        name, wanted = record.name, record.effective.authority
        held = published.authority if published is not None else record.authority
        if stored.replica and held is not record.authority and not self.is_quiet(name):
            self._catch_up(name, record.authority, revision, timeout_s)
            return record, RouteState(record.effective, held, True, record.missed)
        paused = False
        if record.authority is not wanted:
            record, paused = self._move(record, stored, revision, timeout_s)
        if record.authority is wanted:
            self.moves.pop(name, None)
        return record, RouteState(record.effective, record.authority, paused, record.missed)

    def take_back_what_is_over(self, stored: Stored) -> None:
        """What was said of moves that are no more."""
        for route, generation in said_quiet(stored).items():
            if route not in self.moves and route not in self.swapped:
                self.withdrawn[route] = generation

    def _move(
        self, record: Record, stored: Stored, revision: int, timeout_s: float
    ) -> tuple[Record, bool]:
        """One step; whether the writes are paused."""
        name, to = record.name, record.effective.authority
        kept = stored.records.get(name)
        generation = kept.generation if kept is not None else 0
        move = self.moves.get(name)
        if move is None:
            move = Move(to, self._now.wall, None, 0.0, attempts=0)
        if move.paused_at is None and silent(stored):
            # It could not be moved: nobody has to wait for that.
            self.moves[name] = replace(move, until=self._now.clock + SILENT_S)
            return record, False
        if move.paused_at is None:
            is_due = self._now.clock >= move.until or is_held_elsewhere(stored, name, generation)
            return record, is_due and self._pause(name, move, revision, timeout_s)
        waiting, others = self._waits_for(move), loud(stored, name, generation)
        if not waiting and not others:
            if stored.replica:
                self.swapped[name] = generation
            return restruct(record, authority=to), False
        said = said_quiet(stored).get(name)
        if self._now.clock < move.until:
            # What is said is of the record as it is stored: of a newer one it is said afterwards.
            if not waiting and said != generation and record == kept:
                self.quiet[name] = generation
            return record, True
        if said is not None:
            self.withdrawn[name] = said
        retry_s = retry_after_s(move.attempts, timeout_s)
        self.moves[name] = replace(
            move, paused_at=None, until=self._now.clock + retry_s, quiet=frozenset()
        )
        self._alarm(
            "error",
            "write authority could not be moved, the old one stays",
            route=name,
            to=to.value,
            waited_for_slots=waiting,
            waited_for_replicas=others,
            attempts=move.attempts,
            retry_s=retry_s,
        )
        return record, False

    def _catch_up(self, name: str, to: Side, revision: int, timeout_s: float) -> None:
        move = self.moves.get(name)
        if move is None or move.paused_at is None:
            first = move or Move(to, self._now.wall, None, 0.0, attempts=0)
            self._pause(name, first, revision, timeout_s)
            self._alarm("warning", "authority was moved without this replica", route=name)
        elif self._now.clock >= move.until:
            self.moves[name] = replace(move, until=self._now.clock + timeout_s)
            self._alarm(
                "error",
                "authority was moved without this replica, its workers hold on to the old one",
                route=name,
                waited_for_slots=self._waits_for(move),
            )

    def _waits_for(self, move: Move) -> list[int]:
        """The slots that have not said Quiet in the present pause."""
        return sorted(set(range(self._slots)) - move.quiet)

    def _pause(self, name: str, move: Move, revision: int, timeout_s: float) -> bool:
        # The state changes from unpaused to paused, so the next revision publishes it.
        self.moves[name] = replace(
            move,
            paused_at=revision + 1,
            until=self._now.clock + timeout_s,
            attempts=move.attempts + 1,
        )
        return True
