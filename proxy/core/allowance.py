"""So many a second and no more: a token bucket. Time is passed in."""


class Allowance:
    """So many a second, a few saved up: a token bucket. `now` in seconds that never go back."""

    def __init__(self, per_second: float, most: float) -> None:
        self._per_second = per_second
        self._most = most
        self._left = most
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is allowed now; if so, it is taken."""
        if not self.has(now):
            return False
        self._left -= 1.0
        return True

    def has(self, now: float) -> bool:
        """Whether one more is allowed now."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        return self._left >= 1.0


class Restraint:
    """Of those that follow on some that have cost too much, so many a second are let on.

    For each that has cost, one more has to be. As long as none has, everybody is.
    """

    def __init__(self, per_second: float, most_owed: int) -> None:
        self._allowance = Allowance(per_second, per_second)
        self._most_owed = most_owed
        self._owed = 0
        self.why = ""  # of the last one that has cost

    def cost(self, why: str = "") -> None:
        """One has cost too much."""
        self.why = why
        self._owed = min(self._owed + 1, self._most_owed)

    def holds(self, now: float) -> bool:
        """Whether nobody is let on now."""
        return self._owed > 0 and not self._allowance.has(now)

    def take(self, now: float) -> bool:
        """Whether this one is let on; if so, it counts."""
        if self._owed == 0:
            return True
        if not self._allowance.take(now):
            return False
        self._owed -= 1
        return True
