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
