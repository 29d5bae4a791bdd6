"""Route keys and the names made from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.routekey import NAME_LENGTH, default_name, parse_route_key
from proxy.config.types import parse_name


@pytest.mark.parametrize(
    ("text", "methods", "host", "path"),
    [
        ("/", (), None, "/"),
        ("/*", (), None, "/*"),
        ("/api/*", (), None, "/api/*"),
        ("GET /a", ("GET",), None, "/a"),
        ("GET,HEAD  Shop.Example./a/{id}", ("GET", "HEAD"), "shop.example", "/a/{id}"),
        ("localhost/a", (), "localhost", "/a"),
        ("10.0.0.1/a", (), "10.0.0.1", "/a"),
        ("[::0:1]/a", (), "[::1]", "/a"),
        ("REPORT /a//b;c/%2F", ("REPORT",), None, "/a//b;c/%2F"),
        ("/caf\u00e9", (), None, "/caf\u00e9"),
    ],
)
def test_keys_are_taken_apart(
    text: str, methods: tuple[str, ...], host: str | None, path: str
) -> None:
    key = parse_route_key(text)
    assert (key.methods, key.host, key.path) == (methods, host, path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/api/users/{id}", "api-users-id"),
        ("/api/orders/*", "api-orders"),
        ("/", "root"),
        ("/*", "all"),
        ("GET /", "get-root"),
        ("GET,POST shop.example/a", "get-post-shop.example-a"),
        ("shop.example/*", "shop.example-all"),
        ("/v1.2/A_b", "v1.2-A_b"),
        ("/-/", "route-"),
        ("/" + "x" * 100, "x" * 55 + "-"),
    ],
)
def test_a_name_is_made_from_the_key_alone(text: str, name: str) -> None:
    assert default_name(parse_route_key(text)).startswith(name)


def test_long_keys_with_the_same_beginning_get_different_names() -> None:
    one, other = (default_name(parse_route_key("/" + "x" * 100 + end)) for end in "ab")
    assert one != other


@given(st.text(max_size=80))
def test_any_text_is_a_key_with_a_legal_name_or_refused(text: str) -> None:
    try:
        key = parse_route_key(text)
    except ValueError:
        return
    name = default_name(key)
    assert parse_name(name) == name
    assert len(name) <= NAME_LENGTH


@given(
    st.lists(st.sampled_from(["a", "{x}", "%41", "b.c", "", "~", "*", "."]), max_size=5),
    st.sampled_from(["", "h/", "GET h/"]),
)
def test_plain_and_thorough_reading_agree_on_shapes(segments: list[str], before: str) -> None:
    """The short way for plain paths gives what the pattern of the core gives."""
    from proxy.core.patterns import Pattern

    path = "/" + "/".join(segments)
    try:
        pattern = Pattern.parse(path)
    except ValueError:
        return
    key = parse_route_key(before.rstrip("/") + path)
    assert key.shape == (pattern.nameless, pattern.tail)
