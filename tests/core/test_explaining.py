"""Explanations: each decision with its reason, and none of them other than the data plane's."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.contenders import contenders
from proxy.core.explaining import Ask, Explanation, Request, explain
from proxy.core.model import (
    DUAL_WRITE,
    LEGACY_ONLY,
    NEW_ONLY,
    SHADOW_READ,
    UNMATCHED,
    ZERO,
    Override,
    Phase,
    Route,
    RouteState,
    Shadow,
    Side,
    Sticky,
)
from proxy.core.routing import RouteTable
from proxy.core.sticky import draw
from tests.core.test_routing import REQUEST_PATHS, ROUTE_KEYS, route, without_clashes

LEGACY, NEW = Side.LEGACY, Side.NEW
ELSE = Route(UNMATCHED, UNMATCHED, (), None, "/*", LEGACY_ONLY)


def orders(phase: Phase = SHADOW_READ, **settings: object) -> Route:
    """One route, `/api/orders/{id}`, in that phase."""
    path = "/api/orders/{id}"
    return Route("orders", path, (), None, path, phase, **settings)  # type: ignore[arg-type]


def explained(
    one: Route,
    method: str = "GET",
    target: str = "/api/orders/7?x=%2e",
    headers: Sequence[tuple[str, str]] = (),
    peer_ip: str = "192.0.2.1",
    state: RouteState | None = None,
) -> Explanation:
    states = {one.name: state} if state else None
    request = Request(method, target, tuple(headers), peer_ip)
    return explain([one, ELSE], request, states, trusted_proxies=("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("phase", "method", "asked"),
    [
        (LEGACY_ONLY, "GET", [("answer", LEGACY)]),
        (LEGACY_ONLY, "POST", [("answer", LEGACY)]),
        (SHADOW_READ, "GET", [("answer", LEGACY), ("shadow", NEW)]),
        (SHADOW_READ, "POST", [("answer", LEGACY)]),
        (ZERO, "HEAD", [("answer", LEGACY), ("shadow", NEW)]),
        (ZERO, "PUT", [("answer", LEGACY), ("second", NEW)]),
        (DUAL_WRITE, "GET", [("answer", NEW), ("fallback", LEGACY), ("shadow", LEGACY)]),
        (DUAL_WRITE, "DELETE", [("answer", NEW), ("second", LEGACY)]),
        (NEW_ONLY, "GET", [("answer", NEW), ("fallback", LEGACY)]),
        (NEW_ONLY, "POST", [("answer", NEW)]),
    ],
)
def test_sides_of_every_phase(phase: Phase, method: str, asked: list[tuple[str, Side]]) -> None:
    explanation = explained(orders(phase), method)
    assert [(ask.role, ask.side) for ask in explanation.asked] == asked
    assert explanation.phase == str(phase)
    assert explanation.kind == ("read" if method in ("GET", "HEAD") else "write")
    assert explanation.draw is None


def test_each_side_receives_its_own_target() -> None:
    explanation = explained(
        orders(DUAL_WRITE, rewrite="/v2/{id}", legacy="shop", new="shop-v2"),
        target="/api/%2e/orders/a%2fb?x=%2e/..",
    )
    assert explanation.path == "/api/orders/a%2Fb"
    assert explanation.params == {"id": "a%2Fb"}
    assert {(ask.side, ask.backend, ask.target) for ask in explanation.asked} == {
        (NEW, "shop-v2", "/v2/a%2Fb?x=%2e/.."),
        (LEGACY, "shop", "/api/orders/a%2Fb?x=%2e/.."),
    }


def test_weighted_read_shows_the_draw_and_its_key() -> None:
    for weight in (1, 50, 99):
        one = orders(Phase(weight), sticky=Sticky("cookie", "sid"))
        explanation = explained(one, headers=[("Cookie", "a=b"), ("cookie", "sid=42")])
        assert explanation.draw is not None
        assert explanation.draw.source == "cookie sid"
        assert (explanation.draw.key, explanation.draw.missing) == ("42", False)
        assert explanation.draw.value == draw("orders", "42")
        side = NEW if draw("orders", "42") < weight else LEGACY
        assert explanation.draw.side is side
        assert explanation.asked[0].side is side


def test_missing_key_is_said() -> None:
    explanation = explained(orders(Phase(50), sticky=Sticky("header", "X-User")))
    assert explanation.draw is not None
    assert (explanation.draw.key, explanation.draw.missing) == ("192.0.2.1", True)
    assert any("no header X-User" in note for note in explanation.notes)


def test_param_as_the_key() -> None:
    explanation = explained(orders(Phase(50), sticky=Sticky("param", "id")))
    assert explanation.draw is not None
    assert explanation.draw.key == "7"


def test_client_behind_a_trusted_proxy_is_believed() -> None:
    forwarded = [("X-Forwarded-For", "198.51.100.9, 10.1.1.1")]
    trusted = explained(orders(Phase(50)), headers=forwarded, peer_ip="10.0.0.1")
    assert trusted.client_ip == "198.51.100.9"
    assert trusted.draw is not None
    assert trusted.draw.key == "198.51.100.9"
    assert explained(orders(Phase(50)), headers=forwarded).client_ip == "192.0.2.1"


def test_override_by_a_tester() -> None:
    one = orders(override=Override("X-Side", ("192.0.2.0/24",)))
    chosen = explained(one, headers=[("x-side", "NEW")])
    assert chosen.override is NEW
    assert [(ask.role, ask.side) for ask in chosen.asked] == [("answer", NEW)]
    for headers, peer, method, words in [
        ([("x-side", "new")], "203.0.113.1", "GET", "not believed"),
        ([("x-side", "both")], "192.0.2.1", "GET", "names no side"),
        ([("x-side", "new")], "192.0.2.1", "POST", "reads alone"),
    ]:
        explanation = explained(one, method, headers=headers, peer_ip=peer)
        assert explanation.override is None
        assert explanation.asked[0].side is LEGACY
        assert any(words in note for note in explanation.notes)


def test_rules_are_shown_only_where_answers_are_compared() -> None:
    assert explained(orders()).compare == orders().compare
    assert explained(orders(), "POST").compare is None
    assert explained(orders(LEGACY_ONLY)).compare is None
    for one, headers, words in [
        (orders(compare=None), [], "compare is off"),
        (orders(), [("Range", "bytes=0-1")], "Range makes"),
        (orders(), [("if-none-match", "x")], "if-none-match makes"),
        (orders(), [("Connection", "Upgrade"), ("Upgrade", "websocket")], "an upgrade"),
        (orders(), [("Accept", "text/event-stream")], "an event stream"),
    ]:
        explanation = explained(one, headers=headers)
        assert explanation.compare is None
        assert any(words in note for note in explanation.notes)


def test_sampled_shadow() -> None:
    shadow = explained(orders(shadow=Shadow(sample=0.125))).asked[1]
    assert shadow.when == "12.5 % of such requests"


def test_second_write_says_whether_the_client_waits() -> None:
    waits = explained(orders(Phase(50)), "POST").asked[1]
    assert "after legacy succeeded" in waits.when
    assert "at most 1 s" in waits.when
    assert "waits" not in explained(orders(DUAL_WRITE), "POST").asked[1].when


def test_split_write_goes_where_the_reads_go() -> None:
    one = orders(Phase(50), split_writes=True)
    read, write = explained(one), explained(one, "POST")
    assert [ask.side for ask in write.asked] == [read.asked[0].side]
    assert write.draw == read.draw
    assert any("split" in note for note in write.notes)


def test_maintenance() -> None:
    explanation = explained(orders(maintenance="writes"), "POST")
    assert explanation.asked == ()
    assert any("503" in note for note in explanation.notes)
    assert explained(orders(maintenance="writes")).asked


def test_state_in_force_rather_than_declared() -> None:
    state = RouteState(Phase(50), LEGACY, missed=frozenset({NEW}))
    explanation = explained(orders(NEW_ONLY), "POST", state=state)
    assert explanation.phase == "50%"
    assert "new has missed writes of this route" in explanation.notes


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/..", 400),
        ("GET", "/a%00", 400),
        ("GET", "http://user@h/", 400),
        ("GET", "*", 400),
        ("CONNECT", "h:443", 501),
    ],
)
def test_refused_before_any_route(method: str, target: str, status: int) -> None:
    explanation = explained(orders(), method, target)
    assert explanation.refused is not None
    assert explanation.refused.status == status
    assert (explanation.route, explanation.asked) == (None, ())


def test_unmatched_goes_to_legacy() -> None:
    for method, target in (("GET", "/other"), ("OPTIONS", "*")):
        explanation = explained(orders(), method, target)
        assert explanation.route == UNMATCHED
        assert explanation.asked == (Ask("answer", LEGACY, "legacy", target),)
        assert any("no route" in note for note in explanation.notes)
    assert explain([orders()], Request("GET", "/other")).route is None


def test_a_request_at_its_last_hop_is_answered_here() -> None:
    for method, left, is_answered_here in [
        ("OPTIONS", "0", True),
        ("TRACE", "00", True),
        ("TRACE", "1", False),
        ("TRACE", "x", False),
        ("GET", "0", False),
    ]:
        explanation = explained(orders(), method, headers=[("Max-Forwards", left)])
        assert (explanation.asked == ()) == is_answered_here
        assert any("answered here" in note for note in explanation.notes) == is_answered_here


def test_host_of_the_url_outweighs_the_header() -> None:
    routes = [route("shop.example/a"), route("/a")]
    headers = (("Host", "shop.example"),)
    assert explain(routes, Request("GET", "/a", headers)).route == "shop.example/a"
    assert explain(routes, Request("GET", "http://other:80/a", headers)).route == "/a"


@pytest.mark.parametrize(
    ("keys", "request_", "beaten", "turned_away"),
    [
        (
            ["/a/b", "/a/{x}", "/a/*", "/{y}/b", "/b"],
            "GET /a/b",
            [
                ("/a/{x}", "segment 2: a literal (b) comes before {x}"),
                ("/a/*", "segment 2: a literal (b) comes before *"),
                ("/{y}/b", "segment 1: a literal (a) comes before {y}"),
            ],
            [],
        ),
        (["/a/{x}", "/a/*"], "GET /a/b", [("/a/*", "segment 2: a parameter ({x}) comes")], []),
        (["/a", "/a/*"], "GET /a", [("/a/*", "a path that ends comes before")], []),
        (["h/a", "/a"], "GET h/a", [("/a", "the winner names the host")], []),
        (["GET /a", "/a"], "GET /a", [("/a", "the winner names GET")], []),
        (["GET /a", "/a"], "HEAD /a", [("/a", "the winner names GET")], []),
        (["HEAD /a", "GET /a"], "HEAD /a", [("GET /a", "the winner names HEAD")], []),
        (
            ["POST /a/b", "i/a/b", "PUT i/a/b", "/*"],
            "GET h/a/b",
            [],
            [
                ("POST /a/b", "takes only POST"),
                ("i/a/b", "takes only the host i"),
                ("PUT i/a/b", "takes only the host i and takes only PUT"),
            ],
        ),
        (["POST /a"], "GET /a", [], [("POST /a", "takes only POST")]),
    ],
)
def test_reasons_of_the_routes_that_lost(
    keys: list[str],
    request_: str,
    beaten: list[tuple[str, str]],
    turned_away: list[tuple[str, str]],
) -> None:
    method, _, place = request_.partition(" ")
    host, slash, path = place.partition("/")
    headers = (("Host", host),) if host else ()
    explanation = explain([route(key) for key in keys], Request(method, slash + path, headers))
    for passed, expected in ((explanation.beaten, beaten), (explanation.turned_away, turned_away)):
        assert [each.route for each in passed] == [name for name, _ in expected]
        for each, (_, words) in zip(passed, expected, strict=True):
            assert words in each.because


@settings(deadline=None, max_examples=150)
@given(st.lists(ROUTE_KEYS, max_size=8), st.sampled_from(["GET", "HEAD", "PUT"]), REQUEST_PATHS)
def test_the_beaten_would_win_in_their_order(keys: list[str], method: str, path: str) -> None:
    """Without the winner the first of the beaten gets the request, and so on to the last."""
    routes = without_clashes(keys)
    order = []
    left = list(routes)
    while match := RouteTable.build(left, lambda each: each).match(method, "h", path):
        order.append(match.payload)
        left.remove(match.payload)
    if order:
        beaten, turned_away = contenders(routes, order[0], method, "h", path)
        assert [each.route for each in beaten] == [each.name for each in order[1:]]
        assert not {each.route for each in turned_away} & {each.name for each in order}
        assert all(each.because for each in turned_away)
