"""The sticky draw in the large, and the keys that requests bring."""

import itertools
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.model import Sticky
from proxy.core.sticky import (
    StickyKey,
    cookie_value,
    draw,
    drawer,
    sticky_header,
    sticky_key,
)

KEYS = 100_000

SHAPES = {
    "numbers": lambda n: str(n),
    "padded": lambda n: f"{n:012d}",
    "ips": lambda n: f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",
    "hex": lambda n: f"{n * 0x9E3779B97F4A7C15 % (1 << 128):032x}",
    "mails": lambda n: f"user{n}@example.org",
    "long": lambda n: "session=" + "x" * 100 + str(n),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_share_of_new_is_within_one_per_cent_point_at_every_weight(shape: str) -> None:
    of_route = drawer("orders")
    draws = [of_route(SHAPES[shape](n)) for n in range(KEYS)]
    assert all(0 <= value < 100 for value in draws)
    below = [0] * 101
    for value in draws:
        below[int(value) + 1] += 1
    for weight, count in enumerate(itertools.accumulate(below)):
        assert abs(count / KEYS * 100 - weight) < 1


@pytest.mark.parametrize("weight", [1, 5, 10, 25, 50, 75, 99])
def test_share_of_new_is_within_one_per_cent_of_the_weight(weight: int) -> None:
    """Stricter, of N itself where chance lets 100,000 keys be that even; four deviations else."""
    of_route = drawer("orders")
    count = sum(of_route(f"client-{n}") < weight for n in range(KEYS))
    expected = KEYS * weight / 100
    deviation = sqrt(expected * (1 - weight / 100))
    assert abs(count - expected) < max(expected * 0.01, 4 * deviation)


@pytest.mark.parametrize("shape", SHAPES)
def test_raising_the_weight_only_adds_clients(shape: str) -> None:
    of_route = drawer("orders")
    draws = {key: of_route(key) for key in map(SHAPES[shape], range(2_000))}
    moved: set[str] = set()
    for weight in range(101):
        now = {key for key, value in draws.items() if value < weight}
        assert moved <= now
        moved = now
    assert moved == set(draws)


@pytest.mark.parametrize(
    ("one", "other"), [("orders", "users"), ("a", "b"), ("r1", "r2"), ("x" * 200, "x" * 201)]
)
def test_routes_draw_independently(one: str, other: str) -> None:
    """The correlation of two routes' draws over the same keys is what chance makes it."""
    count = 20_000
    of_one, of_other = drawer(one), drawer(other)
    pairs = [(of_one(str(n)), of_other(str(n))) for n in range(count)]
    mean_one = sum(pair[0] for pair in pairs) / count
    mean_other = sum(pair[1] for pair in pairs) / count
    covariance = sum((x - mean_one) * (y - mean_other) for x, y in pairs) / count
    correlation = covariance / (100 * 100 / 12)
    assert abs(correlation) < 4 / sqrt(count)
    both = sum(x < 10 and y < 10 for x, y in pairs) / count
    assert abs(both - 0.01) < 4 * sqrt(0.01 * 0.99 / count)


def test_draw_is_the_same_everywhere_and_for_ever() -> None:
    """A changed value would move clients from one side to the other at an upgrade."""
    assert draw("orders", "10.0.0.1") == pytest.approx(80.44116018534702)
    assert draw("users", "10.0.0.1") == pytest.approx(62.1758015294958)
    assert draw("orders", "") == pytest.approx(31.999552287439315)


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_name_and_key_have_a_draw(name: str, key: str) -> None:
    value = draw(name, key)
    assert 0 <= value < 100
    assert draw(name, key) == value


def test_lone_surrogates_have_a_draw() -> None:
    assert 0 <= draw("\udcff", "\ud800") < 100


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("sid=1", "1"),
        ("a=b; sid=1; c=d", "1"),
        ("a=b;sid=1;c=d", "1"),
        ("sid=1; sid=2", "1"),
        (" \t sid \t = \t 1 \t ; a=b", "1"),
        ("sid=a=b==", "a=b=="),
        ('sid="a b"', '"a b"'),
        ("sid=a b", "a b"),
        ("sid=", ""),
        ("sid=;sid=2", ""),
        ("junk; ;;=; sid=1", "1"),
        ("asid=2; sid=1", "1"),
        ("a=sid=2; sid=1", "1"),
        ("sidx=2; sid=1", "1"),
        ("sid=\xe9", "\xe9"),
        ("sid; a=b", None),
        ("SID=1", None),
        ("a=sid=2", None),
        ("a=b, sid=1", None),
        ("", None),
        (";", None),
    ],
)
def test_cookie_value(header: str, value: str | None) -> None:
    assert cookie_value(header, "sid") == value


def test_cookie_name_is_no_expression() -> None:
    assert cookie_value("axb=1; a.b=2", "a.b") == "2"
    assert cookie_value("__Host-sid=3", "__Host-sid") == "3"


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from(list('sid=;, \t"\\\xff%1'))), st.sampled_from(["s", "sid"]))
def test_no_cookie_header_raises(header: str, name: str) -> None:
    value = cookie_value(header, name)
    assert value is None or (";" not in value and value == value.strip(" \t"))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex("[a-z]{1,3}", fullmatch=True), st.from_regex("[a-z=]{0,5}", fullmatch=True)
    )
)
def test_a_proper_cookie_header_gives_each_value(cookies: dict[str, str]) -> None:
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    for name, value in cookies.items():
        assert cookie_value(header, name) == value


def test_hostile_cookie_header_is_read_once() -> None:
    for header in (";" * 65_536, "; " * 32_768, " " * 65_536, "; sid" * 13_000, "sid " * 16_000):
        assert cookie_value(header + "x", "sid") is None
    assert cookie_value(";" * 60_000 + "sid=1", "sid") == "1"


@pytest.mark.parametrize(
    ("sticky", "header", "expected"),
    [
        (Sticky("client-ip"), None, StickyKey("192.0.2.1")),
        (Sticky("client-ip"), "ignored", StickyKey("192.0.2.1")),
        (Sticky("cookie", "sid"), "sid=7", StickyKey("7")),
        (Sticky("cookie", "sid"), "other=7", StickyKey("192.0.2.1", missing=True)),
        (Sticky("cookie", "sid"), "sid=", StickyKey("192.0.2.1", missing=True)),
        (Sticky("cookie", "sid"), "", StickyKey("192.0.2.1", missing=True)),
        (Sticky("cookie", "sid"), None, StickyKey("192.0.2.1", missing=True)),
        (Sticky("header", "X-User"), " 7 ", StickyKey("7")),
        (Sticky("header", "X-User"), " ", StickyKey("192.0.2.1", missing=True)),
        (Sticky("header", "X-User"), None, StickyKey("192.0.2.1", missing=True)),
        (Sticky("param", "id"), None, StickyKey("a%2Fb")),
        (Sticky("param", "name"), None, StickyKey("192.0.2.1", missing=True)),
    ],
)
def test_sticky_key(sticky: Sticky, header: str | None, expected: StickyKey) -> None:
    assert sticky_key(sticky, header, {"id": "a%2Fb"}, "192.0.2.1") == expected


def test_sticky_header_is_the_one_to_look_up() -> None:
    assert sticky_header(Sticky("cookie", "sid")) == "cookie"
    assert sticky_header(Sticky("header", "X-User")) == "x-user"
    assert sticky_header(Sticky("param", "id")) is None
    assert sticky_header(Sticky("client-ip")) is None
