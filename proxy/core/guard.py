"""The judge: from counts of trials to a verdict on a route. Pure; times are passed in, in seconds.

A trial is one request of one client: what it repeats within TRIAL_S is counted once, by who counts
(a test that assumes independence is fooled by a client that retries). Each declared threshold has
a Detector of its own, which looks for the moment from which on the rate of bad trials is above it.

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
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from proxy.core.messages import LATENCY_BOUNDS_S
from proxy.core.policy import LatencyRule, Revert

TRIAL_S: Final = 10.0
SLOT_S: Final = 0.25
FINE: Final = 64  # the newest slots, which are kept apart
WIDE: Final = 8  # of older ones so many are one
SLOTS: Final = 128  # of those with trials: what is later than that counts with the oldest of them
GRID: Final = 10  # worse rates in the mixture
LEAST_WORSE: Final = 1.35  # the mildest of them, times the threshold
MOST_WORSE: Final = 0.999
MAX_LOG: Final = 600.0  # what an exp still holds
MOST: Final = 1e300
LATENCY_SLOT_S: Final = 2.0
CONFIDENCE_Z: Final = 1.6449  # one-sided 95 %
REMEMBERED: Final = 200.0  # bad trials at the threshold that the recent rate looks back on
STALE_S: Final = 300.0  # without a trial for so long there is no traffic to speak of

State = Literal["passing", "failing", "inconclusive"]


class Verdict(msgspec.Struct, frozen=True):
    """What the evidence of a route says about it; `evidence` is the reason in words and numbers.

    `cause` is the threshold that it fails: "divergence", "errors" or "latency"; else empty.
    """

    state: State
    evidence: str
    cause: str = ""


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
        self._alarm = len(worse) / false_alarm
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


class _Criterion:
    """One declared threshold: its detector, its recent rate, and what it counts, in words."""

    __slots__ = ("bad", "cause", "detector", "good", "rate", "threshold", "words")

    def __init__(self, cause: str, threshold: float, false_alarm: float, words: str) -> None:
        self.cause = cause
        self.threshold = threshold
        self.words = words
        self.detector = (
            Detector(threshold, false_alarm) if 0 < threshold < MOST_WORSE * MOST_WORSE else None
        )
        self.rate = Rate(threshold)
        self.good = self.bad = 0  # since the last change

    def add(self, at: float, good: int, bad: int) -> None:
        self.good += good
        self.bad += bad
        self.rate.add(good, bad)
        if self.detector is not None:
            self.detector.add(at, good, bad)

    @property
    def trials(self) -> int:
        return self.good + self.bad

    @property
    def fails(self) -> bool:
        if self.detector is None:
            return self.threshold <= 0 and self.bad > 0
        return self.detector.look()

    @property
    def holds(self) -> bool:
        """Whether there is evidence that the rate is below the threshold."""
        return self.rate.upper() <= self.threshold or self.threshold >= 1

    def says(self) -> str:
        bad, trials = self.rate.bad, self.rate.trials
        share = _share(bad / trials) if trials else "none"
        declared = _share(self.threshold)
        return f"{bad:,} of {trials:,} recent {self.words} ({share}, {declared} is declared)"

    def says_since_the_change(self) -> str:
        """What convicts it: what came since it became worse, not the good time before."""
        bad, trials, began = self.detector.change() if self.detector is not None else (0, 0, 0.0)
        if not trials or bad / trials <= self.threshold:
            return self.says()
        minutes, seconds = divmod(int(began) % 86_400, 60)
        since = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02} UTC"
        return (
            f"{bad:,} of {trials:,} {self.words} since {since} "
            f"({_share(bad / trials)}, {_share(self.threshold)} is declared)"
        )

    def says_more_is_needed(self) -> str:
        return (
            f"{self.says()}: it can still be {_share(self.rate.upper())}, "
            "which takes more of them to tell"
        )


class RouteGuard:
    """The evidence of one route since its last change, in bounded memory."""

    def __init__(self, revert: Revert, began_at: float) -> None:
        self._min_samples = revert.min_samples
        self.began_at = began_at
        self._last_at: float | None = None  # of a trial
        chance = revert.false_alarm
        self._divergence = (
            None
            if revert.divergence is None
            else _Criterion("divergence", revert.divergence, chance, "comparisons diverged")
        )
        self._errors = (
            None
            if revert.errors is None
            else _Criterion("errors", revert.errors, chance, "requests were failed by new alone")
        )
        self._latency: _Latency | None = None
        if revert.latency is not None:
            self._latency = _Latency(revert.latency, chance)

    def compared(self, at: float, equal: int, divergent: int) -> None:
        """Count trials whose answers were compared, by the time at which they began."""
        self._seen(at, equal + divergent)
        if self._divergence is not None:
            self._divergence.add(at, equal, divergent)

    def asked(self, at: float, fine: int, failed: int) -> None:
        """Count trials of which new was asked: what legacy fails as well is none."""
        self._seen(at, fine + failed)
        if self._errors is not None:
            self._errors.add(at, fine, failed)

    def took(self, at: float, legacy: Mapping[int, int], new: Mapping[int, int]) -> None:
        """Count how long both sides took: counts by bucket of LATENCY_BOUNDS_S."""
        if self._latency is not None:
            self._latency.took(at, legacy, new)

    def trials(self) -> int:
        """Trials since the last change."""
        criteria = (self._divergence, self._errors)
        return max((each.trials for each in criteria if each is not None), default=0)

    def verdict(self, now: float, *, compares: bool) -> Verdict:
        """The verdict now. `compares`: in its phase the route's answers are compared."""
        criteria: list[_Criterion] = []
        if self._divergence is not None and compares:
            criteria.append(self._divergence)
        if self._errors is not None:
            criteria.append(self._errors)
        if self._latency is not None and compares:
            criteria.append(self._latency.criterion)
        if not criteria:
            return Verdict("inconclusive", "No threshold of `revert` is declared for this phase.")
        needed = self._min_samples
        for each in criteria:
            if each.fails and each.trials >= needed:
                evidence = each.says_since_the_change()
                if each is not self._errors and self._errors is not None and self._errors.rate.bad:
                    # An answer that new failed diverges as well: that is worth to be known.
                    evidence = f"{evidence}; {self._errors.says_since_the_change()}"
                return Verdict("failing", f"{evidence}.", each.cause)
        if self._last_at is None:
            return Verdict("inconclusive", "New has not been asked since the last change.")
        if now - self._last_at > STALE_S:
            quiet = int(now - self._last_at) // 60
            return Verdict("inconclusive", f"New has not been asked for {quiet} minutes.")
        for each in criteria:
            if each.trials < needed:
                has = f"{each.trials:,} of the {needed:,} trials that are needed"
                return Verdict("inconclusive", f"Too early to tell: {has} since the last change.")
        for each in criteria:
            if not each.holds:
                return Verdict("inconclusive", f"{each.says_more_is_needed()}.")
        return Verdict("passing", f"{'; '.join(each.says() for each in criteria)}.")

    def _seen(self, at: float, trials: int) -> None:
        if trials and (self._last_at is None or at > self._last_at):
            self._last_at = at


class _Latency:
    """Whether new's quantile is above that of legacy times a factor.

    It is where more than 1 - quantile of new's times are above the product: again a rate with a
    threshold. Slowness comes in bursts, and what slows both sides down is not new's: of a slot
    of time only what exceeds legacy's own share counts, and at most FEW times what the threshold
    allows, so that one bad moment is no verdict.
    """

    FEW: Final = 5.0
    REFERENCE: Final = 20.0  # of legacy's times above the quantile, before anything is judged
    KEPT: Final = 20_000

    def __init__(self, rule: LatencyRule, false_alarm: float) -> None:
        self.factor = rule.factor
        self.allowed = 1 - rule.percentile / 100
        words = f"times of new were above {rule.factor:g} times legacy's p{rule.percentile}"
        self.criterion = _Criterion("latency", self.allowed, false_alarm, words)
        self._reference: dict[int, int] = {}
        self._size = 0
        self._slot = 0
        self._counts = [0, 0, 0, 0]  # legacy's times and those above, new's times and those above

    def took(self, at: float, legacy: Mapping[int, int], new: Mapping[int, int]) -> None:
        slot = int(at // LATENCY_SLOT_S)
        if slot > self._slot:
            self._close()
            self._slot = slot
        if self._size * self.allowed >= self.REFERENCE:
            limit = self._limit()
            for first, buckets in ((0, legacy), (2, new)):
                self._counts[first] += sum(buckets.values())
                self._counts[first + 1] += sum(n for at, n in buckets.items() if at > limit)
        for bucket, count in legacy.items():
            self._reference[bucket] = self._reference.get(bucket, 0) + count
            self._size += count
        if self._size > self.KEPT:
            halves = {bucket: count // 2 for bucket, count in self._reference.items()}
            self._reference = {bucket: count for bucket, count in halves.items() if count}
            self._size = sum(self._reference.values())

    def _close(self) -> None:
        of_legacy, slow_of_legacy, of_new, slow_of_new = self._counts
        self._counts = [0, 0, 0, 0]
        if not of_new:
            return
        shared = math.ceil(slow_of_legacy * of_new / of_legacy) if of_legacy else 0
        most = 1 + int(self.FEW * self.allowed * of_new)
        bad = max(min(slow_of_new - shared, most), 0)
        self.criterion.add(self._slot * LATENCY_SLOT_S, of_new - bad, bad)

    def _limit(self) -> int:
        """The last bucket that is not above the factor times legacy's quantile."""
        wanted, below = (1 - self.allowed) * self._size, 0
        found = 0
        for bucket, count in sorted(self._reference.items()):
            found = bucket
            below += count
            if below >= wanted:
                break
        # Buckets are a constant factor apart.
        steps = math.log(self.factor) / math.log(LATENCY_BOUNDS_S[1] / LATENCY_BOUNDS_S[0])
        return found + math.ceil(steps)


def _share(share: float) -> str:
    return f"{share * 100:.3g}%"
