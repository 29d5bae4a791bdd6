"""What a route's answers change by themselves, and what of its divergences that leaves.

Legacy's own two answers to one request (a control pair) say in which places it differs from
itself. Control pairs come from chance (a share of all reads, so their rate is that of the route)
or from a divergence (its request is asked again: `asked`). An ask has one of three outcomes in a
place: legacy differed from itself (S), legacy agreed and the second answers of both sides did too,
so that it vanished (V), or legacy agreed and new still differs (P).

1. A place in which legacy was never seen to differ from itself counts with each P. Within its
   first ENOUGH control pairs no divergence of it counts without one.
2. A place that was seen to differ by itself counts as far as its divergences exceed that. Noise
   that comes and goes with probability p gives S : P = p : (1 - p) p, so P exceeds noise by at
   least P - S (1 - p) of all asks; and of all pairs, the share that diverges exceeds p by what is
   real.
   The larger of both lower bounds is the weight with which a divergence counts, saved up until it
   makes a whole one: so 0.4 counts two in five, without any chance.
3. Lower and upper bounds are those of Wilson (1927), one-sided at Z.
4. Where asking is not possible: a place of rule 2 counts by its weight; one of rule 1 counts if it
   has ENOUGH control pairs and, with rechecks on, a P; else nothing can be said.

Counters are halved every HALF_LIFE pairs, so that what changed is learned anew. Pure.
"""

import enum
import math
from collections.abc import Collection
from typing import Final, TypeAlias

import msgspec

ENOUGH: Final = 20  # control pairs
LEAST_REAL: Final = 0.1  # of a noisy place's divergences: with less it is called noise
HALF_LIFE: Final = 20_000  # pairs that were compared
MAX_PLACES: Final = 500
Z: Final = 3.0  # one-sided 99.9 %: the bounds are looked at again with each pair
VERSION: Final = 1

Place: TypeAlias = tuple[str, str]  # wildcarded path, kind


class Verdict(enum.Enum):
    """What a pair that diverged counts as."""

    DIVERGENT = "divergent"
    NOISE = "noise"
    ASK = "ask"  # nothing yet: the request is to be asked again first
    UNVERIFIED = "unverified"  # no evidence either way


class Judgement(msgspec.Struct, frozen=True):
    """The verdict on a pair, and the places of it that are noise. `new_too`: whom to ask."""

    verdict: Verdict
    noise: frozenset[Place] = frozenset()
    new_too: bool = False


class PlaceSummary(msgspec.Struct, frozen=True):
    """What is known of a place: `share` of `samples` control pairs in which legacy differed."""

    share: float
    samples: int
    counted: int  # divergences that counted
    explained: int  # divergences that did not
    is_noise: bool


class _Stats(msgspec.Struct):
    """The counters of one place; see the module's text for S, V and P."""

    diverged: float = 0.0
    controls: float = 0.0  # by chance, in which it differed
    itself: float = 0.0  # S
    vanished: float = 0.0  # V
    persisted: float = 0.0  # P
    credit: float = 0.0
    counted: int = 0
    explained: int = 0
    seen: int = 0

    @property
    def asks(self) -> float:
        return self.itself + self.vanished + self.persisted

    @property
    def is_noisy(self) -> bool:
        return self.itself + self.controls > 0

    def halve(self) -> None:
        self.diverged /= 2
        self.controls /= 2
        self.itself /= 2
        self.vanished /= 2
        self.persisted /= 2


class _Kept(msgspec.Struct, array_like=True):
    """A route's noise as it is stored."""

    version: int
    compared: float
    controls: float
    places: dict[str, _Stats]


class RouteNoise:
    """What is known of one route."""

    def __init__(self) -> None:
        self._compared = 0.0
        self._controls = 0.0
        self._places: dict[Place, _Stats] = {}
        self._clock = 0
        self.forgotten = 0  # places that gave way to newer ones

    def __bool__(self) -> bool:
        return bool(self._compared or self._controls or self._places)

    # What is seen

    def compared(self, pairs: int) -> None:
        """So many more pairs were compared, equal ones included."""
        self._compared += pairs
        while self._compared >= 2 * HALF_LIFE:
            self._compared /= 2
            self._controls /= 2
            for stats in self._places.values():
                stats.halve()

    def control(self, differing: Collection[Place], pairs: int = 1) -> None:
        """Control pairs by chance, and the places in which they differed."""
        self._controls += pairs
        for place in differing:
            self._stats(place).controls += 1

    def judge(
        self, places: Collection[Place], *, recheck: bool, can_ask: bool, again: bool = False
    ) -> Judgement:
        """What a pair counts as that diverged in these places.

        `again`: the pair was judged before and could not be asked, so it is not counted twice.
        """
        verdicts: dict[Place, Verdict] = {}
        for place in places:
            stats = self._stats(place)
            if not again:
                stats.diverged += 1
            verdicts[place] = self._verdict(stats, recheck, can_ask)
        of_all = set(verdicts.values())
        noise = {place for place, verdict in verdicts.items() if verdict is Verdict.NOISE}
        if Verdict.ASK in of_all:
            return Judgement(Verdict.ASK, frozenset(noise), recheck)
        if Verdict.DIVERGENT in of_all:
            # What nothing can be said of counts no more than noise does.
            counts = {place for place, v in verdicts.items() if v is Verdict.DIVERGENT}
            noise = verdicts.keys() - counts
            self._count(places, noise)
            return Judgement(Verdict.DIVERGENT, frozenset(noise))
        if Verdict.UNVERIFIED in of_all:
            return Judgement(Verdict.UNVERIFIED, frozenset(noise))
        self._explain(places)
        return Judgement(Verdict.NOISE, frozenset(noise))

    def asked(
        self,
        places: Collection[Place],
        control_differing: Collection[Place],
        recheck_differing: Collection[Place] | None,
    ) -> Judgement:
        """What it counts as, now that its request was asked again.

        `control_differing`: where legacy's two answers differ; `recheck_differing`: where the
        second answers of both sides do, None if new was not asked again.
        """
        noise = set()
        for place in places:
            stats = self._stats(place)
            if place in control_differing:
                stats.itself += 1
                noise.add(place)
            elif recheck_differing is not None and place not in recheck_differing:
                stats.vanished += 1
                noise.add(place)
            else:
                stats.persisted += 1
                if stats.is_noisy and not self._spend(stats):
                    noise.add(place)
        if len(noise) < len(set(places)):
            self._count(places, noise)
            return Judgement(Verdict.DIVERGENT, frozenset(noise))
        self._explain(places)
        return Judgement(Verdict.NOISE, frozenset(noise))

    # What is known

    def summary(self) -> dict[Place, PlaceSummary]:
        """What is known of each place."""
        return {place: self._summary(stats) for place, stats in self._places.items()}

    def place(self, place: Place) -> PlaceSummary | None:
        """What is known of one place."""
        stats = self._places.get(place)
        return self._summary(stats) if stats is not None else None

    def encode(self) -> bytes:
        """Everything, to be kept over a restart."""
        places = {"\n".join(place): stats for place, stats in self._places.items()}
        kept = _Kept(VERSION, self._compared, self._controls, places)
        return msgspec.msgpack.encode(kept)

    @classmethod
    def decode(cls, data: bytes) -> "RouteNoise":
        """What `encode` made; nothing known where that is of another version, or damaged."""
        noise = cls()
        try:
            kept = msgspec.msgpack.decode(data, type=_Kept)
        except msgspec.MsgspecError:
            return noise
        if kept.version == VERSION:
            noise._compared, noise._controls = kept.compared, kept.controls
            for name, stats in list(kept.places.items())[:MAX_PLACES]:
                path, _, kind = name.rpartition("\n")
                noise._places[path, kind] = stats
            noise._clock = max((stats.seen for stats in noise._places.values()), default=0)
        return noise

    # Inside

    def _verdict(self, stats: _Stats, recheck: bool, can_ask: bool) -> Verdict:
        if stats.is_noisy:
            if can_ask and stats.asks < ENOUGH:
                return Verdict.ASK
            if not self._save(stats):
                return Verdict.NOISE
            if can_ask and recheck:
                return Verdict.ASK  # its weight is spent if it persists
            stats.credit -= 1.0
            return Verdict.DIVERGENT
        # A pair by chance in which nothing differed is one of this place as well.
        verified = self._controls + stats.asks >= ENOUGH
        if can_ask and (recheck or not verified):
            return Verdict.ASK
        if verified and (not recheck or stats.persisted > stats.vanished):
            return Verdict.DIVERGENT
        return Verdict.UNVERIFIED

    def _save(self, stats: _Stats) -> bool:
        """Add the weight of one divergence; whether a whole one is there."""
        if stats.credit < 1.0:
            stats.credit += self._weight(stats)
        return stats.credit >= 1.0

    def _spend(self, stats: _Stats) -> bool:
        """A divergence of a noisy place persisted: whether it counts."""
        if not self._save(stats):
            return False
        stats.credit -= 1.0
        return True

    def _weight(self, stats: _Stats) -> float:
        """The share of a noisy place's divergences that noise does not explain: a lower bound."""
        by_asking = 0.0
        asks = stats.asks
        if asks >= ENOUGH:
            excess = stats.persisted - stats.itself * (1.0 - self._least_noise(stats))
            by_asking = lower(max(excess, 0.0), asks)
        by_rate = 0.0
        if self._controls >= ENOUGH and self._compared >= ENOUGH:
            most = upper(stats.controls, self._controls)
            least = lower(min(stats.diverged, self._compared), self._compared)
            rate = max(stats.diverged / self._compared, 1e-9)
            by_rate = max(least - most, 0.0) / rate
        return min(max(by_asking, by_rate), 1.0)

    def _least_noise(self, stats: _Stats) -> float:
        """How often legacy differs from itself there, at least; by chance where that is enough."""
        if self._controls >= ENOUGH:
            return lower(min(stats.controls, self._controls), self._controls)
        return lower(stats.itself, stats.asks)

    def _count(self, places: Collection[Place], noise: Collection[Place]) -> None:
        for place in set(places):
            stats = self._stats(place)
            if place in noise:
                stats.explained += 1
            else:
                stats.counted += 1

    def _explain(self, places: Collection[Place]) -> None:
        for place in set(places):
            self._stats(place).explained += 1

    def _summary(self, stats: _Stats) -> PlaceSummary:
        samples = self._controls + stats.asks
        share = (stats.controls + stats.itself) / samples if samples else 0.0
        return PlaceSummary(
            min(share, 1.0),
            round(samples),
            stats.counted,
            stats.explained,
            stats.is_noisy and self._weight(stats) < LEAST_REAL,
        )

    def _stats(self, place: Place) -> _Stats:
        self._clock += 1
        stats = self._places.get(place)
        if stats is None:
            if len(self._places) >= MAX_PLACES:
                oldest = min(self._places, key=lambda each: self._places[each].seen)
                del self._places[oldest]
                self.forgotten += 1
            stats = self._places[place] = _Stats()
        stats.seen = self._clock
        return stats


def lower(hits: float, of: float) -> float:
    """Wilson's lower bound of a share, one-sided at Z."""
    return _wilson(hits, of, -Z) if hits > 0 else 0.0


def upper(hits: float, of: float) -> float:
    """Wilson's upper bound of a share, one-sided at Z."""
    return _wilson(hits, of, Z)


def _wilson(hits: float, of: float, z: float) -> float:
    # E. B. Wilson, Probable inference, the law of succession, and statistical inference (1927).
    if of <= 0:
        return 0.0 if z < 0 else 1.0
    share = min(max(hits / of, 0.0), 1.0)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return min(max((share + z * z / (2 * of) + spread) / (1 + z * z / of), 0.0), 1.0)
