"""The calls that move routes, and the one that shows how they were moved.

An order is JSON of this very origin: a page of another one cannot send that without asking first,
and is never answered yes.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from aiohttp import hdrs, web

from proxy.admin.divergence_calls import no_route, unknown_route
from proxy.admin.divergences import UnavailableError
from proxy.admin.problems import json_answer, problem
from proxy.admin.query import QueryError, limit, read_query
from proxy.admin.steering import (
    MAX_REASON,
    Action,
    Asked,
    HistoryList,
    RefusedError,
    WrongOrderError,
)
from proxy.admin.view import AdminView

DEFAULT_LINES = 100

_decode = msgspec.json.Decoder(Asked).decode


async def _order(action: Action, view: AdminView, request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    if foreign := _foreign(request):
        return foreign
    if view.route(name) is None:
        return no_route(view, name)
    try:
        asked = _decode(await request.read())
    except msgspec.MsgspecError as error:
        return problem(400, f"The body is no order: {error}.")
    if not asked.reason.strip() or len(asked.reason) > MAX_REASON:
        return problem(400, f"An order has a reason, of at most {MAX_REASON} characters.")
    try:
        await view.steering.order(name, action, asked)
    except WrongOrderError as error:
        return problem(400, f"{error}.")
    except RefusedError as error:
        return problem(409, f"{_capital(str(error))}.")
    except UnavailableError as error:
        detail = f"Whether it was done is not known: {error}."
        return problem(503, detail, {hdrs.RETRY_AFTER: "5"})
    found = view.route(name)
    return no_route(view, name) if found is None else json_answer(msgspec.json.encode(found))


async def history(view: AdminView, request: web.Request) -> web.StreamResponse:
    """How routes were moved, the newest first; of one that left the file too."""
    parsers: dict[str, Callable[[str], object]] = {"route": str, "limit": limit}
    try:
        asked = read_query(request.query.items(), parsers)
        route = asked.get("route")
        lines = await view.steering.history(
            str(route) if route is not None else None,
            int(str(asked.get("limit", DEFAULT_LINES))),
        )
    except QueryError as error:
        return problem(400, str(error))
    except UnavailableError as error:
        return problem(503, f"The history cannot be had now: {error}.", {hdrs.RETRY_AFTER: "5"})
    if not lines and (refused := unknown_route(view, route)):
        return refused
    return json_answer(msgspec.json.encode(HistoryList(lines)))


def _foreign(request: web.Request) -> web.Response | None:
    if request.content_type != "application/json":
        return problem(415, "An order is application/json.")
    origin = request.headers.get(hdrs.ORIGIN)
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    own = f"{request.scheme}://{request.headers.get(hdrs.HOST, '')}"
    if (origin is not None and origin != own) or site not in ("same-origin", "none"):
        return problem(403, "An order comes from no other site.")
    return None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# Each of them is described in openapi.py.
POSTS: dict[str, Callable[[AdminView, web.Request], Awaitable[web.StreamResponse]]] = {
    f"/api/v1/routes/{{name}}/{action}": partial(_order, action)
    for action in ("revert", "advance", "hold", "resume")
}
