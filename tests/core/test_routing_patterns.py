"""What the path of a route may look like, and how it is named when it may not."""

import pytest

from proxy.core.model import LEGACY_ONLY, Route
from proxy.core.patterns import (
    MAX_SEGMENTS,
    Pattern,
    normal_host,
    rewrite_problem,
    specificity,
)


@pytest.mark.parametrize(
    ("path", "segments", "tail"),
    [
        ("/", ("",), False),
        ("/*", (), True),
        ("/a", ("a",), False),
        ("/a/", ("a", ""), False),
        ("/a/*", ("a",), True),
        ("/a//*", ("a", ""), True),
        ("/a/{id}/b", ("a", "{id}", "b"), False),
        ("/{user-id}/{_x}/*", ("{user-id}", "{_x}"), True),
        ("/%7eann/%c3%a9/é", ("~ann", "%C3%A9", "%C3%A9"), False),
        ("/a/../b", ("b",), False),
    ],
)
def test_pattern_is_taken_apart(path: str, segments: tuple[str, ...], tail: bool) -> None:
    assert Pattern.parse(path) == Pattern(segments, tail)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "start with /"),
        ("a", "start with /"),
        ("*", "start with /"),
        ("/a b", "a space"),
        ("/a?b", r"a \?"),
        ("/a#b", "a #"),
        ("/a%zz", "hexadecimal"),
        ("/..", "above the root"),
        ("/a*", "last segment"),
        ("/*/a", "last segment"),
        ("/**", "last segment"),
        ("/a/*.png", "last segment"),
        ("/{id", "whole segment"),
        ("/id}", "whole segment"),
        ("/{}", "whole segment"),
        ("/{a b}", "a space"),
        ("/{1}", "whole segment"),
        ("/x{id}", "whole segment"),
        ("/{id}.json", "whole segment"),
        ("/{a}{b}", "whole segment"),
        ("/{a}/{a}", "twice"),
        ("/a" * (MAX_SEGMENTS + 1), "at most"),
        ("/a" * 1_000_000, "at most"),
    ],
)
def test_problem_is_named(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Pattern.parse(path)


@pytest.mark.parametrize(
    ("path", "template", "words"),
    [
        ("/a", "/b/*", "does not"),
        ("/a/{id}", "/b/{name}", "no parameter {name}"),
        ("/a", "b", "start with /"),
        ("/a", "/b?c", "a ?"),
    ],
)
def test_rewrite_problem_is_named(path: str, template: str, words: str) -> None:
    assert words in (rewrite_problem(path, template) or "")


def test_rewrite_without_a_problem() -> None:
    assert rewrite_problem("/a/{id}/*", "/b/{id}") is None


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("", ""),
        ("Shop.Example", "shop.example"),
        ("shop.example.", "shop.example"),
        ("shop.example:8080", "shop.example"),
        ("shop.example.:8080", "shop.example"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[2001:DB8::1]:80", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[broken", "[broken"),
        (":80", ""),
    ],
)
def test_hosts_are_compared_without_case_port_and_dot(host: str, normal: str) -> None:
    assert normal_host(host) == normal
    assert normal_host(normal) == normal


def test_specificity_orders_path_then_host_then_method() -> None:
    def key(path: str, host: str | None = None, *methods: str) -> tuple[object, ...]:
        return specificity(Route("r", path, methods, host, path, LEGACY_ONLY), "HEAD")

    ordered = [
        key("/a", "h", "HEAD"),
        key("/a", "h", "GET"),
        key("/a", "h"),
        key("/a", None, "HEAD"),
        key("/a", None, "GET"),
        key("/a"),
        key("/a/*", "h", "HEAD"),
        key("/{x}", "h", "HEAD"),
        key("/{x}/*"),
        key("/*", "h"),
    ]
    assert sorted(ordered) == ordered
