"""How many trials count, where others are lost on the way to what they come to. Pure.

What is the same bytes is known at once. What differs has a way to go: a queue, a comparer, both
sides asked again; and where there is no room for it, or nobody answers, it is lost. If the equal
ones were all counted all the same, a route would look the better the more of its divergent ones are
lost, and best where no comparer gets on. So of what is known for certain as large a share counts as
of the others comes through: the weights of Horvitz and Thompson ("A generalization of sampling
without replacement from a finite universe", J. Amer. Statist. Assoc. 47, 1952), turned round, since
a sequential test wants whole trials.

Of a slot of time that share is what came through of those that began in it and, where these are
few, in the slots before it: not of many more, since what gets lost changes with the load of a
moment. As more come through it grows, and what is counted with it.
"""

from bisect import bisect_left, insort
from typing import Final

ENOUGH: Final = 16  # trials on their way tell what share of them comes through
LATELY: Final = 240  # they began so many slots ago at most: a minute
KEPT: Final = 256  # slots with trials; what is known later than that counts with the oldest
OPEN: Final = 128  # the newest of them; what comes through later than that is lost
CERTAIN: Final = 10  # that new failed are too many for chance
NO_MATTER: Final = 0.1  # of the threshold: where no more than that of all is lost, all count
# So that what is rounded down is a share, and none of many slots with few trials.
_GOLDEN: Final = 0.6180339887498949
_PLASTIC: Final = 0.7548776662466927


class _Slot:
    """Trials that began in one slot of time."""

    __slots__ = (
        "answered",
        "asked",
        "bad",
        "bad_counted",
        "differing",
        "equal",
        "failed",
        "good",
        "good_counted",
        "judged",
        "of_all",
        "of_asked",
        "plain",
        "plain_bad",
    )

    def __init__(self) -> None:
        self.equal = self.failed = 0  # known at once, good and bad
        self.differing = 0  # that have the way to go
        self.judged = 0  # of these: by a comparer
        self.plain = self.plain_bad = 0  # of these: good, and bad, without asking again
        self.asked = 0  # of these: only asking again tells
        self.answered = self.good = self.bad = 0  # of these: it did, and what it told
        self.good_counted = self.bad_counted = 0
        self.of_asked = self.of_all = -1.0  # the share that came through; below 0: not known yet


class Thinning:
    """The trials of one route on their way to its judge, who holds them against a threshold."""

    __slots__ = ("_asked", "_changed", "_differed", "_numbers", "_slots", "_threshold")

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._slots: dict[int, _Slot] = {}
        self._numbers: list[int] = []  # of them, in their order
        self._changed: int | None = None  # the first slot of which there is news
        # The last slots with trials that have the way to go, and with some that were asked again.
        self._differed: int | None = None
        self._asked: int | None = None

    def known(self, slot: int, equal: int, failed: int, differing: int) -> None:
        """Trials of a slot: equal, failed by new, and differing, which `judged` says more of."""
        if len(self._numbers) >= KEPT and self._changed is None:
            slot = max(slot, self._numbers[0])
        at = self._slot(slot)
        at.equal += equal
        at.failed += failed
        at.differing += differing
        if differing:
            self._differed = slot if self._differed is None else max(slot, self._differed)

    def judged(self, slot: int, is_bad: bool | None, asked: bool) -> None:
        """What one that differs came to; None where it was to be asked again and was not.

        Those that come through very late are lost, bad ones too: the good ones beside them were.
        """
        numbers = self._numbers
        if len(numbers) > OPEN and slot < numbers[-OPEN]:
            return
        at = self._slot(slot)
        self._differed = slot if self._differed is None else max(slot, self._differed)
        at.judged += 1
        if not asked:
            at.plain += not is_bad
            at.plain_bad += bool(is_bad)
            return
        self._asked = slot if self._asked is None else max(slot, self._asked)
        at.asked += 1
        if is_bad is not None:
            at.answered += 1
            at.good += not is_bad
            at.bad += is_bad

    def is_underway(self) -> bool:
        """Whether some have the way to go, or had it lately."""
        return self._differed is not None

    def take(self) -> list[tuple[int, int, int]]:
        """What is to be counted now, by slot: good and bad trials."""
        if self._changed is None:
            return []
        numbers, taken = self._numbers, []
        for index in range(bisect_left(numbers, self._changed), len(numbers)):
            number = numbers[index]
            at = self._slots[number]
            if index >= len(numbers) - OPEN or at.of_all < 0.0:
                at.of_all, at.of_asked = self._shares(index)
            good = at.equal * at.of_all + at.plain * at.of_asked + at.good
            bad = at.failed * at.of_all + at.plain_bad * at.of_asked + at.bad
            if self._threshold <= 0.0:
                bad = at.failed + at.plain_bad + at.bad  # one is too many
            more_good = max(int(good + number * _GOLDEN % 1.0) - at.good_counted, 0)
            more_bad = max(int(bad + number * _PLASTIC % 1.0) - at.bad_counted, 0)
            if more_good or more_bad:
                at.good_counted += more_good
                at.bad_counted += more_bad
                taken.append((number, more_good, more_bad))
        self._changed = None
        if self._differed is None or numbers[-1] - self._differed > LATELY:
            self._forget(len(numbers))
        else:
            self._forget(len(numbers) - KEPT)
        return taken

    def rest(self, number: int) -> None:
        """It is this slot now: nothing is kept of a route that has long had no trials."""
        if self._numbers and self._changed is None and number - self._numbers[-1] > 2 * LATELY:
            self._forget(len(self._numbers))

    def underway(self) -> tuple[int, int]:
        """Of late: those that have the way to go, and those of them that came through."""
        slots = self._slots.values()
        asked = sum(at.asked - at.answered for at in slots)
        return sum(at.differing for at in slots), sum(at.judged for at in slots) - asked

    def _shares(self, index: int) -> tuple[float, float]:
        """What comes through, of all that differ and of those that are to be asked again."""
        all_, failed, lost = 0, 0, 0
        differing = judged = asked = answered = 0
        since = self._numbers[index] - LATELY
        wants_asked = ENOUGH if self._asked is not None and self._asked >= since else 0
        while index >= 0 and self._numbers[index] >= since:
            at = self._slots[self._numbers[index]]
            if differing < ENOUGH:
                differing += at.differing
                judged += at.judged
                all_ += at.equal + at.failed + max(at.differing, at.judged)
                failed += at.failed
                lost += max(at.differing - at.judged, 0) + at.asked - at.answered
            if asked < wants_asked:
                asked += at.asked
                answered += at.answered
            elif differing >= ENOUGH:
                break
            index -= 1
        # Where it is certain whatever they came to, it does not take the others to tell.
        if lost <= NO_MATTER * self._threshold * all_:
            return 1.0, 1.0
        if failed >= CERTAIN and failed > self._threshold * all_:
            return 1.0, 1.0
        of_asked = answered / asked if asked else 1.0
        return of_asked * (min(judged / differing, 1.0) if differing else 1.0), of_asked

    def _slot(self, number: int) -> _Slot:
        self._changed = number if self._changed is None else min(number, self._changed)
        at = self._slots.get(number)
        if at is None:
            at = self._slots[number] = _Slot()
            insort(self._numbers, number)
        return at

    def _forget(self, count: int) -> None:
        """The oldest ones."""
        if count <= 0:
            return
        for number in self._numbers[:count]:
            del self._slots[number]
        del self._numbers[:count]
        if not self._numbers:
            self._differed = self._asked = None
