"""The OpenAPI description of the admin API: what exists, and nothing else."""

from functools import cache
from typing import Any

import msgspec

from proxy.admin.divergence_calls import NDJSON
from proxy.admin.divergences import DivergenceList, SignatureList, WholeDivergence
from proxy.admin.problems import CONTENT_TYPE as PROBLEM
from proxy.admin.problems import Problem
from proxy.admin.query import MAX_LIMIT
from proxy.admin.steering import Asked, HistoryList
from proxy.admin.view import ConfigView, ReadyView, RouteView
from proxy.observe.exposition import CONTENT_TYPE as EXPOSITION

_REFS = "#/components/schemas/{name}"
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of a route, percent-encoded; requests that none matches are "
    "`(unmatched)`.",
    "schema": {"type": "string"},
}
_ID = {**_NAME, "name": "id", "description": "The id of a divergence, percent-encoded."}
_LIMITS = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}


def _query(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = schema or {"type": "string"}
    return {"name": name, "in": "query", "description": description, "schema": schema}


_ROUTE = _query("route", "Only of the route of this name.")
_SIGNATURE = _query("signature", "Only with this signature, as `/api/v1/signatures` spells it.")
_SINCE = _query(
    "since", "Only since this moment (ISO 8601), or not longer ago (`30m`, `2h`, `7d`)."
)
_LIMIT = _query("limit", "At most so many.", _LIMITS)
_CURSOR = _query("cursor", "Behind this place: the `next` of the page before.")


@cache
def document() -> dict[str, Any]:
    """The document, as `/api/openapi.json` shows it."""
    (route, config, ready, error, page, one, signatures, lines, asked_for), components = (
        msgspec.json.schema_components(
            [
                *(RouteView, ConfigView, ReadyView, Problem),
                *(DivergenceList, WholeDivergence, SignatureList, HistoryList, Asked),
            ],
            ref_template=_REFS,
        )
    )
    for name, component in components.items():
        if name == Asked.__name__:
            continue
        # Answers always hold every field; that some may be left out is only true of the values.
        component["required"] = list(component["properties"])
    routes = {
        "type": "object",
        "required": ["routes"],
        "properties": {"routes": {"type": "array", "items": route}},
    }
    live = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "live"}},
    }
    text = {"type": "string"}
    problems = {"default": _response("Any other answer is a problem (RFC 9457).", error, PROBLEM)}

    def get(summary: str, schema: Any, media: str = "application/json", **more: Any) -> Any:
        responses = {"200": _response(summary, schema, media), **more.pop("responses", {})}
        return {"get": {"summary": summary, "responses": {**responses, **problems}, **more}}

    def post(summary: str) -> Any:
        responses = {
            "200": _response("Done: the route as it is now.", route),
            "400": _response("The order is wrong; `detail` says how.", error, PROBLEM),
            "409": _response("Refused: the route stays; `detail` says why.", error, PROBLEM),
            **no_route,
            **problems,
        }
        body = {"required": True, "content": {"application/json": {"schema": asked_for}}}
        parameters = [_NAME]
        return {
            "post": {
                "summary": summary,
                "parameters": parameters,
                "requestBody": body,
                "responses": responses,
            }
        }

    no_route = {"404": _response("There is no such route.", error, PROBLEM)}
    unready = {"503": _response("No client can be answered rightly; `unready` says why.", ready)}
    bad = {"400": _response("A parameter is wrong; `detail` says which.", error, PROBLEM)}
    asked = {**bad, **no_route}
    gone = {**bad, "404": _response("There is none (any more) with this id.", error, PROBLEM)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Banyan admin API",
            "version": "1",
            "description": "Every GET also answers HEAD. It listens on loopback, answers no "
            "foreign Host, and takes no order from another site.",
        },
        "paths": {
            "/": get("The routes and what differs most, for a browser.", text, "text/html"),
            "/livez": get("The process answers.", live),
            "/readyz": get(
                "Clients can be answered; degraded workers are named.", ready, responses=unready
            ),
            "/metrics": get("The Prometheus exposition.", text, EXPOSITION.partition(";")[0]),
            "/api/openapi.json": get("This document.", {"type": "object"}),
            "/api/v1/routes": get("Every route as it is now.", routes),
            "/api/v1/routes/{name}": get(
                "One route as it is now.", route, responses=no_route, parameters=[_NAME]
            ),
            "/api/v1/routes/{name}/revert": post("Move a route back, and latch it there."),
            "/api/v1/routes/{name}/advance": post("Move a route forward, on its ladder or `to`."),
            "/api/v1/routes/{name}/hold": post("Let nothing advance by itself; reverts still do."),
            "/api/v1/routes/{name}/resume": post("Lift a latch or a hold."),
            "/api/v1/divergences": get(
                "A page of divergences, the newest first.",
                page,
                responses=asked,
                parameters=[_ROUTE, _SIGNATURE, _SINCE, _LIMIT, _CURSOR],
            ),
            "/api/v1/divergences/export": get(
                "All divergences that are kept, a line each in the form of "
                "`/api/v1/divergences/{id}`, the oldest first. One that is cut off ends the "
                "connection.",
                text,
                NDJSON,
                responses=asked,
                parameters=[_ROUTE],
            ),
            "/api/v1/divergences/{id}": get(
                "One divergence, with its recorded answers.",
                one,
                responses=gone,
                parameters=[_ID],
            ),
            "/api/v1/signatures": get(
                "Every signature, the most counted first.",
                signatures,
                responses=asked,
                parameters=[_ROUTE, _LIMIT],
            ),
            "/api/v1/history": get(
                "How routes were moved, the newest first.",
                lines,
                responses=asked,
                parameters=[_ROUTE, _LIMIT],
            ),
            "/api/v1/events": get(
                "What changes, as server-sent events: `route`, `history`, `config`; "
                "`Last-Event-ID` brings those that were missed.",
                text,
                "text/event-stream",
            ),
            "/api/v1/config": get("The configuration in force.", config),
        },
        "components": {"schemas": components},
    }


def _response(description: str, schema: Any, media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}
