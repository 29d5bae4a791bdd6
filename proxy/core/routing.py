"""Which route takes a request: a segment tree, compiled once per table and never changed.

The most specific route wins, wherever it stands in the file. Of two routes that both take a
request, the first difference decides:

1. Their paths, segment by segment from the left: a literal before `{name}` before a trailing `*`.
   A path that ends comes before one that goes on with `*`.
2. The host: a route that names it before one for any host.
3. The method: a route that names it before one for any method.

A route that does not take the request's host or method is no candidate, however specific its
path: with `POST /a/b` and `/a/*`, a `GET /a/b` goes to the second.

A route that names GET takes HEAD too, since HEAD asks for what GET would answer; of routes with
the same path and host, one that names HEAD comes first.

`{name}` takes one segment that is not empty. `/a/*` takes `/a`, `/a/` and all below. Everything
else is compared literally with the canonical path (proxy.core.paths), upper and lower case
distinct; hosts are compared without case, port and trailing dot.

Cost: a match visits a node of the tree at most once, and more than one on the same level only
where the table has a literal beside a `{name}` and the path fits both. A path cannot add to that:
it is split no deeper than the deepest route.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import msgspec

from proxy.core.model import UNMATCHED, Route
from proxy.core.patterns import Pattern, Rewrite, normal_host

T = TypeVar("T")

NO_PARAMS: Final[Mapping[str, str]] = MappingProxyType({})


class Match(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """The payload of the route that takes the request, and its path parameters.

    The parameters are segments of the canonical path: they keep their escapes.
    """

    payload: T
    params: Mapping[str, str]


class _Entry(Match[T], Generic[T], frozen=True, gc=False):
    """One route in the tree. `names` says which segments, from 1, its parameters are.

    Where there are none, it is handed out as the match itself.
    """

    names: tuple[tuple[str, int], ...]


class _Choice(msgspec.Struct, Generic[T], gc=False):
    """The routes of one path that differ in host or methods."""

    any_method: _Entry[T] | None = None
    by_method: dict[str, _Entry[T]] | None = None
    by_host: "dict[str, _Choice[T]] | None" = None


class _Node(msgspec.Struct, Generic[T], gc=False):
    """A place in the tree. `exact` are the routes that end here, `tail` those with `/*` here.

    A lone route for any host and method stands there without a choice around it. The tree has no
    cycles and is not tracked by the garbage collector: a payload must not lead back to its table.
    """

    literals: "dict[str, _Node[T]] | None" = None
    param: "_Node[T] | None" = None
    exact: _Entry[T] | _Choice[T] | None = None
    tail: _Entry[T] | _Choice[T] | None = None


class RouteTable(Generic[T]):
    """All routes of one snapshot. Immutable: an edit of the file makes a new table."""

    __slots__ = ("_max_split", "_root")

    def __init__(self, root: _Node[T], depth: int) -> None:
        """For `build_in_slices`. `depth` is that of the deepest node."""
        self._root = root
        self._max_split = depth + 1

    @classmethod
    def build(cls, routes: Iterable[Route], payload: Callable[[Route], T]) -> "RouteTable[T]":
        """Compile the routes; `payload` makes what a match will hand out for a route.

        The unmatched route is left out: `match` says None and the caller knows what to do. Raises
        ValueError for a path that is no Pattern, and for two routes that would take the same
        requests (same host, a method in common or none named, paths that differ at most in the
        names of parameters); a file with such routes is refused long before.
        """
        for table in build_in_slices(routes, payload, 1 << 30):
            if table is not None:
                return table
        raise AssertionError("the last slice carries the table")

    def match(self, method: str, host: str, path: str) -> Match[T] | None:
        """The most specific route that takes the request; None when there is none.

        `path` is canonical, `host` the Host header as it came (empty when there was none). No
        route takes the target `*`, which is about the whole server.
        """
        if path == "*":
            return None
        segments = path.split("/", self._max_split)
        entry = _walk(self._root, segments, 1, method, host)
        if entry is None:
            return None
        if not entry.names:
            return entry
        params = {}
        for name, index in entry.names:
            params[name] = segments[index]
        return Match(entry.payload, params)


def build_in_slices(
    routes: Iterable[Route], payload: Callable[[Route], T], slice_size: int
) -> "Iterator[RouteTable[T] | None]":
    """`RouteTable.build`, for a caller that has other things to do in between.

    Yields None after each `slice_size` routes, and the table as its last value.
    """
    root: _Node[T] = _Node()
    depth = 0
    for count, route in enumerate(routes, 1):
        if route.name != UNMATCHED:
            depth = max(depth, _insert(root, route, payload(route)))
        if count % slice_size == 0:
            yield None
    yield RouteTable(root, depth)


def rewrite(route: Route, params: Mapping[str, str], path: str) -> str:
    """The path that new gets for a request that `route` took. Workers keep the Rewrite instead."""
    if route.rewrite is None:
        return path
    return Rewrite.parse(route.path, route.rewrite).apply(params, path)


def _walk(node: _Node[T], segments: list[str], at: int, method: str, host: str) -> _Entry[T] | None:
    """The best entry below `node` for the segments from `at` on.

    Goes down in a loop while there is one way, and calls itself only where another one is left to
    be tried; so it nests no deeper than the deepest route.
    """
    end = len(segments)
    while at < end:
        segment = segments[at]
        at += 1
        child = node.literals.get(segment) if node.literals is not None else None
        param = node.param if segment else None
        if child is None:
            child, param = param, None
            if child is None:
                break
        if param is not None or node.tail is not None:
            found = _walk(child, segments, at, method, host)
            if found is None and param is not None:
                found = _walk(param, segments, at, method, host)
            if found is not None:
                return found
            break
        node = child
    else:
        exact = node.exact
        if exact is not None:
            # isinstance is fast where it holds, and a lone entry is the common case.
            entry = exact if isinstance(exact, _Entry) else _chosen(exact, method, host)
            if entry is not None:
                return entry
    tail = node.tail
    if tail is None or isinstance(tail, _Entry):
        return tail
    return _chosen(tail, method, host)


def _chosen(choice: _Choice[T], method: str, host: str) -> _Entry[T] | None:
    """The entry for host and method among routes of one path."""
    if choice.by_host is not None:
        of_host = choice.by_host.get(normal_host(host))
        entry = _chosen(of_host, method, host) if of_host is not None else None
        if entry is not None:
            return entry
    if choice.by_method is not None:
        entry = choice.by_method.get(method)
        if entry is None and method == "HEAD":
            entry = choice.by_method.get("GET")
        if entry is not None:
            return entry
    return choice.any_method


def _insert(root: _Node[T], route: Route, payload: T) -> int:
    """Add a route below `root`; the depth of its node. Raises ValueError for a clash."""
    pattern = Pattern.parse(route.path)
    node = root
    for segment in pattern.segments:
        if segment.startswith("{"):
            if node.param is None:
                node.param = _Node()
            node = node.param
        else:
            if node.literals is None:
                node.literals = {}
            node = node.literals.setdefault(segment, _Node())
    entry = _Entry(payload, NO_PARAMS, pattern.names)
    if pattern.tail:
        node.tail = _joined(node.tail, entry, route)
    else:
        node.exact = _joined(node.exact, entry, route)
    return len(pattern.segments)


def _joined(
    present: _Entry[T] | _Choice[T] | None, entry: _Entry[T], route: Route
) -> _Entry[T] | _Choice[T]:
    """What stands at a node once `entry` has joined what is there."""
    if present is None and not route.host and not route.methods:
        return entry
    whole = present if isinstance(present, _Choice) else _Choice(present)
    choice = whole
    if route.host:
        if choice.by_host is None:
            choice.by_host = {}
        choice = choice.by_host.setdefault(normal_host(route.host), _Choice())
    if not route.methods:
        if choice.any_method is not None:
            raise ValueError(f"the route {route.pattern} takes the same requests as another one")
        choice.any_method = entry
    for method in dict.fromkeys(route.methods):
        if choice.by_method is None:
            choice.by_method = {}
        if choice.by_method.setdefault(method, entry) is not entry:
            raise ValueError(f"the route {route.pattern} takes the same requests as another one")
    return whole
