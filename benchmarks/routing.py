"""How long a match takes with 10, 100, 1,000 and 10,000 routes: `python -m benchmarks.routing`.

Eight routes of ten end with `/*`, one has parameters, one is a literal path. Requests go to ten
routes of the table, or are spread over all of them: in the first case the tree is what differs
between the rows, in the second the tree and what the processor's caches hold of it.
"""

import time

from proxy.core.model import LEGACY_ONLY, Route
from proxy.core.paths import canonical_path
from proxy.core.routing import RouteTable

SIZES = (10, 100, 1_000, 10_000)
REQUESTS = 2_000
ROUNDS = 21


def route_paths(count: int) -> list[str]:
    """The paths of a table of `count` routes, shaped like an API's."""
    shapes = ("/api/v1/{0}/*",) * 8 + ("/api/v1/{0}/{{id}}/items/{{item}}", "/api/v1/{0}/status")
    return [shapes[n % 10].format(f"resource-{n}") for n in range(count)]


def request_paths(count: int) -> list[str]:
    """REQUESTS distinct paths that `count` routes of a table take in turn."""
    shapes = ("/api/v1/{0}/{1}",) * 8 + ("/api/v1/{0}/{1}/items/7", "/api/v1/{0}/status")
    paths = []
    for request in range(REQUESTS):
        n = (request * 7919) % count
        paths.append(shapes[n % 10].format(f"resource-{n}", request))
    return paths


def table_of(size: int) -> RouteTable[str]:
    """A table of that many routes."""
    routes = [Route(path, path, (), None, path, LEGACY_ONLY) for path in route_paths(size)]
    return RouteTable.build(routes, lambda route: route.name)


def microseconds_a_match(table: RouteTable[str], paths: list[str]) -> float:
    """One round; the loop itself is taken off."""
    match = table.match
    start = time.perf_counter()
    for path in paths:
        match("GET", "shop.example:8080", path)
    matched = time.perf_counter()
    for _ in paths:
        pass
    return ((matched - start) - (time.perf_counter() - matched)) / len(paths) * 1e6


def measure() -> dict[tuple[int, int], float]:
    """µs a match by table size and number of routes asked for.

    The best of rounds that take turns: what makes the others slower is not the table.
    """
    cases = {}
    for size in SIZES:
        table = table_of(size)
        for asked in {SIZES[0], size}:
            paths = request_paths(asked)
            missed = [path for path in paths if table.match("GET", "", path) is None]
            if missed:
                raise AssertionError(f"no route took {missed[0]}")
            cases[size, asked] = table, paths
    results = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):
        for case, (table, paths) in cases.items():
            results[case] = min(results[case], microseconds_a_match(table, paths))
    return results


def microseconds_a_path(path: str) -> float:
    """What `canonical_path` takes for that path."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(REQUESTS):
            canonical_path(path)
        best = min(best, time.perf_counter() - start)
    return best / REQUESTS * 1e6


def main() -> None:
    """Print the table."""
    results = measure()
    few = SIZES[0]
    base = results[few, few]
    print("µs per match, and the ratio to the first row")
    print(f"{'routes':>8}  {'ten of them asked':>18}  {'all of them asked':>18}")
    for size in SIZES:
        columns = (f"{results[size, n]:.2f} ({results[size, n] / base:.2f})" for n in (few, size))
        print(f"{size:>8,}  " + "  ".join(f"{column:>18}" for column in columns))
    for path in ("/api/v1/resource-7/1234", "/api/v1/%7eann/./caf%c3%a9"):
        print(f"canonical_path: {microseconds_a_path(path):.2f} µs for {path}")


if __name__ == "__main__":
    main()
