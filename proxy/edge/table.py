"""The table as a worker uses it: each route with its pools, its plans and its counts.

A Full snapshot builds a new table beside the one in use and swaps it in whole. A change of state
alone (a revert, a missed flag, a move of authority) replaces the plans of one route in place:
a request already on its way keeps the plan it began with.
"""

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.core.allowance import Restraint
from proxy.core.forwarding import TrustCheck
from proxy.core.model import UNMATCHED, Route, RouteState, Side, Snapshot
from proxy.core.pacing import Places
from proxy.core.patterns import Rewrite
from proxy.core.planning import needs_draw, plan_read, plan_write
from proxy.core.routing import RouteTable, build_in_slices
from proxy.core.sticky import drawer, sticky_header
from proxy.edge.pool import Pool
from proxy.edge.tally import Tallies, Tally

if TYPE_CHECKING:
    from proxy.edge.writing import WriteRelay

SLICE = 200
MAX_PARKED = 1024
# So many of a route's shadows a second are begun in place of those that came to nothing: each may
# take longer than whole requests. A side that is ill is known by fewer.
COSTLY_A_SECOND: Final = 100.0
MOST_COSTLY: Final = 1000
# With no more shadows under way a route has a part in the reserve of each pool.
FEW_SHADOWS: Final = 4


class Live:
    """What lives on when a route's settings change: its counts and what is under way."""

    __slots__ = (
        "asked",
        "fallbacks",
        "parked",
        "restraints",
        "shadows",
        "tally",
        "writes",
    )

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.shadows = Places()  # of the shadow reads in flight
        # Of those that come to nothing, to each of the sides.
        self.restraints = [Restraint(COSTLY_A_SECOND, MOST_COSTLY) for _ in range(2)]
        self.fallbacks = 0  # fallback requests in flight
        self.writes = 0  # writes under way, the second side's included
        self.parked: deque[WriteRelay] = deque()  # writes that wait for a new state
        self.asked: set[Side] = set()  # missed flags asked of the controller

    def restraint_of(self, side: Side) -> Restraint:
        """Of the shadows that go to this side."""
        return self.restraints[0 if side is Side.LEGACY else 1]

    def has_few_shadows(self) -> bool:
        """Whether hardly any of the route's shadows are under way."""
        return self.shadows.taken <= FEW_SHADOWS


class Service:
    """One route, ready to serve."""

    __slots__ = (
        "compared",
        "draw_of",
        "legacy",
        "live",
        "new",
        "noise",
        "override_header",
        "override_trust",
        "phase",
        "plain_sides",
        "read_draw",
        "reads",
        "rewrite",
        "route",
        "safe_methods",
        "state",
        "sticky_header",
        "write_draw",
        "writes",
    )

    def __init__(
        self, route: Route, state: RouteState, live: Live, legacy: Pool, new: Pool
    ) -> None:
        self.route = route
        self.live = live
        self.legacy = legacy
        self.new = new
        self.safe_methods = route.safe_methods
        self.override_header: bytes | None = None
        self.override_trust: TrustCheck | None = None
        if route.override is not None:
            self.override_header = route.override.header.lower().encode("latin-1")
            self.override_trust = TrustCheck(route.override.networks)
        self.noise = route.compare.noise if route.compare is not None else 0.0
        self.draw_of = drawer(route.name)
        header = sticky_header(route.sticky)
        self.sticky_header = header.encode("latin-1") if header is not None else None
        self.rewrite = (
            Rewrite.parse(route.path, route.rewrite) if route.rewrite is not None else None
        )
        self.compared: re.Pattern[bytes] | None = None
        if route.compare is not None:
            # The same bytes, said to be of another coding or type, are not the same to a client.
            headers = {name.lower() for name in route.compare.headers}
            names = b"|".join(
                re.escape(name.encode("latin-1"))
                for name in sorted(headers | {"content-encoding", "content-type"})
            )
            self.compared = re.compile(rb"\n(" + names + rb"):([^\r]*)", re.IGNORECASE)
        # The sides that get a request line, a Host and header lines as the client sent them.
        self.plain_sides = tuple(
            side
            for side, pool in ((Side.LEGACY, legacy), (Side.NEW, new))
            if pool.backend.host == "preserve"
            and self.override_header is None
            and (side is Side.LEGACY or self.rewrite is None)
        )
        self.set_state(state)

    def set_state(self, state: RouteState) -> None:
        route = self.route
        self.state = state
        self.phase = state.phase.progress
        # Index 0: the draw fell to legacy, 1: to new.
        self.reads = (plan_read(route, state, False), plan_read(route, state, True))
        self.writes = (plan_write(route, state, False), plan_write(route, state, True))
        self.read_draw = needs_draw(route, state.phase, True)
        self.write_draw = needs_draw(route, state.phase, False)
        self.live.asked -= state.missed

    def serves(self, route: Route, state: RouteState, legacy: Pool, new: Pool) -> bool:
        """Whether an edit of the file left this route as it is."""
        return (
            self.legacy is legacy
            and self.new is new
            and self.state == state
            and self.route == route
        )

    def pool(self, side: Side) -> Pool:
        return self.legacy if side is Side.LEGACY else self.new


class Table:
    """All routes of one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        routes: RouteTable[Service],
        services: dict[str, Service],
    ) -> None:
        self.snapshot = snapshot
        self.routes = routes
        self.services = services
        self.unmatched = services[UNMATCHED]
        self.trusted = TrustCheck(snapshot.trusted_proxies)
        self.generation = snapshot.generation
        self.revision = snapshot.revision


async def compile_table(
    snapshot: Snapshot, pools: dict[str, Pool], before: Table | None, tallies: Tallies
) -> Table:
    """Build a table in slices, so that requests are answered in between."""
    services: dict[str, Service] = {}
    for at, route in enumerate(snapshot.routes):
        old = before.services.get(route.name) if before else None
        live = old.live if old else Live(Tally(route.name, tallies))
        state = snapshot.states.get(route.name) or RouteState.of_phase(route.phase)
        legacy, new = pools[route.legacy], pools[route.new]
        if old and old.serves(route, state, legacy, new):
            services[route.name] = old
        else:
            services[route.name] = Service(route, state, live, legacy, new)
        if at % SLICE == SLICE - 1:
            await asyncio.sleep(0)
    compiled: RouteTable[Service] | None = None
    for step in build_in_slices(snapshot.routes, lambda route: services[route.name], SLICE):
        compiled = step
        await asyncio.sleep(0)
    assert compiled is not None, "the last slice carries the table"
    return Table(snapshot, compiled, services)
