"""Answers of the admin API: JSON, and errors as RFC 9457 problem details."""

from http import HTTPStatus

import msgspec
from aiohttp import web

COMPRESS_FROM_BYTES = 16 << 10
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


def json_answer(body: bytes, status: int = 200) -> web.Response:
    """A response with this JSON."""
    response = web.Response(body=body, status=status, content_type="application/json")
    return compressed(response)


def compressed(response: web.Response) -> web.Response:
    """The response, compressed if it is long and the client accepts it."""
    if isinstance(response.body, bytes) and len(response.body) >= COMPRESS_FROM_BYTES:
        response.enable_compression()
    return response
