"""The admin API: an aiohttp application over an AdminView.

What is shown of now comes from memory at once; only divergences, history and orders wait for their
stores. Nothing but orders changes anything, and a page of another origin cannot send one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from proxy.admin import divergence_calls
from proxy.admin.divergence_calls import no_route, no_table
from proxy.admin.divergences import UnavailableError, signature_view
from proxy.admin.events import events
from proxy.admin.hosts import ADMIN_HEADER, ADMIN_VERSION, host_allowed
from proxy.admin.openapi import document
from proxy.admin.page import CONTENT_SECURITY_POLICY, MAX_SIGNATURES, render_page
from proxy.admin.problems import compressed, json_answer, problem
from proxy.admin.steering_calls import POSTS, history
from proxy.admin.view import AdminView, ReadyView, RouteView
from proxy.observe.exposition import CONTENT_TYPE as EXPOSITION

SECURITY_HEADERS = {
    ADMIN_HEADER: ADMIN_VERSION,
    "Server": "banyan",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

MAX_BODY_BYTES = 64 << 10  # of an order

log = structlog.get_logger("proxy.admin")


class RouteList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v1/routes`."""

    routes: list[RouteView]


def make_app(view: AdminView, listen_host: str | None = "127.0.0.1") -> web.Application:
    """The application; `listen_host` is the address it is bound to, None for a Unix socket."""
    app = web.Application(middlewares=[_guard(listen_host)], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_secure)
    app.on_shutdown.append(partial(_let_go, view))
    for path, handler in HANDLERS.items():
        app.router.add_get(_pattern(path), partial(handler, view))
    for path, handler in POSTS.items():
        app.router.add_post(_pattern(path), partial(handler, view))
    return app


def _pattern(path: str) -> str:
    """A name may hold braces, which the default pattern of a placeholder refuses."""
    return path.replace("{name}", "{name:[^/]+}").replace("{id}", "{id:[^/]+}")


async def livez(view: AdminView, request: web.Request) -> web.Response:
    """The process answers."""
    return json_answer(b'{"status":"live"}')


async def readyz(view: AdminView, request: web.Request) -> web.Response:
    """Clients can be answered; names the workers that are not as they should be."""
    ready: ReadyView = view.readiness()
    return json_answer(msgspec.json.encode(ready), 503 if ready.status == "unready" else 200)


async def metrics(view: AdminView, request: web.Request) -> web.Response:
    """The Prometheus exposition."""
    pieces = []
    for piece in view.metrics():
        pieces.append(piece)
        await asyncio.sleep(0)  # 10,000 routes make 40 MB: let the controller live meanwhile
    body = "".join(pieces).encode()
    return compressed(web.Response(body=body, headers={hdrs.CONTENT_TYPE: EXPOSITION}))


async def routes(view: AdminView, request: web.Request) -> web.Response:
    """Every route as it is now."""
    found = list(view.routes())
    return json_answer(msgspec.json.encode(RouteList(found))) if found else no_table(view)


async def route(view: AdminView, request: web.Request) -> web.Response:
    """One route as it is now."""
    name = request.match_info["name"]
    found = view.route(name)
    if found is None:
        return no_route(view, name)
    return json_answer(msgspec.json.encode(found))


async def config(view: AdminView, request: web.Request) -> web.Response:
    """The configuration in force."""
    return json_answer(msgspec.json.encode(view.config()))


async def openapi(view: AdminView, request: web.Request) -> web.Response:
    """This API, described."""
    return json_answer(msgspec.json.encode(document()))


async def page(view: AdminView, request: web.Request) -> web.Response:
    """The table of routes for a browser, and what differs most."""
    trouble, found = "", []
    try:
        found = [signature_view(s) for s in await view.divergences.signatures(limit=MAX_SIGNATURES)]
    except UnavailableError as error:
        trouble = str(error)
    return web.Response(
        text=render_page(view.routes(), view.config(), view.readiness(), found, trouble),
        content_type="text/html",
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
    )


# Each of them is described in openapi.py; a test holds the two against each other. The first that
# matches is called.
HANDLERS: dict[str, Callable[[AdminView, web.Request], Awaitable[web.StreamResponse]]] = {
    "/": page,
    "/livez": livez,
    "/readyz": readyz,
    "/metrics": metrics,
    "/api/openapi.json": openapi,
    "/api/v1/routes": routes,
    "/api/v1/routes/{name}": route,
    "/api/v1/divergences": divergence_calls.divergences,
    "/api/v1/divergences/export": divergence_calls.export,
    "/api/v1/divergences/{id}": divergence_calls.divergence,
    "/api/v1/signatures": divergence_calls.signatures,
    "/api/v1/history": history,
    "/api/v1/events": events,
    "/api/v1/config": config,
}


def _guard(listen_host: str | None) -> Middleware:
    """Refuses foreign hosts, and turns every error into a problem."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST)
        if not host_allowed(host, listen_host):
            return problem(421, f"The admin API does not answer to the host {host!r}.")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            detail = f"There is nothing at {request.path}; see /api/openapi.json."
            return problem(404, detail)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{request.path} answers {allowed}, not {request.method}."
            return problem(405, detail, {hdrs.ALLOW: allowed})
        except web.HTTPException as error:
            return problem(error.status, error.reason)
        except Exception:
            log.exception("admin_error", method=request.method, path=request.path)
            return problem(500, "The controller failed to answer; its log says why.")

    return guard


async def _let_go(view: AdminView, app: web.Application) -> None:
    """Those who listen would be waited for."""
    view.events.close()


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        if name == "Server":  # aiohttp has set its own, with versions
            response.headers[name] = value
        else:
            response.headers.setdefault(name, value)
