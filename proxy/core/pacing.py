"""The places of a route's shadows, and how closely one may follow another while places are short.

With more shadows wanted than may be under way, first come, first served keeps them in step: all
places are taken within milliseconds, given back together one answer's time later, and taken
again together. Each such surge is the work of hundreds of exchanges at once, and the clients of
that moment wait for it. So once places have run short they are given out evenly, at the rate at
which they come back: one in (mean time that a place is held) / (places), a few ahead of that.
This is the generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling).
"""

from typing import Final

BURST: Final = 8  # places that may be taken ahead of the even rate
# Shortness is over when no place has been refused for twice the time that one is held, and this.
QUIET_S: Final = 1.0
_WEIGHT: Final = 1 / 16  # of the newest time in the mean


class Places:
    """Counts what is under way. Times are in seconds of one clock that never goes back."""

    __slots__ = ("_due", "_mean_s", "_short_until", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self._mean_s = 0.0  # that a place is held; 0.0: not known yet
        self._short_until = 0.0
        self._due = 0.0  # when the next place is due at the even rate

    def take(self, most: int, now: float) -> bool:
        """Take a place of so many; False where there is none, or it is too early for one."""
        if self.taken >= most:
            if now >= self._short_until:
                self._mean_s = 0.0
            self._refused(now)
            return False
        if now < self._short_until:
            apart_s = self._mean_s / most
            if self._due - now > BURST * apart_s:
                self._refused(now)
                return False
            self._due = max(self._due, now) + apart_s
        self.taken += 1
        return True

    def give_back(self, held_s: float, now: float) -> None:
        """Give a place back that was held so long."""
        self.taken -= 1
        if now < self._short_until:
            mean_s = self._mean_s
            self._mean_s = held_s if mean_s == 0.0 else mean_s + _WEIGHT * (held_s - mean_s)

    def _refused(self, now: float) -> None:
        self._short_until = now + 2 * self._mean_s + QUIET_S
