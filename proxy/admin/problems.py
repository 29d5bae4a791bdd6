"""Errors of the admin API as RFC 9457 problem details."""

from http import HTTPStatus

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """The body of every error. `type` is about:blank, so `title` is the status's own phrase."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """A response with the problem of this status."""
    body = msgspec.json.encode(Problem(HTTPStatus(status).phrase, status, detail))
    return web.Response(status=status, body=body, content_type=CONTENT_TYPE, headers=headers)
