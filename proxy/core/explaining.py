"""Why a request goes where it goes: the decisions of the data plane, each with its reason.

Nothing is decided here: the canonical path, the match, the client's address, the draw and the
plan come from the functions that serve requests.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from proxy.core.contenders import Passed, contenders
from proxy.core.forwarding import COUNTS_HOPS, TrustCheck, client_address
from proxy.core.message import list_members
from proxy.core.model import UNMATCHED, Compare, Override, Route, RouteState, Side
from proxy.core.paths import PathRefusal, canonical_path, split_target
from proxy.core.patterns import normal_host
from proxy.core.planning import (
    draws_new,
    needs_draw,
    plan_read,
    plan_write,
    under_maintenance,
)
from proxy.core.routing import NO_PARAMS, RouteTable, rewrite
from proxy.core.sticky import draw, sticky_header, sticky_key

_is_conditional = re.compile(r"if-.*|range", re.IGNORECASE).fullmatch
_is_spent = re.compile(r"0{1,18}").fullmatch


class Request(msgspec.Struct, frozen=True):
    """A request to be explained. `target` is a path or a URL; all text is decoded as latin-1."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    peer_ip: str = "127.0.0.1"  # who connects to us

    def header(self, name: str, joined_by: str = ", ") -> str | None:
        """The values of a header as one, None when there is none."""
        values = [value.strip() for each, value in self.headers if each.lower() == name.lower()]
        return joined_by.join(values) if values else None


class Draw(msgspec.Struct, frozen=True):
    """The sticky draw: new where `value` < `weight`. `missing`: the client's address stood in."""

    source: str  # "cookie sid", "client-ip"
    key: str
    missing: bool
    value: float
    weight: int
    side: Side


class Ask(msgspec.Struct, frozen=True):
    """One side that is asked, or may be: as "answer", "shadow", "fallback" or "second"."""

    role: str
    side: Side
    backend: str
    target: str
    when: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one request. Without a route, `refused` or `notes` say why."""

    method: str
    target: str
    host: str
    client_ip: str
    path: str | None = None  # canonical: what is matched and forwarded
    refused: PathRefusal | None = None
    route: str | None = None
    pattern: str | None = None
    params: dict[str, str] = {}
    beaten: tuple[Passed, ...] = ()  # took the request too, but are less specific
    turned_away: tuple[Passed, ...] = ()  # their path fits, their host or methods do not
    phase: str | None = None
    kind: str | None = None  # "read" or "write"
    override: Side | None = None
    draw: Draw | None = None
    asked: tuple[Ask, ...] = ()
    compare: Compare | None = None  # the rules, where the answers are compared
    notes: tuple[str, ...] = ()


def explain(
    routes: Sequence[Route],
    request: Request,
    states: Mapping[str, RouteState] | None = None,
    trusted_proxies: tuple[str, ...] = (),
) -> Explanation:
    """Explain one request. A route without a state is in its declared phase."""
    method = request.method
    trusted = TrustCheck(trusted_proxies)
    peer = request.peer_ip.encode("latin-1")
    forwarded_for = request.header("x-forwarded-for") if trusted(peer) else None
    client_ip = client_address(
        peer, forwarded_for.encode("latin-1") if forwarded_for is not None else None, trusted
    ).decode("latin-1")
    split = split_target(request.target, method)
    host = request.header("host") or ""
    result = Explanation(
        method=method, target=request.target, host=normal_host(host), client_ip=client_ip
    )
    if isinstance(split, PathRefusal):
        return msgspec.structs.replace(result, refused=split)
    host = split.authority or host
    path = canonical_path(split.path) if split.form != "asterisk" else split.path
    if isinstance(path, PathRefusal):
        return msgspec.structs.replace(result, host=normal_host(host), refused=path)
    match = RouteTable.build(routes, lambda route: route).match(method, host, path)
    route = match.payload if match else _unmatched(routes)
    params = match.params if match else NO_PARAMS
    beaten, turned_away = contenders(routes, route, method, host, path)
    result = msgspec.structs.replace(
        result,
        host=normal_host(host),
        path=path,
        route=route.name if route else None,
        pattern=route.pattern if route else None,
        params=dict(params),
        beaten=beaten,
        turned_away=turned_away,
    )
    if route is None:
        return msgspec.structs.replace(result, notes=("no route takes this request",))
    state = (states or {}).get(route.name) or RouteState.of_phase(route.phase)
    return _planned(result, request, route, state, split.query)


def _planned(
    result: Explanation, request: Request, route: Route, state: RouteState, query: str
) -> Explanation:
    """The rest of an explanation, once the route is known."""
    path = result.path or ""
    is_read = request.method in route.safe_methods
    notes = []
    if route.name == UNMATCHED:
        notes.append("no route takes this request: it goes to the backend for such requests")
    elif request.method == "HEAD" and route.methods and "HEAD" not in route.methods:
        notes.append("a route that names GET takes HEAD too")
    result = msgspec.structs.replace(
        result, phase=str(state.phase), kind="read" if is_read else "write"
    )
    if request.method in COUNTS_HOPS and _is_spent(request.header("max-forwards") or ""):
        notes.append("Max-Forwards is 0: answered here, no side is asked")
        return msgspec.structs.replace(result, notes=tuple(notes))
    if under_maintenance(route, is_read):
        notes.append(f"the route is under maintenance ({route.maintenance}): answered with 503")
        return msgspec.structs.replace(result, notes=tuple(notes))

    override = _override(route.override, request, result.client_ip, is_read, notes)
    drawn = None
    if override is None and needs_draw(route, state.phase, is_read):
        drawn = _drawn(route, state, request, result)
        if drawn.missing:
            notes.append(f"there is no {drawn.source}: the client's address is the sticky key")
    to_new = drawn is not None and drawn.side is Side.NEW

    rewritten = rewrite(route, result.params, path)

    def ask(role: str, side: Side, when: str = "") -> Ask:
        target = (rewritten if side is Side.NEW else path) + query
        return Ask(role, side, route.backend(side), target, when)

    compare = None
    if is_read:
        reads = plan_read(route, state, to_new, override)
        asked = [ask("answer", reads.answer)]
        if reads.fallback is not None:
            when = f"where {reads.answer.value} fails before the first byte of its answer"
            asked.append(ask("fallback", reads.fallback, when))
        never = _never_shadowed(request)
        if reads.shadow is not None and never is not None:
            notes.append(f"{never} is never shadowed nor compared")
        elif reads.shadow is not None:
            share = route.shadow.sample
            when = f"{share * 100:g} % of such requests" if share < 1 else ""
            asked.append(ask("shadow", reads.shadow, when))
            compare = _compared(route, request, notes)
    else:
        writes = plan_write(route, state, to_new)
        asked = [ask("answer", writes.answer)]
        if writes.second is not None:
            waited = f", which the client waits for at most {route.ack_timeout_s:g} s"
            when = f"after {writes.answer.value} succeeded"
            asked.append(
                ask("second", writes.second, when + (waited if writes.wait_for_second else ""))
            )
        if writes.misses is not None:
            notes.append(f"{writes.misses.value} does not get this write")
        if route.split_writes:
            notes.append("writes are split: only the side that answers the client gets them")
    for side in sorted(state.missed, key=lambda side: side.value):
        notes.append(f"{side.value} has missed writes of this route")
    return msgspec.structs.replace(
        result,
        override=override,
        draw=drawn,
        asked=tuple(asked),
        compare=compare,
        notes=tuple(notes),
    )


def _override(
    override: Override | None, request: Request, client_ip: str, is_read: bool, notes: list[str]
) -> Side | None:
    """The side that a tester chose, where the tester may."""
    wanted = request.header(override.header) if override is not None else None
    if override is None or wanted is None:
        return None
    if not is_read:
        notes.append(f"{override.header} chooses the side of reads alone")
    elif not TrustCheck(override.networks)(client_ip.encode("latin-1")):
        notes.append(f"{override.header} is not believed from {client_ip}")
    elif wanted.lower() not in ("legacy", "new"):
        notes.append(f"{override.header} names no side: legal is legacy or new")
    else:
        notes.append(f"the side is chosen by {override.header}; nothing is judged by it")
        return Side(wanted.lower())
    return None


def _drawn(route: Route, state: RouteState, request: Request, result: Explanation) -> Draw:
    sticky = route.sticky
    name = sticky_header(sticky)
    header = request.header(name, "; ") if name is not None else None
    key = sticky_key(sticky, header, result.params, result.client_ip)
    value = draw(route.name, key.value)
    return Draw(
        source=f"{sticky.kind} {sticky.name}".rstrip(),
        key=key.value,
        missing=key.missing,
        value=value,
        weight=state.phase.weight,
        side=Side.NEW if draws_new(state.phase, value) else Side.LEGACY,
    )


def _never_shadowed(request: Request) -> str | None:
    """What makes this request one that only the answering side gets, in words."""
    upgrade = request.header("upgrade")
    connection = (request.header("connection") or "").encode("latin-1", "replace")
    if (
        upgrade is not None
        and b"upgrade" in list_members(connection)
        and b"h2c" not in list_members(upgrade.encode("latin-1", "replace"))
    ):
        return f"an upgrade ({upgrade})"
    if "text/event-stream" in (request.header("accept") or "").lower():
        return "an event stream"
    return None


def _compared(route: Route, request: Request, notes: list[str]) -> Compare | None:
    """The rules by which a shadowed read is compared; None, with a note, where it is not."""
    if route.compare is None:
        notes.append("the answers are not compared: compare is off for this route")
        return None
    conditions = [name for name, _ in request.headers if _is_conditional(name)]
    if conditions:
        notes.append(f"the answers are not compared: {conditions[0]} makes the request conditional")
        return None
    return route.compare


def _unmatched(routes: Sequence[Route]) -> Route | None:
    return next((route for route in routes if route.name == UNMATCHED), None)
