"""The segment tree: the rules by example, and against a slow obvious matcher."""

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.model import LEGACY_ONLY, UNMATCHED, Route
from proxy.core.routing import RouteTable, build_in_slices, rewrite


def route(key: str, rewritten: str | None = None) -> Route:
    """A route from its key, `[METHOD[,METHOD] ][host]/path`."""
    methods, _, place = key.rpartition(" ")
    host, slash, path = place.partition("/")
    return Route(
        name=key,
        pattern=key,
        methods=tuple(methods.split(",")) if methods else (),
        host=host or None,
        path=slash + path,
        phase=LEGACY_ONLY,
        rewrite=rewritten,
    )


def table(*keys: str) -> RouteTable[str]:
    return RouteTable.build([route(key) for key in keys], lambda one: one.name)


def taken(keys: Sequence[str], request: str, method: str = "GET") -> str | None:
    """The key of the route that takes `[host]/path`, whatever the order of the keys."""
    host, slash, path = request.partition("/")
    found = {
        match.payload if match is not None else None
        for order in itertools.islice(itertools.permutations(keys), 24)
        if (match := table(*order).match(method, host, slash + path)) or True
    }
    assert len(found) == 1, "the order of the file decided"
    return found.pop()


@pytest.mark.parametrize(
    ("keys", "request_", "winner"),
    [
        # literal before {name} before *
        (["/a/b", "/a/{x}", "/a/*"], "/a/b", "/a/b"),
        (["/a/b", "/a/{x}", "/a/*"], "/a/c", "/a/{x}"),
        (["/a/b", "/a/{x}", "/a/*"], "/a/b/c", "/a/*"),
        (["/a/b", "/a/{x}", "/a/*"], "/a", "/a/*"),
        (["/a/b", "/a/{x}", "/a/*"], "/a/", "/a/*"),
        (["/a/b", "/a/{x}", "/a/*"], "/b", None),
        (["/a", "/a/*"], "/a", "/a"),
        (["/a/", "/a/*"], "/a/", "/a/"),
        # from the left: an earlier literal outweighs all that follows
        (["/a/{x}/*", "/{x}/b/c"], "/a/b/c", "/a/{x}/*"),
        (["/a/*", "/{x}/b"], "/a/b", "/a/*"),
        (["/a/{x}", "/{x}/b"], "/a/b", "/a/{x}"),
        # back to the other branch where the literal leads nowhere
        (["/a/b/c", "/a/{x}/d"], "/a/b/d", "/a/{x}/d"),
        (["/a/b/c", "/{x}/b/d"], "/a/b/d", "/{x}/b/d"),
        (["/a/b/c", "/a/*"], "/a/b/d", "/a/*"),
        (["/a/b/c", "/*"], "/a/b", "/*"),
        (["/a/{x}/c", "/a/*", "/*"], "/a/b/d", "/a/*"),
        (["/a/{x}/c", "/{x}/*"], "/a/b/d", "/{x}/*"),
        # the collection, and only it
        (["/a/*"], "/ab", None),
        (["/a/*"], "/a//", "/a/*"),
        (["/*"], "/", "/*"),
        (["/", "/*"], "/", "/"),
        (["/"], "/a", None),
        (["/a"], "/a/", None),
        (["/a/"], "/a", None),
        # {name} is one segment that is not empty
        (["/a/{x}"], "/a/", None),
        (["/a/{x}"], "/a/b/", None),
        (["/a/{x}/"], "/a/b/", "/a/{x}/"),
        (["/{x}"], "/", None),
        (["/a/{x}/b"], "/a//b", None),
        (["/a/{x}", "/a/*"], "/a/", "/a/*"),
        (["/a//b", "/a/{x}/b"], "/a//b", "/a//b"),
        # data is compared literally, cases are distinct
        (["/a/b"], "/a%2Fb", None),
        (["/{x}"], "/a%2Fb", "/{x}"),
        (["/a"], "/a;v=1", None),
        (["/a"], "/A", None),
        (["/%7eann"], "/~ann", "/%7eann"),
        (["/café"], "/caf%C3%A9", "/café"),
        (["/a%2fb"], "/a%2Fb", "/a%2fb"),
        # then the host
        (["h/a", "/a"], "h/a", "h/a"),
        (["h/a", "/a"], "i/a", "/a"),
        (["h/a", "/a"], "/a", "/a"),
        (["h/a/*", "/a/b"], "h/a/b", "/a/b"),
        (["h/a", "i/a"], "j/a", None),
        (["Shop.Example/a"], "sHOP.example.:8080/a", "Shop.Example/a"),
        (["[::1]/a"], "[::1]:80/a", "[::1]/a"),
        (["h/a/{x}", "/a/*"], "i/a/b", "/a/*"),
        # then the method
        (["GET /a", "/a"], "/a", "GET /a"),
        (["POST /a", "/a"], "/a", "/a"),
        (["POST,GET /a", "DELETE /a"], "/a", "POST,GET /a"),
        (["POST /a", "DELETE /a"], "/a", None),
        (["POST /a/b", "/a/*"], "/a/b", "/a/*"),
        (["POST /a/b", "/{x}/b"], "/a/b", "/{x}/b"),
        (["GET /a", "h/a"], "h/a", "h/a"),
        (["POST h/a", "/a"], "h/a", "/a"),
        (["POST h/a", "GET /a", "/a"], "h/a", "GET /a"),
    ],
)
def test_most_specific_route_wins(keys: list[str], request_: str, winner: str | None) -> None:
    assert taken(keys, request_) == winner


@pytest.mark.parametrize(
    ("keys", "winner"),
    [
        (["GET /a"], "GET /a"),
        (["GET /a", "HEAD /a"], "HEAD /a"),
        (["GET /a", "/a"], "GET /a"),
        (["HEAD /a", "/a"], "HEAD /a"),
        (["POST /a"], None),
        (["GET /a", "HEAD /*"], "GET /a"),
        (["GET h/a", "HEAD /a"], "GET h/a"),
    ],
)
def test_head_goes_where_get_goes_unless_named(keys: list[str], winner: str | None) -> None:
    assert taken(keys, "h/a", "HEAD") == winner


def test_get_does_not_go_where_only_head_is_named() -> None:
    assert taken(["HEAD /a"], "/a", "GET") is None


def test_methods_are_case_sensitive() -> None:
    assert taken(["GET /a"], "/a", "get") is None


def test_params_are_the_segments_as_they_came() -> None:
    routes = table("/users/{id}/orders/{order}", "/users/{user}/*", "/users/me")
    match = routes.match("GET", "", "/users/a%2Fb/orders/7;v=1")
    assert match is not None
    assert match.params == {"id": "a%2Fb", "order": "7;v=1"}
    match = routes.match("GET", "", "/users/7/carts")
    assert match is not None
    assert match.params == {"user": "7"}
    match = routes.match("GET", "", "/users/me")
    assert match is not None
    assert match.params == {}


def test_each_route_of_one_path_names_its_params_itself() -> None:
    routes = table("GET /users/{id}", "POST /users/{name}")
    get, post = (routes.match(method, "", "/users/7") for method in ("GET", "POST"))
    assert get is not None
    assert post is not None
    assert (get.params, post.params) == ({"id": "7"}, {"name": "7"})


def test_whole_server_target_is_nobodys() -> None:
    assert table("/*").match("OPTIONS", "", "*") is None


def test_unmatched_route_is_left_out() -> None:
    unmatched = Route(UNMATCHED, "/*", (), None, "/*", LEGACY_ONLY)
    routes = RouteTable.build([route("/a"), unmatched], lambda one: one.name)
    assert routes.match("GET", "", "/b") is None


def test_empty_table_takes_nothing() -> None:
    assert table().match("GET", "h", "/") is None


@pytest.mark.parametrize(
    "keys",
    [
        ["/a", "/a"],
        ["/a/{x}", "/a/{y}"],
        ["/a/*", "/a/*"],
        ["GET /a", "POST,GET /a"],
        ["h/a", "H.:80/a"],
        ["/~a", "/%7ea"],
    ],
)
def test_routes_for_the_same_requests_clash(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="same requests"):
        table(*keys)


def test_a_table_in_slices_is_the_same_table() -> None:
    routes = [route(f"/a{n}/*") for n in range(25)]
    steps = list(build_in_slices(routes, lambda one: one.name, 10))
    assert steps[:-1] == [None, None]
    whole = steps[-1]
    assert whole is not None
    for n in range(25):
        match = whole.match("GET", "", f"/a{n}/b")
        assert match is not None
        assert match.payload == f"/a{n}/*"


def test_hostile_path_costs_no_more_than_the_table_has_nodes() -> None:
    """Literal and parameter side by side on each of 12 levels, and no path ends well."""
    levels = [("a", f"{{x{level}}}") for level in range(12)]
    routes = table(*("/" + "/".join(way) + "/end" for way in itertools.product(*levels)))
    for length in (12, 13, 14, 10_000):
        assert routes.match("GET", "", "/a" * length) is None
    assert routes.match("GET", "", "/" * 30_000) is None
    assert routes.match("GET", "", "/a" * 12 + "/end") is not None


def test_long_chain_of_one_way_does_not_nest() -> None:
    routes = table("/" + "/".join(["a"] * 128), "/*")
    match = routes.match("GET", "", "/a" * 127)
    assert match is not None
    assert match.payload == "/*"


@pytest.mark.parametrize(
    ("key", "template", "path", "rewritten"),
    [
        ("/users/{id}", "/v2/users/{id}", "/users/a%2Fb;c", "/v2/users/a%2Fb;c"),
        ("/users/{id}", "/v2/users/{id}/profile", "/users/7", "/v2/users/7/profile"),
        ("/{a}/{b}", "/{b}/x/{a}", "/1/2", "/2/x/1"),
        ("/users/{id}", "/one", "/users/7", "/one"),
        ("/api/*", "/v2/*", "/api", "/v2"),
        ("/api/*", "/v2/*", "/api/", "/v2/"),
        ("/api/*", "/v2/*", "/api/a/b%2F//c", "/v2/a/b%2F//c"),
        ("/api/*", "/*", "/api", "/"),
        ("/api/*", "/*", "/api/a", "/a"),
        ("/*", "/v2/*", "/a/b", "/v2/a/b"),
        ("/*", "/v2/*", "/", "/v2/"),
        ("/api/*", "/v2", "/api/a", "/v2"),
        ("/u/{id}/*", "/v2/{id}/*", "/u/7/a", "/v2/7/a"),
        ("/u/{id}/*", "/v2/{id}/*", "/u/7", "/v2/7"),
        ("/a", None, "/a", "/a"),
    ],
)
def test_rewrite(key: str, template: str | None, path: str, rewritten: str) -> None:
    one = route(key, template)
    match = RouteTable.build([one], lambda whole: whole).match("GET", "", path)
    assert match is not None
    assert rewrite(one, match.params, path) == rewritten


# The slow obvious matcher: a regular expression a route, all tried, the candidates sorted by the
# three sentences of the contract.


def obvious(routes: Sequence[Route], method: str, host: str, path: str) -> Route | None:
    candidates = [one for one in routes if takes(one, method, host, path)]
    return min(candidates, key=lambda one: rank(one, method), default=None)


def takes(one: Route, method: str, host: str, path: str) -> bool:
    pattern, tail = (one.path[:-2], True) if one.path.endswith("/*") else (one.path, False)
    expression = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(pattern)) + ("(/.*)?" if tail else "")
    named = set(one.methods) | ({"HEAD"} if "GET" in one.methods else set())
    return (
        re.fullmatch(expression, path, re.DOTALL) is not None
        and (one.host is None or one.host == host)
        and (not one.methods or method in named)
    )


def rank(one: Route, method: str) -> tuple[list[int], bool, int]:
    kinds = [
        2 if segment == "*" else 1 if segment.startswith("{") else 0
        for segment in one.path.split("/")[1:]
    ]
    by_method = 0 if method in one.methods else 1 if one.methods else 2
    return kinds, one.host is None, by_method


SEGMENTS = st.sampled_from(["a", "b", "", "{x}", "{y}"])
ROUTE_KEYS = st.builds(
    lambda methods, host, segments, tail: (
        ",".join(methods) + " " * bool(methods) + host + "/" + "/".join(segments) + "/*" * tail
    ),
    st.lists(st.sampled_from(["GET", "HEAD", "POST"]), unique=True, max_size=2),
    st.sampled_from(["", "", "h", "i"]),
    st.lists(SEGMENTS, min_size=1, max_size=4).filter(
        lambda segments: segments.count("{x}") < 2 and segments.count("{y}") < 2
    ),
    st.booleans(),
)


def without_clashes(keys: Sequence[str]) -> list[Route]:
    """The routes of the keys, less those that take the same requests as an earlier one."""
    kept: dict[tuple[str, str | None, str], Route] = {}
    for key in keys:
        one = route(key)
        shape = re.sub(r"\{\w+\}", "{}", one.path)
        places = [(shape, one.host, method) for method in one.methods or ("any",)]
        if not any(place in kept for place in places):
            kept.update(dict.fromkeys(places, one))
    return list({id(one): one for one in kept.values()}.values())


REQUEST_PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5).map(
    lambda segments: "/" + "/".join(segments)
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_agrees_with_the_obvious_matcher(data: st.DataObject) -> None:
    routes = without_clashes(data.draw(st.lists(ROUTE_KEYS, max_size=12)))
    compiled = RouteTable.build(routes, lambda one: one)
    for _ in range(8):
        method = data.draw(st.sampled_from(["GET", "HEAD", "POST", "PUT"]))
        host = data.draw(st.sampled_from(["h", "i", "j", ""]))
        path = data.draw(REQUEST_PATHS)
        match = compiled.match(method, host, path)
        assert (match.payload if match else None) == obvious(routes, method, host, path)
        if match is not None:
            for name, value in match.params.items():
                assert value
                assert f"{{{name}}}" in match.payload.path
