"""What is known of one place of a route: decaying counts, and what follows from them.

A place is a difference path with its indices and ids as `*`, and a kind: what a signature is
within its route. Counts of evidence decay with the pairs compared; the ledger (how many
divergences were counted, explained, left open) does not.
"""

import enum
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from comparators.excess import NEGLIGIBLE, Z_USUAL, Excess, of_asks, of_rates, wilson

Place = tuple[str, str]  # wildcarded path, kind

# Half a count, as counts decay: with more that differs by itself a place is not clean, and with
# at most so many fewer control pairs than there should be they are enough.
_HALF: Final = 0.5
# Noise explains a place when at most this share of its divergences can be more than noise.
_SETTLED: Final = 0.5


class Standing(enum.Enum):
    """How divergences of a place are taken."""

    CLEAN = "clean"  # never seen differing by itself: each verified divergence counts
    EXCESS = "excess"  # noisy, and surely diverging beyond that: the excess share counts
    NOISE = "noise"  # noisy, and that explains (most of) it
    OPEN = "open"  # noisy, and too little is known


class Exposure(msgspec.Struct, frozen=True):
    """What a place was exposed to: (decayed) pairs compared and controls taken by chance."""

    pairs: float
    controls: float


class Tally(msgspec.Struct, array_like=True):
    """One place. Floats decay, integers do not."""

    path: str
    kind: str
    at: float  # of the route's clock, when it was last decayed
    pairs_before: float = 0.0  # exposure that lies before this tally began
    controls_before: float = 0.0
    diverged: float = 0.0  # pairs
    differed: float = 0.0  # controls taken by chance
    asked: float = 0.0  # divergences after which legacy was asked again ...
    agreed: float = 0.0  # ... and said the same, new too where it was asked
    crossed: float = 0.0  # ... and said what new had said
    redone: float = 0.0  # ... and differed from its first answer
    unplaced: float = 0.0  # ... of these, where it is unknown whether it said what new had said
    vanished: float = 0.0  # ... and said the same, but new agreed with it this time
    hints: float = 0.0  # differed by itself when asked because of another place
    credit: float = 0.0  # share of a divergence that is due to be counted
    unasked: int = 0  # divergences since it was last asked
    confirmed: int = 0  # divergences that were there again at a recheck
    seen: int = 0
    divergences: int = 0  # = counted + explained + unverified, but for asks under way
    counted: int = 0
    explained: int = 0
    unverified: int = 0
    gone: int = 0  # of the explained, those that vanished when asked again

    def age(self, clock: float, half_life: float) -> None:
        """Decay to this time of the route's clock."""
        if clock > self.at:
            keep = 0.5 ** ((clock - self.at) / half_life)
            self.at = clock
            self.pairs_before *= keep
            self.controls_before *= keep
            self.diverged *= keep
            self.differed *= keep
            self.hints *= keep
            self._fade(keep)

    def answer(self, half_life: float) -> None:
        """One more ask came back: older ones fade, so that a change is seen among few asks."""
        self._fade(0.5 ** (1 / half_life))
        self.asked += 1
        self.unasked = 0

    def _fade(self, keep: float) -> None:
        self.asked *= keep
        self.agreed *= keep
        self.crossed *= keep
        self.redone *= keep
        self.unplaced *= keep
        self.vanished *= keep

    def is_clean(self) -> bool:
        return self.differed + self.redone + self.hints < _HALF

    def by_rates(self, route: Exposure) -> Excess | None:
        pairs, controls = self.exposed(route)
        return of_rates(self.diverged, pairs, self.differed, controls)

    def by_asks(self, route: Exposure) -> Excess | None:
        """Where crossing is unknown, asks stand in for controls taken by chance.

        They differ at least as often as those do (a divergence is likelier on a target with more
        noise), so that this errs towards noise.
        """
        if self.unplaced < _HALF:
            return of_asks(self.agreed, self.crossed, self.asked)
        pairs, _ = self.exposed(route)
        return of_rates(self.diverged, pairs, self.redone, self.asked)

    def exposed(self, route: Exposure) -> tuple[float, float]:
        """Pairs and chance controls since this tally began."""
        return (
            max(route.pairs - self.pairs_before, self.diverged),
            max(route.controls - self.controls_before, self.differed),
        )

    def standing(self, route: Exposure) -> tuple[Standing, float]:
        """And the share of divergences that is due to be counted."""
        if self.is_clean():
            persisted = self.agreed + self.vanished
            return Standing.CLEAN, self.agreed / persisted if self.vanished >= _HALF else 1.0
        estimates = [found for found in (self.by_rates(route), self.by_asks(route)) if found]
        certain = [found.share for found in estimates if found.certain]
        if certain:
            return Standing.EXCESS, min(max(certain), 1.0)
        if any(found.high < _SETTLED for found in estimates):
            return Standing.NOISE, 0.0
        return Standing.OPEN, 0.0

    def is_settled_by_asks(self, route: Exposure) -> bool:
        found = self.by_asks(route)
        return found is not None and found.high < _SETTLED

    def is_verified(self, route: Exposure, recheck: bool, min_controls: int) -> bool:
        """Whether a divergence of this clean place may count though it was not asked again."""
        _, controls = self.exposed(route)
        if self.asked + controls >= min_controls - _HALF and (self.confirmed > 0 or not recheck):
            return True
        found = self.by_rates(route)
        return found is not None and found.certain

    def is_controlled(self, route: Exposure, min_controls: int) -> bool:
        """Whether enough control pairs speak of this place.

        A chance control of the route is worth what it would show if the divergences were noise:
        little for a place that only few of the route's targets have.
        """
        pairs, controls = self.exposed(route)
        own = self.asked + controls * (self.diverged / pairs if pairs > NEGLIGIBLE else 0.0)
        return own >= min_controls - _HALF

    def settle(self, standing: Standing, share: float) -> None:
        """Divergences that were left open are counted by this share, now that more is known."""
        if standing is not Standing.OPEN:
            counted = round(self.unverified * share)
            self.counted += counted
            self.explained += self.unverified - counted
            self.unverified = 0


class PlaceNoise(msgspec.Struct, frozen=True):
    """What is known of one place, for people.

    `share` is how often legacy differed from itself in `samples` control pairs, with its 95 %
    bounds. divergences = counted + explained + unverified (+ asks under way), never decayed.
    """

    path: str
    kind: str
    verdict: str  # "divergent", "noise", "unverified"
    share: float
    low: float
    high: float
    samples: int
    rate: float  # divergences per pair, lately
    divergences: int
    counted: int
    explained: int
    unverified: int
    vanished: int  # of the explained, those that were gone when asked again


def place_noise(tally: Tally, route: Exposure) -> PlaceNoise:
    """The tally in words and shares."""
    pairs, controls = tally.exposed(route)
    samples, differed = tally.asked + controls, tally.redone + tally.differed
    low, high = wilson(differed, samples, Z_USUAL)
    standing, _ = tally.standing(route)
    if standing is Standing.EXCESS or (standing is Standing.CLEAN and tally.counted):
        verdict = "divergent"
    elif standing is Standing.NOISE or (tally.explained and not tally.unverified):
        verdict = "noise"
    else:
        verdict = "unverified"
    return PlaceNoise(
        path=tally.path,
        kind=tally.kind,
        verdict=verdict,
        share=min(differed / samples, 1.0) if samples > NEGLIGIBLE else 0.0,
        low=low,
        high=high,
        samples=round(samples),
        rate=min(tally.diverged / pairs, 1.0) if pairs > NEGLIGIBLE else 0.0,
        divergences=tally.divergences,
        counted=tally.counted,
        explained=tally.explained,
        unverified=tally.unverified,
        vanished=tally.gone,
    )


class Differing:
    """The places in which two answers differ, asked about a path.

    Kinds play no part: a value that is missing the second time differs as well. A difference
    above or below a path is one of that path.
    """

    def __init__(self, places: Collection[Place]) -> None:
        self._paths = {_rooted(path) for path, _ in places}
        self._above = {prefix for path in self._paths for prefix in _prefixes(path)}

    def at(self, path: str) -> bool | None:
        """Whether they differ there; None where their statuses differ, so nothing can be said."""
        path = _rooted(path)
        if path in self._paths:
            return True
        if "status" in self._paths and path != "status":
            return None
        return path in self._above or any(prefix in self._paths for prefix in _prefixes(path))


def _rooted(path: str) -> str:
    return "$" if path == "body" else path


def _prefixes(path: str) -> Iterator[str]:
    """The paths above: `$` and `$.a` of `$.a[*]`."""
    for position, character in enumerate(path):
        if character in ".[" and position:
            yield path[:position]
