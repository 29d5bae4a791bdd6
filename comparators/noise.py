"""Learned noise of a route: which divergences count, which are what legacy does by itself.

The caller compares and asks; this only keeps counts and decides. The rules:

1. A place that was never seen differing by itself is *clean*. Its divergence is asked again:
   legacy while the place has fewer than `min_controls` control pairs of its own, and both sides
   always where `recheck` is on. It counts, from the very first on, if legacy's two answers agree
   there and the difference is there again. One that vanished is noise.
2. In a place that was seen differing by itself, agreement may be chance (a rotating ad). Nothing
   counts until the divergences surely exceed the noise; then the excess share of them does, by a
   credit that each adds to and each counted one spends (`comparators.excess` has the statistics).
3. Once noise explains a place, it is asked again only at each `reask_every`-th divergence.
4. When asking is impossible, a clean place counts if it is verified (enough control pairs
   without a difference, and confirmed by a recheck where that is on; or its rate alone surely
   exceeds what controls can hide), a noisy one by rule 2; what is not known is `UNVERIFIED`. Once
   it becomes known, the ledger (`summary`) settles it; the judgement given stays as it was.

Bounded: at most `places` a route; of those the least recently seen goes first, one seen once
before all others. Evidence halves with each `half_life_pairs` compared.
"""

import enum
import hashlib
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from comparators.tally import (
    Differing,
    Exposure,
    Place,
    PlaceNoise,
    Standing,
    Tally,
    place_noise,
)

_VERSION: Final = 2  # 1 had other counts
_MAX_PATH: Final = 1000
_CREDIT_LIMIT: Final = 2.0
_STANDING_LASTS: Final = 8  # divergences for which the standing of a place is not worked out anew
_SCAN_LIMIT: Final = 64  # how far an eviction looks for a place that was seen only once
_ALMOST_ONE: Final = 1 - 1e-9


class Verdict(enum.Enum):
    """What a divergent pair comes to."""

    DIVERGENT = "divergent"  # counts now
    NOISE = "noise"  # explained
    ASK = "ask"  # ask legacy again, then call `asked` (or `gave_up`)
    UNVERIFIED = "unverified"  # could not be asked and nothing is known: no evidence either way


class Judgement(msgspec.Struct, frozen=True):
    """The verdict on a pair and, unless it is ASK, on each of its places.

    A pair is divergent if one place counts, and noise only if all are. Beside a place that counts,
    one of which nothing is known is among the noise: it does not count.
    """

    verdict: Verdict
    new_too: bool = False  # ASK: new as well (the recheck)
    counting: tuple[Place, ...] = ()
    noise: tuple[Place, ...] = ()
    unverified: tuple[Place, ...] = ()


class NoiseBounds(msgspec.Struct, frozen=True):
    """The constants of the model."""

    half_life_pairs: float = 50_000
    half_life_asks: float = 500
    places: int = 500
    min_controls: int = 20
    reask_every: int = 32


class _Encoded(msgspec.Struct, array_like=True):
    clock: float
    pairs: float
    controls: float
    forgotten: int
    recheck: bool
    tallies: list[Tally]


class RouteNoise:
    """The noise of one route. Not thread-safe; no call takes long or raises."""

    def __init__(self, bounds: NoiseBounds = NoiseBounds()) -> None:  # noqa: B008 (frozen)
        self._bounds = bounds
        self._clock = 0.0  # pairs compared, ever
        self._pairs = 0.0  # decayed
        self._controls = 0.0  # decayed
        self._recheck = True  # as last told
        self._tallies: dict[Place, Tally] = {}  # the least recently seen first
        self._standings: dict[Place, tuple[Standing, float]] = {}  # until more is known
        self.forgotten = 0  # places that gave way to others

    def __bool__(self) -> bool:
        return bool(self._clock or self._controls or self._tallies)

    # What happened

    def compared(self, n: int = 1) -> None:
        """So many more pairs were compared, equal and diverging ones included.

        Tell it before the divergences among them are judged: a rate of divergence that comes out
        too low errs towards noise. Pairs that were shed are not compared.
        """
        keep = 0.5 ** (n / self._bounds.half_life_pairs)
        self._pairs = self._pairs * keep + _decayed_sum(n, keep)
        self._controls *= keep
        self._clock += n

    def control(self, differing: Collection[Place], n: int = 1) -> None:
        """A control taken by chance: legacy, asked twice, differs from itself in these places.

        `n` above 1 only where none differ. Controls of asks are not to be told here.
        """
        self._controls += n
        for place in _keys(differing):
            self._seen(place).differed += 1
            self._standings.pop(place, None)

    def judge(self, places: Collection[Place], *, recheck: bool, can_ask: bool) -> Judgement:
        """A pair diverged in these places (none: in its body as a whole)."""
        self._recheck = recheck
        route = self._exposure()
        judged = [(place, self._seen(place)) for place in _keys(places) or [("body", "")]]
        ask = new_too = False
        for place, tally in judged:
            tally.diverged += 1
            tally.divergences += 1
            tally.unasked += 1
            if tally.divergences % _STANDING_LASTS == 0:
                self._standings.pop(place, None)
            self._settle(tally, route)
            if can_ask:
                standing, _ = self._standing(tally, route)
                if self._wants_ask(tally, standing, route):
                    ask = True
                    new_too = new_too or (recheck and standing is not Standing.NOISE)
        if ask:
            return Judgement(Verdict.ASK, new_too=new_too)
        return _judgement((place, self._unasked(tally, route)) for place, tally in judged)

    def asked(
        self,
        places: Collection[Place],
        control_differing: Collection[Place],
        recheck_differing: Collection[Place] | None,
        crossed_differing: Collection[Place] | None = None,
    ) -> Judgement:
        """What came of an ASK for the pair that diverged in `places`.

        `control_differing`: where legacy's two answers differ. `recheck_differing`: where both
        sides' second answers differ; None if new was not asked. `crossed_differing`: where
        legacy's second answer differs from new's first; it makes the estimate for noisy places
        exact, without it (None) that errs towards noise.
        """
        route = self._exposure()
        control = Differing(control_differing)
        recheck = None if recheck_differing is None else Differing(recheck_differing)
        crossed = None if crossed_differing is None else Differing(crossed_differing)
        results: list[tuple[Place, Verdict]] = []
        keys = _keys(places) or [("body", "")]
        for place in keys:
            tally = self._seen(place)
            self._standings.pop(place, None)
            path = place[0]
            redone = control.at(path)
            if redone is None:
                results.append((place, self._unasked(tally, route)))
                continue
            tally.answer(self._bounds.half_life_asks)
            if redone:
                tally.redone += 1
                tally.unplaced += crossed is None
                tally.crossed += crossed is not None and crossed.at(path) is False
                results.append((place, _explained(tally)))
            elif recheck is not None and recheck.at(path) is False:
                tally.vanished += 1
                tally.gone += 1
                results.append((place, _explained(tally)))
            else:
                tally.agreed += 1
                rechecked = recheck is not None and recheck.at(path) is True
                tally.confirmed += rechecked
                sure = rechecked or not self._recheck
                verdict = self._agreed(tally, route) if sure else self._unasked(tally, route)
                results.append((place, verdict))
            self._standings.pop(place, None)
            self._settle(tally, route)
        self._hint(control_differing, keys)
        return _judgement(results)

    def gave_up(self, places: Collection[Place]) -> Judgement:
        """An ASK could not be made after all (limits, no answer, a worker gone)."""
        route = self._exposure()
        keys = _keys(places) or [("body", "")]
        return _judgement((place, self._unasked(self._seen(place), route)) for place in keys)

    # What is known

    def summary(self) -> list[PlaceNoise]:
        """Every place that diverged or differed by itself, the most counted ones first."""
        route = self._exposure()
        self._standings.clear()
        for tally in self._tallies.values():
            tally.age(self._clock, self._bounds.half_life_pairs)
            self._settle(tally, route)
        found = [place_noise(tally, route) for tally in self._tallies.values()]
        return sorted(found, key=lambda place: (-place.counted, -place.divergences, place.path))

    def place(self, place: Place) -> PlaceNoise | None:
        """What is known of one place."""
        tally = self._tallies.get(_key(place))
        if tally is None:
            return None
        tally.age(self._clock, self._bounds.half_life_pairs)
        return place_noise(tally, self._exposure())

    def encode(self) -> bytes:
        """For the store."""
        state = _Encoded(
            self._clock,
            self._pairs,
            self._controls,
            self.forgotten,
            self._recheck,
            list(self._tallies.values()),
        )
        return msgspec.msgpack.encode((_VERSION, state))

    @classmethod
    def decode(cls, data: bytes, bounds: NoiseBounds = NoiseBounds()) -> "RouteNoise":  # noqa: B008
        """What `encode` made; nothing known where that is of another version, or damaged."""
        noise = cls(bounds)
        try:
            version, raw = msgspec.msgpack.decode(data, type=tuple[int, msgspec.Raw])
            if version != _VERSION:
                return noise
            state = msgspec.msgpack.decode(raw, type=_Encoded)
        except msgspec.MsgspecError:
            return noise
        noise._clock, noise._pairs, noise._controls = state.clock, state.pairs, state.controls
        noise.forgotten, noise._recheck = state.forgotten, state.recheck
        for tally in state.tallies[-bounds.places :]:
            noise._tallies[tally.path, tally.kind] = tally
        return noise

    # How it is decided

    def _wants_ask(self, tally: Tally, standing: Standing, route: Exposure) -> bool:
        """Rules 1 and 3."""
        few = self._bounds.min_controls
        if standing is Standing.OPEN:
            return True
        if standing is Standing.NOISE:
            learning = tally.asked < few and not tally.is_settled_by_asks(route)
            return learning or tally.unasked >= self._bounds.reask_every
        if standing is Standing.EXCESS:
            return self._recheck or tally.unasked >= self._bounds.reask_every
        return self._recheck or not tally.is_controlled(route, few)

    def _agreed(self, tally: Tally, route: Exposure) -> Verdict:
        """Legacy said the same again, and new too where it was asked."""
        standing, share = self._standing(tally, route)
        if standing is Standing.CLEAN:
            return _counted(tally)
        if standing is Standing.EXCESS:
            # Chance agreement is taken off: of those that agree, this share is real.
            return _by_credit(tally, min(share * tally.asked / tally.agreed, 1.0))
        return _left_open(tally) if standing is Standing.OPEN else _explained(tally)

    def _unasked(self, tally: Tally, route: Exposure) -> Verdict:
        """Rule 4, and places that need no asking."""
        standing, share = self._standing(tally, route)
        if standing is Standing.EXCESS:
            return _by_credit(tally, share)
        if standing is Standing.NOISE:
            return _explained(tally)
        if standing is Standing.CLEAN and self._is_verified(tally, route):
            return _by_credit(tally, share)
        return _left_open(tally)

    def _settle(self, tally: Tally, route: Exposure) -> None:
        """Rule 4: what was left open, once it is known."""
        if tally.unverified:
            standing, share = self._standing(tally, route)
            if standing is not Standing.CLEAN or self._is_verified(tally, route):
                tally.settle(standing, share)

    def _is_verified(self, tally: Tally, route: Exposure) -> bool:
        return tally.is_verified(route, self._recheck, self._bounds.min_controls)

    def _standing(self, tally: Tally, route: Exposure) -> tuple[Standing, float]:
        place = (tally.path, tally.kind)
        found = self._standings.get(place)
        if found is None:
            found = self._standings[place] = tally.standing(route)
        return found

    def _hint(self, differing: Collection[Place], judged: list[Place]) -> None:
        """Places that differ by themselves while another one was asked about are not clean.

        Only that: as rates, asks made because of other places would be biased.
        """
        elsewhere = Differing(judged)
        for place in _keys(differing):
            if elsewhere.at(place[0]) is not True:
                self._seen(place).hints += 1
                self._standings.pop(place, None)

    def _exposure(self) -> Exposure:
        return Exposure(self._pairs, self._controls)

    def _seen(self, place: Place) -> Tally:
        """The tally of the place, decayed, now the most recently seen."""
        tally = self._tallies.pop(place, None)
        if tally is None:
            if len(self._tallies) >= self._bounds.places:
                self._evict()
            tally = Tally(*place, at=self._clock)
            if self.forgotten:  # perhaps this one: what came before it is not known
                # The pair at hand is among those compared already.
                tally.pairs_before = max(self._pairs - 1, 0.0)
                tally.controls_before = max(self._controls - 1, 0.0)
        else:
            tally.age(self._clock, self._bounds.half_life_pairs)
        tally.seen += 1
        self._tallies[place] = tally
        return tally

    def _evict(self) -> None:
        oldest = next(iter(self._tallies))
        for place, _ in zip(self._tallies, range(_SCAN_LIMIT), strict=False):
            if self._tallies[place].seen == 1:
                oldest = place
                break
        del self._tallies[oldest]
        self._standings.pop(oldest, None)
        self.forgotten += 1


def _decayed_sum(n: int, keep: float) -> float:
    """What n pairs, one after the other, leave of a count that decays to `keep` meanwhile."""
    if keep in (0.0, 1.0) or n <= 0:
        return float(n if keep else 0)
    each: float = keep ** (1 / n)
    return (1 - keep) / (1 - each)


def _keys(places: Collection[Place]) -> list[Place]:
    return list(dict.fromkeys(map(_key, places)))


def _key(place: Place) -> Place:
    """The place with its path cut, so that memory stays bounded."""
    path, kind = place
    if len(path) <= _MAX_PATH:
        return place
    digest = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{path[:_MAX_PATH]}~{digest}", kind


def _counted(tally: Tally) -> Verdict:
    tally.counted += 1
    return Verdict.DIVERGENT


def _explained(tally: Tally) -> Verdict:
    tally.explained += 1
    return Verdict.NOISE


def _left_open(tally: Tally) -> Verdict:
    tally.unverified += 1
    return Verdict.UNVERIFIED


def _by_credit(tally: Tally, share: float) -> Verdict:
    """Count this share of divergences, evenly spread and without chance."""
    tally.credit = min(tally.credit + share, _CREDIT_LIMIT)
    if tally.credit < _ALMOST_ONE:
        return _explained(tally)
    tally.credit -= 1
    return _counted(tally)


def _judgement(results: Iterable[tuple[Place, Verdict]]) -> Judgement:
    by_verdict: dict[Verdict, list[Place]] = {verdict: [] for verdict in Verdict}
    for place, verdict in results:
        by_verdict[verdict].append(place)
    counting, unverified = by_verdict[Verdict.DIVERGENT], by_verdict[Verdict.UNVERIFIED]
    if counting:
        by_verdict[Verdict.NOISE] += unverified
        unverified = []
    pair = Verdict.DIVERGENT if counting else Verdict.UNVERIFIED if unverified else Verdict.NOISE
    return Judgement(
        pair,
        counting=tuple(counting),
        noise=tuple(by_verdict[Verdict.NOISE]),
        unverified=tuple(unverified),
    )
