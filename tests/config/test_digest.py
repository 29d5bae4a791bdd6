"""Changed digest, fresh evidence: what changes a route's digest and what does not."""

import pytest

from tests.config.samples import config_of

HEAD = "backends: {legacy: 'http://a:1', new: {url: 'http://b:1'}, v2: 'http://c:1'}\nroutes:\n"
ROUTE = "GET,PUT h.com/a/{id}: {phase: 10%, name: r, shadow: {sample: 50%}}\n"
BASE = f"{HEAD}  {ROUTE}"


def digest(text: str) -> str:
    return next(route.digest for route in config_of(text).routes if route.name == "r")


def edited(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("phase: 10%", "phase: new-only"),
        ("GET,PUT", "PUT,GET"),
        ("h.com", "H.com"),
        ("sample: 50%}", "sample: 50.0%, timeout: 10s}"),
        ("name: r,", "name: r, advance: {steps: [50%]},"),
        ("name: r,", "name: r, accept_loss: true,"),
        ("name: r,", "name: r, revert: {cooldown: 1h, to: legacy-only},"),
        ("name: r,", "name: r, fallback: true, compare: {status: exact},"),
        ("routes:", "limits: {headers: 7}\nlisten: 127.0.0.1:1\nroutes:"),
        ("routes:\n", "routes:\n  /other: 1%\n"),
        ("v2: 'http://c:1'", "v2: 'http://d:1'"),
    ],
)
def test_the_same_traffic_and_evidence_is_the_same_digest(old: str, new: str) -> None:
    assert digest(edited(old, new)) == digest(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("GET,PUT h.com", "GET h.com"),
        ("h.com", "i.com"),
        ("h.com/a/{id}", "/a/{id}"),
        ("/a/{id}", "/a/{other}"),
        ("name: r,", "name: r, new: v2,"),
        ("name: r,", "name: r, rewrite: '/b/{id}',"),
        ("name: r,", "name: r, sticky: 'param:id',"),
        ("name: r,", "name: r, maintenance: reads,"),
        ("name: r,", "name: r, compare: {ignore: [$.a]},"),
        ("name: r,", "name: r, compare: {lenient: [int-float]},"),
        ("name: r,", "name: r, compare: null,"),
        ("name: r,", "name: r, revert: {divergence: 3%},"),
        ("name: r,", "name: r, revert: null,"),
        ("name: r,", "name: r, safe_methods: [GET],"),
        ("sample: 50%", "sample: 51%"),
        ("routes:", "defaults: {fallback: false}\nroutes:"),
        ("http://b:1", "http://b:2"),
        ("url: 'http://b:1'", "url: 'http://b:1', timeout: 5s"),
    ],
)
def test_other_traffic_or_evidence_is_another_digest(old: str, new: str) -> None:
    assert digest(edited(old, new)) != digest(BASE)


def test_the_name_of_a_backend_does_not_count_its_address_does() -> None:
    renamed = edited("v2: 'http://c:1'", "v2: 'http://b:1'").replace(
        "name: r,", "name: r, new: v2,"
    )
    assert digest(renamed) == digest(BASE)


def test_two_routes_of_one_file_differ() -> None:
    digests = [route.digest for route in config_of(HEAD + "  /a: 1%\n  /b: 1%\n").routes]
    assert len(set(digests)) == 3
    assert all(len(each) == 32 for each in digests)
