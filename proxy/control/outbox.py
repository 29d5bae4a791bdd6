"""What a worker still has to be told: the newest table, the newest states, the newest health.

Everything that decides is declarative and the last word wins, so an outbox never grows beyond one
of each, and a bounded number of questions: a worker that is slow skips what was overtaken. That is
safe for a move of authority: a pause that was overtaken is never confirmed, because Quiet names
the revision it answers.
"""

from proxy.core.framing import frame
from proxy.core.messages import AskAgain, EndpointHealth, States

MAX_QUESTIONS = 1000


class Outbox:
    """Pending messages of one worker. Full comes encoded, since all workers get the same one."""

    def __init__(self) -> None:
        self._full: bytes | None = None
        self._states: States | None = None
        self._health: dict[tuple[str, str], EndpointHealth] = {}
        self._questions: list[AskAgain] = []

    def __bool__(self) -> bool:
        table = self._full is not None or self._states is not None
        return table or bool(self._health) or bool(self._questions)

    def put_full(self, framed: bytes) -> None:
        """A new table with all its states: states of before are contained in it."""
        self._full = framed
        self._states = None

    def put_states(self, states: States) -> None:
        """New states of some routes of the table put last."""
        before = self._states
        if before is not None and before.generation == states.generation:
            merged = {**before.states, **states.states}
            states = States(states.generation, states.revision, merged)
        self._states = states

    def put_health(self, health: EndpointHealth) -> None:
        """The newest health of one URL."""
        self._health[health.backend, health.url] = health

    def put_question(self, question: AskAgain) -> bool:
        """A request to ask again; False where too many wait already."""
        if len(self._questions) >= MAX_QUESTIONS:
            return False
        self._questions.append(question)
        return True

    def take(self) -> bytes:
        """Everything pending in the order in which it must arrive; empty afterwards."""
        parts = [] if self._full is None else [self._full]
        if self._states is not None:
            parts.append(frame(self._states))
        parts += [frame(each) for each in self._health.values()]
        parts += [frame(each) for each in self._questions]
        self._full = self._states = None
        self._questions.clear()
        self._health.clear()
        return b"".join(parts)
