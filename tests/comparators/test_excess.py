"""Bounds of shares, against known values and by drawing."""

import random

import pytest

from comparators.excess import FALSE_ALARM, chernoff, of_asks, of_rates, wilson


def test_wilsons_interval_is_the_known_one() -> None:
    # Newcombe (1998), table 1: 81 of 263, 15 of 148, 0 of 20.
    assert wilson(81, 263, 1.959964) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148, 1.959964) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20, 1.959964) == pytest.approx((0.0, 0.1611), abs=1e-4)


@pytest.mark.parametrize("controls", [1, 3, 10, 50, 1000])
def test_the_strict_bound_of_none_is_the_exact_one(controls: int) -> None:
    exact = 1 - FALSE_ALARM ** (1 / controls)
    assert chernoff(0, controls, above=True) == pytest.approx(exact, abs=1e-4)
    assert chernoff(controls, controls, above=False) == pytest.approx(1 - exact, abs=1e-4)


def test_nothing_is_said_of_nothing() -> None:
    assert of_rates(3, 100, 0, 0) is None
    assert of_asks(0, 0, 0) is None


def test_a_few_controls_never_make_a_rate_certain() -> None:
    """Three of a place with six variants agree by chance once in 216."""
    found = of_rates(250, 300, 0, 3)
    assert found is not None
    assert not found.certain
    assert found.high > 0.9


def test_a_rate_beyond_its_noise_is_certain_and_its_share_is_told() -> None:
    found = of_rates(1000, 1000, 30, 100)
    assert found is not None
    assert found.certain
    assert found.share == pytest.approx(0.7)


def test_a_lead_of_agreement_needs_seventeen_asks_without_a_crossing() -> None:
    certain = [asks for asks in range(1, 40) if (found := of_asks(asks, 0, asks)) and found.certain]
    assert certain[0] == 17


def test_looking_at_every_ask_gives_no_false_lead() -> None:
    """Agreeing as often as crossing, looked at 1,000 times in 300 runs: a lead once at most."""
    chance = random.Random(5)
    led = 0
    for _ in range(300):
        agreed = crossed = 0
        for asked in range(1, 1001):
            if chance.random() < 0.5:
                agreed += 1
            else:
                crossed += 1
            found = of_asks(agreed, crossed, asked)
            assert found is not None
            if found.certain:
                led += 1
                break
    assert led <= 1


def test_third_values_settle_a_place_after_two_asks() -> None:
    found = of_asks(0, 0, 2)
    assert found is not None
    assert found.high < 0.5


def test_a_rate_that_is_next_to_one_bounds_as_one_does() -> None:
    """So close to it that nothing lies between."""
    total = 4.0
    count = total * (1 - 2**-53)
    assert count < total
    assert chernoff(count, total, above=True) == pytest.approx(1.0)
    one = chernoff(total, total, above=False)
    assert chernoff(count, total, above=False) == pytest.approx(one)
