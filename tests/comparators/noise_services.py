"""A legacy and a new service as the noise model sees them: places, and values drawn for them.

A request is a number; what a service answers to it is one value for each place. Noise is drawn
anew for each answer, a bug depends on the request alone, so that asking again shows it again.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from comparators.noise import NoiseBounds, RouteNoise, Verdict
from comparators.tally import Place, PlaceNoise

Draw = Callable[[random.Random, int], object]  # of one answer to the request
Bug = Callable[[int], bool]  # whether new is wrong at the request
Answer = dict[Place, object]


@dataclass(frozen=True)
class Spot:
    """One place of the answers: its noise, and whether new is wrong there."""

    draw: Draw = lambda _chance, _request: "fixed"
    bug: Bug = lambda _request: False


def unique(chance: random.Random, _request: int) -> object:
    """A random id, a time stamp."""
    return chance.getrandbits(60)


def one_of(variants: int) -> Draw:
    """A rotating ad; the order of a list."""
    return lambda chance, _request: chance.randrange(variants)


def sometimes(share: float) -> Draw:
    """Something that is otherwise at random, in this share of answers."""
    return lambda chance, _request: chance.random() < share


def unique_sometimes(share: float) -> Draw:
    """A unique value at random in this share of answers."""
    return lambda chance, _request: chance.getrandbits(60) if chance.random() < share else 0


def on_targets(share: float, draw: Draw, salt: int = 1) -> Draw:
    """Noise on some targets of the route alone."""
    return lambda chance, request: draw(chance, request) if hits(request, share, salt) else 0


def at(share: float, salt: int = 2) -> Bug:
    """A bug at this share of requests."""
    return lambda request: hits(request, share, salt)


def hits(request: int, share: float, salt: int) -> bool:
    return random.Random(request * 1_000_003 + salt).random() < share


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `judged` counts verdicts of places given at the time, not settled."""

    places: Mapping[str, PlaceNoise]
    judged: Mapping[str, int]
    asks: int
    true: Mapping[str, int]  # divergences that were due to a bug
    noise: RouteNoise
    order: list[str] = field(default_factory=list)


def run(
    spots: Mapping[str, Spot],
    requests: int = 5_000,
    *,
    seed: int = 1,
    controls: float = 0.01,
    ask_every: int | None = 1,
    recheck: bool = True,
    crossing: bool = True,
    bounds: NoiseBounds | None = None,
    noise: RouteNoise | None = None,
) -> Outcome:
    """Send requests to both services; ask at each `ask_every`-th divergence (None: never)."""
    chance = random.Random(seed)
    noise = noise or RouteNoise(bounds or NoiseBounds())
    judged = dict.fromkeys(spots, 0)
    true = dict.fromkeys(spots, 0)
    asks = diverged = 0

    def legacy(request: int) -> Answer:
        return {(name, "value"): spot.draw(chance, request) for name, spot in spots.items()}

    def new(request: int) -> Answer:
        return {
            (name, "value"): "wrong" if spot.bug(request) else spot.draw(chance, request)
            for name, spot in spots.items()
        }

    for _ in range(requests):
        request = chance.getrandbits(40)
        first, other = legacy(request), new(request)
        noise.compared(1)
        if chance.random() < controls:
            noise.control(differing(first, legacy(request)))
        places = differing(first, other)
        if not places:
            continue
        for name, spot in spots.items():
            true[name] += spot.bug(request)
        diverged += 1
        can_ask = ask_every is not None and diverged % ask_every == 0
        judgement = noise.judge(places, recheck=recheck, can_ask=can_ask)
        if judgement.verdict is Verdict.ASK:
            asks += 1
            again = legacy(request)
            judgement = noise.asked(
                places,
                differing(first, again),
                differing(again, new(request)) if judgement.new_too else None,
                differing(again, other) if crossing else None,
            )
        for name, _ in judgement.counting:
            judged[name] += 1
    summary = noise.summary()
    return Outcome(
        {place.path: place for place in summary},
        judged,
        asks,
        true,
        noise,
        [place.path for place in summary],
    )


def differing(one: Answer, two: Answer) -> list[Place]:
    return [place for place in one if one[place] != two[place]]


def counted(outcome: Outcome, names: Iterable[str]) -> int:
    return sum(outcome.places[name].counted for name in names if name in outcome.places)
