"""From counts of trials in time to the moment from which on more of them are bad. Pure.

The detector is the Shiryaev-Roberts procedure over a mixture of worse rates (Pollak, "Optimal
detection of a change in distribution", Ann. Statist. 13, 1985; Tartakovsky, Nikiforov and
Basseville, "Sequential Analysis", 2014, chapter 8). Each possible moment of the change, from the
first trial to the last one, has its likelihood ratio of "worse since then" against "at the
threshold all along"; the statistic is their sum, averaged over the rates. At the threshold itself
the statistic less the number of trials is a martingale, below it a supermartingale: so the mean
number of trials to a false alarm is at least the bound that the statistic is held against, whatever
the threshold, in whichever order trials are counted, and however they are batched. That is what
`false_alarm` promises; no table and no simulation is behind it.

Outcomes are late by as much as a time-out, and the bad ones are later than the good ones, since
they are looked at again. So a trial counts with the slot of time in which it began, and the
statistic is computed again from there on: what is late never looks like a run of bad ones. Slots
are kept for two minutes at least, those of the last quarter of a minute apart, older ones by twos
of seconds: bad ones that came later than what was good beside them is remembered would be alone.
"""

import math
from array import array
from typing import Final

SLOT_S: Final = 0.25
FINE: Final = 64  # the newest slots, which are kept apart
WIDE: Final = 8  # of older ones so many are one
SLOTS: Final = 128  # of those with trials: what is later than that counts with the oldest of them
GRID: Final = 10  # worse rates in the mixture
LEAST_WORSE: Final = 1.35  # the mildest of them, times the threshold
MOST_WORSE: Final = 0.999
MAX_LOG: Final = 600.0  # what an exp still holds
MOST: Final = 1e300
CONFIDENCE_Z: Final = 1.6449  # one-sided 95 %
REMEMBERED: Final = 200.0  # bad trials at the threshold that the recent rate looks back on


class _Slot:
    """The trials that began in one slot of time, and the statistic behind them, by rate."""

    __slots__ = ("bad", "good", "number", "sums")

    def __init__(self, number: int) -> None:
        self.number = number
        self.good = self.bad = 0
        self.sums = array("d")


class Detector:
    """Finds the moment from which on trials are bad more often than a threshold.

    The threshold is above 0 and below 1.
    """

    __slots__ = (
        "_alarm",
        "_bad",
        "_base",
        "_good",
        "_slots",
        "_stale",
        "_threshold",
        "_wide",
        "alarmed",
    )

    def __init__(self, threshold: float, false_alarm: float) -> None:
        worse = rates_above(threshold)
        self._threshold = threshold
        self._bad = [math.log(rate / threshold) for rate in worse]
        self._good = [math.log1p(-rate) - math.log1p(-threshold) for rate in worse]
        self._alarm = min(len(worse) / false_alarm, MOST)
        self._base = array("d", [0.0] * len(worse))  # the statistic before the slots that are kept
        self._slots: list[_Slot] = []  # those with trials, in their order
        self._wide = 0  # how many of them, the oldest, are not kept apart
        self._stale = 0  # from this one on the statistic is to be computed again
        self.alarmed = False

    def add(self, at: float, good: int, bad: int) -> None:
        """Count trials that began at a time, in seconds; what is very late counts as later."""
        if good <= 0 and bad <= 0:
            return
        number = int(at / SLOT_S)
        slots = self._slots
        if slots and number <= slots[-1].number - FINE:
            number -= number % WIDE
        index = len(slots)
        while index and slots[index - 1].number > number:
            index -= 1
        if index and slots[index - 1].number == number:
            index -= 1
        elif index == 0 and len(slots) >= SLOTS:
            pass  # older than all that are kept
        else:
            slots.insert(index, _Slot(number))
            self._wide += index < self._wide
        slots[index].good += good
        slots[index].bad += bad
        self._stale = min(self._stale, index)
        self._widen()
        if len(slots) > SLOTS:
            self._compute()
            self._base = slots.pop(0).sums
            self._stale -= 1
            self._wide = max(self._wide - 1, 0)

    def look(self) -> bool:
        """Whether there is an alarm, now or since an earlier look.

        To be asked when all that is known of the trials has been counted: the bad ones alone, while
        the good ones beside them are on their way, would look like a change.
        """
        self.alarmed = self.alarmed or self.statistic() >= self._alarm
        return self.alarmed

    def change(self) -> tuple[int, int, float]:
        """Since when it is worst, as far as is kept: bad trials, all, and when that began.

        Of all moments the one with the largest likelihood ratio of the rate since then against the
        threshold.
        """
        best, found = -1.0, (0, 0, 0.0)
        good = bad = 0
        for slot in reversed(self._slots):
            good, bad = good + slot.good, bad + slot.bad
            ratio = _log_ratio(bad, good + bad, self._threshold)
            if ratio > best:
                best, found = ratio, (bad, good + bad, slot.number * SLOT_S)
        return found

    def statistic(self) -> float:
        """The sum over all moments and rates; an alarm where it reaches the bound."""
        self._compute()
        return sum(self._slots[-1].sums if self._slots else self._base)

    def _widen(self) -> None:
        """Take older slots together: the statistic behind the last of them holds for all."""
        slots, before = self._slots, self._slots[-1].number - FINE
        while slots[self._wide].number <= before:
            slot = slots[self._wide]
            number = slot.number - slot.number % WIDE
            if not self._wide or slots[self._wide - 1].number != number:
                slot.number = number
                self._wide += 1
                continue
            self._compute()
            wide = slots[self._wide - 1]
            wide.good, wide.bad, wide.sums = wide.good + slot.good, wide.bad + slot.bad, slot.sums
            del slots[self._wide]
            self._stale = len(slots)

    def _compute(self) -> None:
        slots = self._slots
        sums = slots[self._stale - 1].sums if self._stale else self._base
        for slot in slots[self._stale :]:
            good, bad = slot.good, slot.bad
            # The change may have come before any of them: that many moments are added.
            each_rate = zip(sums, self._good, self._bad, strict=True)
            computed = [
                min(
                    (each + good + bad) * math.exp(min(good * of_good + bad * of_bad, MAX_LOG)),
                    MOST,
                )
                for each, of_good, of_bad in each_rate
            ]
            sums = slot.sums = array("d", computed)
        self._stale = len(slots)


def rates_above(threshold: float) -> list[float]:
    """The worse rates in the mixture, at equal distances on the scale of log-odds."""
    first, last = _logit(min(threshold * LEAST_WORSE, (1 + threshold) / 2)), _logit(MOST_WORSE)
    step = (last - first) / (GRID - 1)
    return [1 / (1 + math.exp(-(first + step * at))) for at in range(GRID)]


def _log_ratio(bad: int, trials: int, threshold: float) -> float:
    """How much better their own rate explains these trials than the threshold does, if higher."""
    rate = bad / trials
    if rate <= threshold:
        return 0.0
    ratio = bad * math.log(rate / threshold)
    return ratio + (trials - bad) * math.log((1 - rate) / (1 - threshold)) if rate < 1 else ratio


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


class Rate:
    """How often something was bad lately: what is older than some 100 bad ones weighs less."""

    __slots__ = ("_most", "bad", "trials")

    def __init__(self, threshold: float) -> None:
        self._most = int(REMEMBERED / max(threshold, 1e-6))
        self.trials = 0
        self.bad = 0

    def add(self, good: int, bad: int) -> None:
        self.trials += good + bad
        self.bad += bad
        if self.trials > self._most:
            self.trials //= 2
            self.bad //= 2

    def upper(self) -> float:
        """The most that the true rate is, with 95 % confidence (Wilson's score interval, 1927)."""
        if not self.trials:
            return 1.0
        n, z = self.trials, CONFIDENCE_Z
        share = self.bad / n
        middle = share + z * z / (2 * n)
        spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return min((middle + spread) / (1 + z * z / n), 1.0)
