"""The judge: from counts of trials to a verdict on a route. Pure; times are passed in, in seconds.

A trial is one request of one client: what it repeats within TRIAL_S is counted once, by who counts
(a test that assumes independence is fooled by a client that retries). Each declared threshold has
a Detector of its own, which looks for the moment from which on the rate of bad trials is above it.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from proxy.core.detection import MOST_WORSE, Detector, Rate
from proxy.core.messages import LATENCY_BOUNDS_S
from proxy.core.policy import LatencyRule, Revert

TRIAL_S: Final = 10.0
LATENCY_SLOT_S: Final = 2.0
RECOVERED_S: Final = 60.0  # without another alarm, before what has failed can be well again
STALE_S: Final = 300.0  # without a trial for so long there is no traffic to speak of

State = Literal["passing", "failing", "inconclusive"]


class Verdict(msgspec.Struct, frozen=True):
    """What the evidence of a route says about it; `evidence` is the reason in words and numbers.

    `cause` is the threshold that it fails: "divergence", "errors" or "latency"; else empty.
    """

    state: State
    evidence: str
    cause: str = ""


class _Relapse(NamedTuple):
    """What came since an alarm: it fails until that is known to be well, or alarms again."""

    at: float
    convicted: str  # what was said of the alarm
    detector: Detector
    rate: Rate


class _Criterion:
    """One declared threshold: its detector, its recent rate, and what it counts, in words."""

    __slots__ = (
        "_false_alarm",
        "_last_at",
        "bad",
        "cause",
        "detector",
        "good",
        "rate",
        "relapse",
        "threshold",
        "words",
    )

    def __init__(self, cause: str, threshold: float, false_alarm: float, words: str) -> None:
        self.cause = cause
        self.threshold = threshold
        self.words = words
        self._false_alarm = false_alarm
        self.detector = self._detector()
        self.rate = Rate(threshold)
        self.good = self.bad = 0  # since the last change
        self.relapse: _Relapse | None = None  # there was an alarm
        self._last_at = 0.0

    def _detector(self) -> Detector | None:
        """None where the rate is not to be found out: one is too many, or all are not enough."""
        if 0 < self.threshold < MOST_WORSE * MOST_WORSE:
            return Detector(self.threshold, self._false_alarm)
        return None

    def add(self, at: float, good: int, bad: int) -> None:
        self.good += good
        self.bad += bad
        self.rate.add(good, bad)
        self._last_at = max(self._last_at, at)
        if self.detector is not None:
            self.detector.add(at, good, bad)
        if self.relapse is not None:
            self.relapse.rate.add(good, bad)
            self.relapse.detector.add(at, good, bad)

    @property
    def trials(self) -> int:
        return self.good + self.bad

    @property
    def fails(self) -> bool:
        if self.detector is None:
            return self.threshold <= 0 and self.bad > 0
        if not self.detector.look():
            return False
        since, again = self.relapse, self._detector()
        if since is None or since.detector.look():
            assert again is not None
            convicted = (since.detector if since is not None else self.detector).change()
            self.relapse = _Relapse(
                self._last_at, self._says_of(*convicted), again, Rate(self.threshold)
            )
        elif self._last_at - since.at >= RECOVERED_S and since.rate.upper() <= self.threshold:
            self.detector, self.rate, self.relapse = again, since.rate, None
            return False
        return True

    @property
    def holds(self) -> bool:
        """Whether there is evidence that the rate is below the threshold."""
        if self.threshold <= 0:
            return not self.bad  # no number of good ones says more than that
        return self.rate.upper() <= self.threshold or self.threshold >= 1

    def says(self) -> str:
        bad, trials = self.rate.bad, self.rate.trials
        share = _share(bad / trials) if trials else "none"
        declared = _share(self.threshold)
        return f"{bad:,} of {trials:,} recent {self.words} ({share}, {declared} is declared)"

    def says_since_the_change(self) -> str:
        """What convicts it: what came since it became worse, not the good time before or after."""
        if self.relapse is None:
            return self._says_of(*(self.detector.change() if self.detector else (0, 0, 0.0)))
        since = self.relapse.rate
        later = f"; {since.bad:,} of {since.trials:,} since then" if since.trials else ""
        return self.relapse.convicted + later

    def _says_of(self, bad: int, trials: int, began: float) -> str:
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
                why = f"Too early to tell of {each.cause}: {has} since the last change"
                if self._latency is not None and each is self._latency.criterion:
                    why += self._latency.says_what_is_missing()
                return Verdict("inconclusive", f"{why}.")
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

    def says_what_is_missing(self) -> str:
        """Of legacy's times, before new's are held against them."""
        wanted = math.ceil(self.REFERENCE / self.allowed)
        if self._size >= wanted:
            return ""
        return f", and {self._size:,} of {wanted:,} times of legacy"

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
