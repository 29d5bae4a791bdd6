"""The calls about divergences: a page, one, all as lines, and the signatures.

They wait for the store, which answers or fails within seconds. An export is made as fast as its
client reads it, a few divergences at a time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from difflib import get_close_matches

import msgspec
from aiohttp import hdrs, web

from proxy.admin.divergences import (
    DivergenceList,
    SignatureList,
    UnavailableError,
    listed,
    signature_view,
    whole,
)
from proxy.admin.problems import json_answer, problem
from proxy.admin.query import QueryError, limit, read_query, since
from proxy.admin.view import AdminView
from proxy.core.divergences import Divergence

NDJSON = "application/x-ndjson"
NAMED = 8  # routes that are told of to who asks for one that is not there
WRITE_TIMEOUT_S = 60.0  # a client that reads nothing for so long has gone

Call = Callable[[AdminView, web.Request], Awaitable[web.StreamResponse]]


def _answered(call: Call) -> Call:
    """What is asked wrongly, or cannot be had now, becomes a problem."""

    async def guarded(view: AdminView, request: web.Request) -> web.StreamResponse:
        try:
            return await call(view, request)
        except QueryError as error:
            return problem(400, str(error))
        except UnavailableError as error:
            detail = f"The divergences cannot be had now: {error}."
            return problem(503, detail, {hdrs.RETRY_AFTER: "5"})

    guarded.__doc__ = call.__doc__
    return guarded


@_answered
async def divergences(view: AdminView, request: web.Request) -> web.StreamResponse:
    """A page of divergences, the newest first."""
    parsers: dict[str, Callable[[str], object]] = {
        "route": str,
        "signature": str,
        "since": since(time.time()),
        "limit": limit,
        "cursor": str,
    }
    asked = read_query(request.query.items(), parsers)
    if refused := unknown_route(view, asked.get("route")):
        return refused
    try:
        page = await view.divergences.page(**asked)  # type: ignore[arg-type]  # as parsed
    except ValueError:
        raise QueryError("cursor is what the `next` of a page says, and nothing else.") from None
    return _answer(DivergenceList([listed(each) for each in page.divergences], page.next))


@_answered
async def divergence(view: AdminView, request: web.Request) -> web.StreamResponse:
    """One divergence, with its recorded answers."""
    read_query(request.query.items(), {})
    id = request.match_info["id"]
    found = await view.divergences.get(id)
    if found is None:
        detail = f"There is no divergence {id!r} (any more); GET /api/v1/divergences lists them."
        return problem(404, detail)
    return _answer(whole(found))


@_answered
async def signatures(view: AdminView, request: web.Request) -> web.StreamResponse:
    """Every signature, the most counted first."""
    asked = read_query(request.query.items(), {"route": str, "limit": limit})
    if refused := unknown_route(view, asked.get("route")):
        return refused
    found = await view.divergences.signatures(**asked)  # type: ignore[arg-type]  # as parsed
    return _answer(SignatureList([signature_view(each) for each in found]))


@_answered
async def export(view: AdminView, request: web.Request) -> web.StreamResponse:
    """All divergences that are kept as JSON lines, the oldest first."""
    asked = read_query(request.query.items(), {"route": str})
    if refused := unknown_route(view, asked.get("route")):
        return refused
    found = view.divergences.export(**asked)  # type: ignore[arg-type]  # as parsed
    # The first before the status: a store that is out of reach is a problem and no empty export.
    first = await anext(found, None)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: NDJSON})
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD or first is None:
        return response
    try:
        await _write(response, first)
        await _write_all(response, found)
    except (UnavailableError, TimeoutError):
        # The status has gone out; what is cut off must not look whole.
        if request.transport is not None:
            request.transport.abort()
    return response


async def _write_all(response: web.StreamResponse, found: AsyncIterator[Divergence]) -> None:
    async for each in found:
        await _write(response, each)


async def _write(response: web.StreamResponse, each: Divergence) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(msgspec.json.encode(whole(each)) + b"\n")


def unknown_route(view: AdminView, name: object) -> web.Response | None:
    """The problem of a route that is asked for and not there; None where all is well."""
    if name is None or view.route(str(name)) is not None:
        return None
    return no_route(view, str(name))


def no_route(view: AdminView, name: str) -> web.Response:
    """The problem of a route that is not there, with those that are, the most alike first."""
    names = [each.name for each in view.routes()]
    if not names:
        return no_table(view)
    close = get_close_matches(name, names, n=NAMED, cutoff=0.5)
    named = [*close, *(each for each in names if each not in close)][:NAMED]
    known = ", ".join(map(repr, named))
    more = f" and {len(names) - len(named):,} more" if len(names) > len(named) else ""
    detail = f"There is no route named {name!r}; there are {known}{more} (GET /api/v1/routes)."
    return problem(404, detail)


def no_table(view: AdminView) -> web.Response:
    """The problem of there being no routes yet."""
    # Every table has a route, the one of what matches none. An empty list would say that no route
    # is pending and no side has missed a write, and a controller that starts cannot know.
    why = "; ".join(view.readiness().unready) or "it is being loaded"
    return problem(503, f"There is no table of routes yet: {why}.", {hdrs.RETRY_AFTER: "1"})


def _answer(value: object) -> web.Response:
    return json_answer(msgspec.json.encode(value))
