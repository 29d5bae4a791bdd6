"""Findings about how routes of one table meet: asked of the same matcher that serves."""

from collections.abc import Iterator

from proxy.config.findings import Finding
from proxy.config.places import Places
from proxy.config.settings import Config
from proxy.core.model import UNMATCHED, Route
from proxy.core.patterns import Pattern
from proxy.core.routing import RouteTable

# A segment that no literal of a table is likely to be.
_PROBE = "banyan-probe"
_WRITES = ("POST", "PUT", "PATCH", "DELETE")


def lint_tables(config: Config, places: Places) -> Iterator[Finding]:
    """Findings about several routes at once."""
    routes = [route for route in config.routes if route.name != UNMATCHED]
    yield from _split_methods(routes, config.routes[-1], places)
    yield from _shadowed_hosts(routes, places)


def _split_methods(routes: list[Route], unmatched: Route, places: Places) -> Iterator[Finding]:
    """Reads and writes of one path on different routes drift apart, phase by phase."""
    limited = [route for route in routes if route.methods]
    if not limited:
        return
    table: RouteTable[Route] = RouteTable.build(routes, lambda route: route)
    told: set[tuple[str, str]] = set()
    for route in limited:
        host, path = route.host or "", _probe(route)
        owners = {
            method: found.payload if (found := table.match(method, host, path)) else unmatched
            for method in dict.fromkeys(("GET", *_WRITES, *route.methods))
        }
        read_by = owners["GET"]
        writes = {
            method: owner
            for method, owner in owners.items()
            if method not in owner.safe_methods and (route is read_by or route is owner)
        }
        # Methods that no route of this very path names only matter where none is named.
        named = {m: o for m, o in writes.items() if o.path == route.path and o.name != UNMATCHED}
        apart = {
            method: owner
            for method, owner in (
                named if any(o is not read_by for o in named.values()) else writes
            ).items()
            if owner is not read_by
            and (read_by.pattern, owner.pattern) not in told
            and _harmful(read_by, owner)
        }
        if not apart:
            continue
        told |= {(read_by.pattern, owner.pattern) for owner in apart.values()}
        listed: dict[str, list[str]] = {}
        for method, owner in apart.items():
            listed.setdefault(_named(owner), []).append(method)
        elsewhere = ", ".join(f"{', '.join(methods)} on {on}" for on, methods in listed.items())
        yield places.finding(
            "SPLIT_METHODS",
            ("routes", route.pattern),
            f"reads of this path are on {_named(read_by)}, but {elsewhere}: a side may answer "
            "reads of what only the other was told; use one route for all methods, or move them "
            "in the same edit",
            of_key=True,
        )


def _harmful(read_by: Route, written_by: Route) -> bool:
    """Always for two routes of one path; else where a side answers reads and gets no writes."""
    if read_by.path == written_by.path and UNMATCHED not in (read_by.name, written_by.name):
        return True
    if written_by.split_writes:
        return False
    reads, writes = read_by.phase.progress, written_by.phase.progress
    return (reads >= 1 and writes < 0) or (reads <= 99 and writes > 100)


def _named(route: Route) -> str:
    return "no route (legacy)" if route.name == UNMATCHED else f"{route.pattern} ({route.phase})"


def _probe(route: Route) -> str:
    pattern = Pattern.parse(route.path)
    segments = [_PROBE if each == "{}" else each for each in pattern.nameless]
    return "/" + "/".join((*segments, _PROBE) if pattern.tail else segments)


def _shadowed_hosts(routes: list[Route], places: Places) -> Iterator[Finding]:
    """Paths are compared before hosts, so a longer path without a host wins over a host."""
    of_hosts: dict[tuple[str, ...], list[Route]] = {}
    exact: set[tuple[tuple[str, ...], bool, str | None]] = set()
    anywhere: list[tuple[Pattern, Route]] = []
    if not any(route.host for route in routes):
        return
    for route in routes:
        pattern = Pattern.parse(route.path)
        exact.add((pattern.nameless, pattern.tail, route.host))
        if route.host is None:
            anywhere.append((pattern, route))
        elif pattern.tail:
            of_hosts.setdefault(pattern.nameless, []).append(route)
    told: set[str] = set()
    for pattern, winner in anywhere:
        segments = pattern.nameless
        for length in range(len(segments) + 1):
            for loser in of_hosts.get(segments[:length], ()):
                if (
                    (length == len(segments) and pattern.tail)
                    or (segments, pattern.tail, loser.host) in exact
                    or loser.pattern in told
                ):
                    continue
                told.add(loser.pattern)
                yield places.finding(
                    "SHADOWED_ROUTE",
                    ("routes", loser.pattern),
                    f"requests for {winner.path} on {loser.host} go to {winner.pattern}: paths are "
                    f"compared before hosts; add {loser.host}{winner.path} if that is not meant",
                    of_key=True,
                )
