"""What counts and what is noise: one pair by the rules, and thousands by a simulated service."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from comparators.noise import (
    ENOUGH,
    HALF_LIFE,
    MAX_PLACES,
    Judgement,
    Place,
    RouteNoise,
    Verdict,
    lower,
    upper,
)

A: Place = ("$.a", "value")
B: Place = ("$.b", "value")


def judged(
    noise: RouteNoise, *places: Place, recheck: bool = True, can_ask: bool = True
) -> Verdict:
    noise.compared(1)
    return noise.judge(places, recheck=recheck, can_ask=can_ask).verdict


def asked(noise: RouteNoise, place: Place, control: bool, recheck: bool | None) -> Verdict:
    noise.compared(1)
    assert noise.judge([place], recheck=recheck is not None, can_ask=True).verdict is Verdict.ASK
    differing = None if recheck is None else ([place] if recheck else [])
    return noise.asked([place], [place] if control else [], differing).verdict


def test_a_new_place_is_asked_again_before_it_counts() -> None:
    noise = RouteNoise()
    noise.compared(1)
    assert noise.judge([A], recheck=True, can_ask=True) == Judgement(Verdict.ASK, new_too=True)
    assert noise.judge([A], recheck=False, can_ask=True) == Judgement(Verdict.ASK)


def test_it_counts_where_legacy_agrees_and_new_still_differs() -> None:
    noise = RouteNoise()
    assert asked(noise, A, control=False, recheck=True) is Verdict.DIVERGENT
    assert asked(noise, A, control=False, recheck=None) is Verdict.DIVERGENT


def test_it_is_noise_where_legacy_differs_from_itself_or_it_has_vanished() -> None:
    assert asked(RouteNoise(), A, control=True, recheck=True) is Verdict.NOISE
    assert asked(RouteNoise(), A, control=False, recheck=False) is Verdict.NOISE


def test_one_real_place_makes_a_pair_count_and_the_noise_in_it_is_named() -> None:
    noise = RouteNoise()
    noise.compared(1)
    noise.judge([A, B], recheck=True, can_ask=True)
    judgement = noise.asked([A, B], [B], [A, B])
    assert judgement == Judgement(Verdict.DIVERGENT, frozenset([B]))
    found = noise.summary()
    assert (found[A].counted, found[A].explained) == (1, 0)
    assert (found[B].counted, found[B].explained) == (0, 1)


def test_what_cannot_be_asked_says_nothing_until_it_is_known() -> None:
    noise = RouteNoise()
    assert judged(noise, A, can_ask=False) is Verdict.UNVERIFIED
    noise.control((), ENOUGH)
    # Legacy is known not to differ there, but that it stays is not.
    assert judged(noise, A, can_ask=False) is Verdict.UNVERIFIED
    assert judged(noise, A, can_ask=False, recheck=False) is Verdict.DIVERGENT
    asked(noise, A, control=False, recheck=True)
    assert judged(noise, A, can_ask=False) is Verdict.DIVERGENT


def test_without_rechecks_a_place_is_asked_until_enough_control_pairs() -> None:
    noise = RouteNoise()
    for _ in range(ENOUGH):
        assert asked(noise, A, control=False, recheck=None) is Verdict.DIVERGENT
    assert judged(noise, A, recheck=False) is Verdict.DIVERGENT


def test_a_pair_is_not_counted_twice_when_it_could_not_be_asked() -> None:
    noise = RouteNoise()
    noise.compared(1)
    noise.judge([A], recheck=True, can_ask=True)
    noise.judge([A], recheck=True, can_ask=False, again=True)
    assert noise.summary()[A].explained == noise.summary()[A].counted == 0


def test_a_timestamp_is_noise_for_good_and_is_asked_no_more() -> None:
    noise = RouteNoise()
    for _ in range(ENOUGH):
        assert asked(noise, A, control=True, recheck=True) is Verdict.NOISE
    assert judged(noise, A) is Verdict.NOISE
    found = noise.summary()[A]
    assert (found.share, found.samples, found.is_noise) == (1.0, ENOUGH, True)


def test_it_survives_a_restart() -> None:
    noise = RouteNoise()
    noise.control([A])
    asked(noise, B, control=False, recheck=True)
    again = RouteNoise.decode(noise.encode())
    assert again.summary() == noise.summary()
    assert again.encode() == noise.encode()
    assert not RouteNoise.decode(b"garbage")
    assert not RouteNoise()
    assert again


def test_the_places_of_a_route_are_bounded_and_the_oldest_go() -> None:
    noise = RouteNoise()
    for number in range(MAX_PLACES + 10):
        judged(noise, (f"$.p{number}", "value"))
    assert len(noise.summary()) == MAX_PLACES
    assert noise.forgotten == 10
    assert ("$.p0", "value") not in noise.summary()


def test_what_changed_is_learned_anew() -> None:
    noise = RouteNoise()
    noise.control([A], 1)
    noise.control((), 99)
    noise.compared(20 * HALF_LIFE)
    assert noise.summary()[A].samples < 10


def test_the_bounds_are_wilsons() -> None:
    assert (lower(0, 0), upper(0, 0)) == (0.0, 1.0)
    assert lower(0, 10) == 0.0
    assert upper(10, 10) == pytest.approx(1.0)
    assert 0.2 < lower(50, 100) < 0.5 < upper(50, 100) < 0.8


# A simulated service: each field differs by itself with a probability, and really for some requests

Real = Callable[[int], bool]
NOISE = {"id": 1.0, "at": 1.0, "tags": 1 - 1 / 24, "ad": 0.75, "rare": 0.02}
REAL: dict[str, Real] = {
    "all": lambda n: True,
    "five": lambda n: n % 20 == 0,
    "one": lambda n: n % 100 == 0,
}


def simulate(
    seed: int, fields: dict[str, float], real: dict[str, Real], ask_share: float, pairs: int = 5000
) -> tuple[RouteNoise, Counter[str], Counter[str]]:
    """The model after so many pairs, what it counted, and what was true."""
    chance = random.Random(seed)
    noise, counted, true = RouteNoise(), Counter[str](), Counter[str]()

    def differing(number: int, legacy_alone: bool) -> list[Place]:
        found = [name for name, share in fields.items() if chance.random() < share]
        if not legacy_alone:
            found += [name for name, is_real in real.items() if is_real(number)]
        return [(f"$.{name}", "value") for name in dict.fromkeys(found)]

    for number in range(pairs):
        target = number % 1000
        for name, is_real in real.items():
            true[name] += is_real(target)
        noise.compared(1)
        if chance.random() < 0.01:
            noise.control(differing(target, True))
        places = differing(target, False)
        if not places:
            continue
        can_ask = chance.random() < ask_share
        judgement = noise.judge(places, recheck=True, can_ask=can_ask)
        if judgement.verdict is Verdict.ASK:
            control, recheck = differing(target, True), differing(target, False)
            judgement = noise.asked(places, control, recheck)
        if judgement.verdict is Verdict.DIVERGENT:
            counted.update(path[2:] for path, _ in places if (path, "value") not in judgement.noise)
    return noise, counted, true


@pytest.mark.parametrize("ask_share", [1.0, 0.1])
@pytest.mark.parametrize("seed", range(8))
def test_three_real_bugs_rank_first_and_noise_counts_next_to_nothing(
    seed: int, ask_share: float
) -> None:
    noise, counted, true = simulate(seed, NOISE, REAL, ask_share)
    # With few asks the first ones of a place say nothing until one of them was verified.
    least = 0.85 if ask_share == 1.0 else 0.5
    assert counted["all"] >= 0.95 * true["all"]
    assert counted["five"] >= least * true["five"]
    assert counted["one"] >= (0.6 if ask_share == 1.0 else 0.0) * true["one"]
    assert all(counted[name] <= true[name] for name in REAL)
    assert sum(counted[name] for name in NOISE if name != "rare") <= 2, counted
    assert counted["rare"] <= 0.1 * NOISE["rare"] * 5000, counted
    for name in ("id", "at", "tags", "ad"):
        assert noise.summary()[f"$.{name}", "value"].is_noise


@pytest.mark.parametrize("seed", range(4))
def test_without_any_asking_what_nobody_verified_counts_as_nothing(seed: int) -> None:
    _, counted, _ = simulate(seed, NOISE, REAL, 0.0)
    assert sum(counted[name] for name in NOISE) == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("share", "real"), [(0.3, 1.0), (0.01, 0.05), (0.5, 0.9)])
def test_a_bug_in_a_noisy_place_counts_by_what_exceeds_the_noise(
    seed: int, share: float, real: float
) -> None:
    chance = random.Random(seed)
    wrong = {number for number in range(1000) if chance.random() < real}
    _, counted, true = simulate(seed, {"x": share}, {"x": wrong.__contains__}, 1.0, 20_000)
    excess = true["x"] * (1 - share)
    assert 0.3 * excess <= counted["x"] <= 1.05 * true["x"]
