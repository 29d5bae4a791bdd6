"""Which divergences of a signature stay as its samples: the newest few, and some of all its time.

The newest tenth stays whatever comes, so that a list of the newest tells the truth about now. What
is pushed out of it runs through Algorithm R (Vitter, "Random sampling with a reservoir", 1985), so
every older one has had the same chance to be among the rest.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Member = TypeVar("Member")


class Reservoir(Generic[Member]):
    """The samples of one signature. `chance` gives numbers from 0 (included) to 1 (excluded)."""

    def __init__(
        self,
        size: int,
        members: Sequence[Member],
        passed: int,
        kept: int,
        chance: Callable[[], float],
    ) -> None:
        """As it was left: `members` from old to new, and the `passed` and `kept` of then.

        Members that have gone since then (by age, or for room) take with them their share of
        those that passed, or hardly any new one would come in for them.
        """
        self.members = list(members)
        self._newest = max(size // 10, 1)
        self._size = size
        self._chance = chance
        now = max(len(members) - self._newest, 0)
        self.passed = passed * now // kept if now < kept else passed

    @property
    def kept(self) -> int:
        """How many are there beside the newest."""
        return max(len(self.members) - self._newest, 0)

    def offer(self, member: Member) -> Member | None:
        """Take in a new one; which one goes for it, perhaps one taken in just before."""
        self.members.append(member)
        if len(self.members) <= self._newest:
            return None
        self.passed += 1
        if len(self.members) <= self._size:
            return None
        room = self._size - self._newest
        place = int(self._chance() * self.passed)
        return self.members.pop(place if place < room else room)
