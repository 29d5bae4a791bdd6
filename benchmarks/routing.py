"""How long a match takes with 10, 100, 1,000 and 10,000 routes: `python -m benchmarks.routing`.

Every tenth route has a parameter, every tenth is one literal path, the others end with `/*`, as in
routes.yaml. The requests are spread over the whole table. The tree is walked through the same
depth whatever its size; what is left of a difference is the processor's cache.
"""

import time
from statistics import median

from proxy.core.model import LEGACY_ONLY, Route
from proxy.core.paths import canonical_path
from proxy.core.routing import RouteTable

SIZES = (10, 100, 1_000, 10_000)
REQUESTS = 2_000
ROUNDS = 15


def route_paths(count: int) -> list[str]:
    """The paths of a table of `count` routes, shaped like an API's."""
    shapes = ("/api/v1/{0}/*",) * 8 + ("/api/v1/{0}/{{id}}/items/{{item}}", "/api/v1/{0}/status")
    return [shapes[n % 10].format(f"resource-{n}") for n in range(count)]


def request_paths(count: int) -> list[str]:
    """REQUESTS paths that the routes of a table of that size take."""
    shapes = ("/api/v1/{0}/{1}",) * 8 + ("/api/v1/{0}/{1}/items/7", "/api/v1/{0}/status")
    paths = []
    for request in range(REQUESTS):
        n = (request * 7919) % count
        paths.append(shapes[n % 10].format(f"resource-{n}", request))
    return paths


def microseconds_a_match(table: RouteTable[str], paths: list[str]) -> float:
    """The median over the rounds; the loop itself is taken off."""
    match = table.match
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for path in paths:
            match("GET", "shop.example:8080", path)
        matched = time.perf_counter()
        for _ in paths:
            pass
        rounds.append((matched - start) - (time.perf_counter() - matched))
    return median(rounds) / len(paths) * 1e6


def measure() -> dict[int, float]:
    """µs a match by table size."""
    results = {}
    for size in SIZES:
        routes = [Route(path, path, (), None, path, LEGACY_ONLY) for path in route_paths(size)]
        table = RouteTable.build(routes, lambda route: route.name)
        paths = request_paths(size)
        missed = [path for path in paths if table.match("GET", "", path) is None]
        if missed:
            raise AssertionError(f"no route took {missed[0]}")
        results[size] = microseconds_a_match(table, paths)
    return results


def microseconds_a_path(path: str) -> float:
    """What `canonical_path` takes for that path."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(REQUESTS):
            canonical_path(path)
        rounds.append(time.perf_counter() - start)
    return median(rounds) / REQUESTS * 1e6


def main() -> None:
    """Print the table."""
    results = measure()
    print(f"{'routes':>8}  {'µs per match':>12}  {'ratio':>5}")
    for size, cost in results.items():
        print(f"{size:>8,}  {cost:>12.2f}  {cost / results[SIZES[0]]:>5.2f}")
    plain, escaped = "/api/v1/resource-7/1234", "/api/v1/%7eann/./caf%c3%a9"
    print(f"canonical_path: {microseconds_a_path(plain):.2f} µs for {plain}")
    print(f"canonical_path: {microseconds_a_path(escaped):.2f} µs for {escaped}")


if __name__ == "__main__":
    main()
