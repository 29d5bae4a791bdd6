"""The routes whose path fits a request that another one got, and why they did not get it.

Found by asking a table that holds that one route alone, so by the code that routes.
"""

from collections.abc import Sequence

import msgspec

from proxy.core.model import UNMATCHED, Route
from proxy.core.patterns import Pattern, normal_host, specificity
from proxy.core.routing import RouteTable


class Passed(msgspec.Struct, frozen=True):
    """A route that did not get the request, and why."""

    route: str
    pattern: str
    because: str


def contenders(
    routes: Sequence[Route], winner: Route | None, method: str, host: str, path: str
) -> tuple[tuple[Passed, ...], tuple[Passed, ...]]:
    """The routes whose path fits but which did not get the request: beaten, and turned away."""
    beaten = []
    turned_away = []
    for route in routes:
        if route is winner or route.name == UNMATCHED:
            continue
        anyones = msgspec.structs.replace(route, host=None, methods=())
        if not _takes(anyones, method, host, path):
            continue
        if winner is not None and _takes(route, method, host, path):
            beaten.append((specificity(route, method), route))
        else:
            turned_away.append(Passed(route.name, route.pattern, _refusing(route, method, host)))
    beaten.sort(key=lambda each: each[0])
    return (
        tuple(
            Passed(route.name, route.pattern, _less_specific(winner, route, method))
            for _, route in beaten
            if winner is not None
        ),
        tuple(turned_away),
    )


def _takes(route: Route, method: str, host: str, path: str) -> bool:
    alone = RouteTable.build([route], lambda each: each)
    return alone.match(method, host, path) is not None


def _refusing(route: Route, method: str, host: str) -> str:
    """Why a route whose path fits does not take a request."""
    reasons = []
    if route.host and normal_host(route.host) != normal_host(host):
        reasons.append(f"takes only the host {route.host}")
    if not _takes(msgspec.structs.replace(route, host=None, path="/*"), method, host, "/"):
        reasons.append(f"takes only {', '.join(route.methods)}")
    return " and ".join(reasons)


def _less_specific(winner: Route, loser: Route, method: str) -> str:
    """Why `loser` comes after `winner`: the first difference, as the rules go."""
    ours, theirs = _written(winner), _written(loser)
    for number, (our, their) in enumerate(zip(ours, theirs, strict=False), 1):
        if _kind(our) != _kind(their):
            return f"segment {number}: {_kind(our)} ({our or 'empty'}) comes before {their}"
    if len(ours) != len(theirs):
        return "a path that ends comes before one that goes on with *"
    if bool(winner.host) != bool(loser.host):
        return "the winner names the host, this one does not"
    if method in winner.methods or not loser.methods:
        return (
            f"the winner names {method if method in winner.methods else 'GET'}, this one does not"
        )
    return "the winner is more specific"


def _written(route: Route) -> tuple[str, ...]:
    pattern = Pattern.parse(route.path)
    return (*pattern.segments, "*") if pattern.tail else pattern.segments


def _kind(segment: str) -> str:
    return "*" if segment == "*" else "a parameter" if segment.startswith("{") else "a literal"
