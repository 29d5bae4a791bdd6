"""A shop as an HTTP service: `python -m demo.shop legacy|new --port 9001 --data DIRECTORY`.

Both shops have the same addresses and each its own storage, words and manners:

    GET      /api/products?page=   /api/products/{id}         price: text in legacy, number in new
    GET PUT DELETE                 /api/users/{id}            fullName in legacy, name in new
    GET POST /api/orders?user=                                the same in both
    GET PUT DELETE                 /api/orders/{id}
    GET      /api/orders/{id}/receipt                         a timestamp and a random id
    GET      /api/search?q=                                   another order of the results
    GET      /api/search/suggest?q=                           flaky in new
    GET      /api/legacy/stock/{id}
    GET      /api/legacy/report                               slow in legacy

Every answer says in its header `Shop` who gave it.
"""

import argparse
import asyncio
import random
import signal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson
from aiohttp import web

from demo.legacy import LegacyStorage
from demo.new import NewStorage

PAGE = 20
MAX_BODY_BYTES = 64 << 10


class Storage(Protocol):
    """What a shop keeps, rendered in its own words. None and False mean that there is none."""

    def products(self, page: int, size: int) -> list[dict[str, Any]]: ...
    def product(self, id: str) -> dict[str, Any] | None: ...
    def stock(self, id: str) -> dict[str, Any] | None: ...
    def search(self, words: list[str], limit: int) -> list[dict[str, Any]]: ...
    def user(self, id: str) -> dict[str, Any] | None: ...
    def put_user(self, id: str, sent: Mapping[str, Any]) -> None: ...
    def delete_user(self, id: str) -> bool: ...
    def orders(self, user: str, limit: int) -> list[dict[str, Any]]: ...
    def order(self, id: str) -> dict[str, Any] | None: ...
    def put_order(self, id: str, sent: Mapping[str, Any]) -> None: ...
    def delete_order(self, id: str) -> bool: ...
    def report(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Manners:
    """How well a shop behaves. `flaky` is the share of suggestions that fail with 503."""

    storage: type[LegacyStorage] | type[NewStorage]
    report_s: float
    flaky: float


SHOPS = {
    "legacy": Manners(LegacyStorage, report_s=0.25, flaky=0.0),
    "new": Manners(NewStorage, report_s=0.01, flaky=0.05),
}


class Shop:
    """The handlers of one shop."""

    def __init__(self, name: str, storage: Storage, manners: Manners) -> None:
        self.name = name
        self._storage = storage
        self._manners = manners
        self._chance = random.Random(name)

    def make_app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.get("/", self.front_page),
                web.get("/healthz", self.healthz),
                web.get("/api/products", self.products),
                web.get("/api/products/{id}", self.product),
                web.get("/api/users/{id}", self.user),
                web.put("/api/users/{id}", self.put_user),
                web.delete("/api/users/{id}", self.delete_user),
                web.get("/api/orders", self.orders),
                web.post("/api/orders", self.post_order),
                web.get("/api/orders/{id}", self.order),
                web.put("/api/orders/{id}", self.put_order),
                web.delete("/api/orders/{id}", self.delete_order),
                web.get("/api/orders/{id}/receipt", self.receipt),
                web.get("/api/search", self.search),
                web.get("/api/search/suggest", self.suggest),
                web.get("/api/legacy/stock/{id}", self.stock),
                web.get("/api/legacy/report", self.report),
            ]
        )
        app.on_response_prepare.append(self._sign)
        app.on_cleanup.append(self._close)
        return app

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Shop"] = self.name

    async def _close(self, app: web.Application) -> None:
        self._storage.close()

    async def front_page(self, request: web.Request) -> web.Response:
        return web.Response(text=f"<h1>The {self.name} shop</h1>\n", content_type="text/html")

    async def healthz(self, request: web.Request) -> web.Response:
        return answer({"status": "ok"})

    async def products(self, request: web.Request) -> web.Response:
        page = request.query.get("page", "1")
        if not page.isdecimal() or not 1 <= len(page) <= 6 or int(page) < 1:
            return answer({"error": "page is a number from 1"}, 400)
        return answer({"page": int(page), "items": self._storage.products(int(page), PAGE)})

    async def product(self, request: web.Request) -> web.Response:
        return found(self._storage.product(request.match_info["id"]), "product")

    async def stock(self, request: web.Request) -> web.Response:
        return found(self._storage.stock(request.match_info["id"]), "product")

    async def user(self, request: web.Request) -> web.Response:
        return found(self._storage.user(request.match_info["id"]), "user")

    async def put_user(self, request: web.Request) -> web.Response:
        sent = user_of(await document(request))
        known = self._storage.user(request.match_info["id"]) is not None
        self._storage.put_user(request.match_info["id"], sent)
        user = self._storage.user(request.match_info["id"])
        return answer(user, 200 if known else 201)

    async def delete_user(self, request: web.Request) -> web.Response:
        return deleted(self._storage.delete_user(request.match_info["id"]), "user")

    async def orders(self, request: web.Request) -> web.Response:
        user = request.query.get("user", "")
        return answer({"user": user, "items": self._storage.orders(user, PAGE)})

    async def order(self, request: web.Request) -> web.Response:
        return found(self._storage.order(request.match_info["id"]), "order")

    async def post_order(self, request: web.Request) -> web.Response:
        """The client may choose the id, so that the same order has one id in both shops."""
        sent = order_of(await document(request))
        id = sent.get("id") or uuid.uuid4().hex
        if self._storage.order(id):
            return answer({"error": f"there is an order {id} already"}, 409)
        self._storage.put_order(id, sent)
        return answer(self._storage.order(id), 201, {"Location": f"/api/orders/{id}"})

    async def put_order(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        sent = order_of(await document(request))
        known = self._storage.order(id) is not None
        self._storage.put_order(id, sent)
        return answer(self._storage.order(id), 200 if known else 201)

    async def delete_order(self, request: web.Request) -> web.Response:
        return deleted(self._storage.delete_order(request.match_info["id"]), "order")

    async def receipt(self, request: web.Request) -> web.Response:
        """Two receipts are never the same, in either shop: noise, not a difference."""
        order = self._storage.order(request.match_info["id"])
        if order is None:
            return answer({"error": "no such order"}, 404)
        printed = datetime.now(UTC).isoformat(timespec="microseconds")
        return answer({"receipt": str(uuid.uuid4()), "printed_at": printed, "order": order})

    async def search(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "")[:100]
        return answer({"query": query, "items": self._storage.search(query.split(), PAGE)})

    async def suggest(self, request: web.Request) -> web.Response:
        if self._chance.random() < self._manners.flaky:
            return answer({"error": "the suggestions are being rebuilt"}, 503)
        query = request.query.get("q", "")[:100]
        items = self._storage.search([query], 1000)
        return answer({"query": query, "words": sorted({item["name"] for item in items})[:5]})

    async def report(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self._manners.report_s)
        return answer(self._storage.report())


def answer(value: object, status: int = 200, headers: Mapping[str, str] = {}) -> web.Response:
    return web.Response(
        body=orjson.dumps(value) + b"\n",
        status=status,
        headers=headers,
        content_type="application/json",
    )


def found(value: dict[str, Any] | None, what: str) -> web.Response:
    return answer(value) if value is not None else answer({"error": f"no such {what}"}, 404)


def deleted(done: bool, what: str) -> web.Response:
    return web.Response(status=204) if done else answer({"error": f"no such {what}"}, 404)


def refused(text: str) -> web.HTTPBadRequest:
    body = orjson.dumps({"error": text}).decode() + "\n"
    return web.HTTPBadRequest(text=body, content_type="application/json")


async def document(request: web.Request) -> dict[str, Any]:
    """The JSON object that was sent, or 400."""
    try:
        sent = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise refused("not JSON") from error
    if not isinstance(sent, dict):
        raise refused("not a JSON object")
    return sent


def user_of(sent: dict[str, Any]) -> dict[str, Any]:
    """`sent` if both storages can keep it as a user, or 400."""
    if not all(isinstance(sent.get(key, ""), str) for key in ("fullName", "name", "email", "city")):
        raise refused("what is known of a user is text")
    return sent


def order_of(sent: dict[str, Any]) -> dict[str, Any]:
    """`sent` if both storages can keep it as an order, or 400."""
    lines = sent.get("lines")
    right = (
        isinstance(sent.get("user"), str)
        and isinstance(sent.get("id", ""), str)
        and isinstance(sent.get("state", ""), str)
        and isinstance(lines, list)
        and all(
            isinstance(line, dict)
            and isinstance(line.get("product"), str)
            and "," not in line["product"]
            and isinstance(line.get("quantity"), int)
            for line in lines
        )
    )
    if not right:
        raise refused("an order has a user and lines of product and quantity")
    return sent


def make_app(name: str, data: Path) -> web.Application:
    """The shop `name` with its own file in the directory `data`."""
    manners = SHOPS[name]
    return Shop(name, manners.storage(data / f"{name}.db"), manners).make_app()


async def serve(name: str, host: str, port: int, data: Path) -> None:
    """Serve until SIGTERM or SIGINT, having said on which address."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        make_app(name, data), access_log=None, keepalive_timeout=75, shutdown_timeout=2
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        print(f"{name} shop on http://{bound[0]}:{bound[1]}", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.shop", description="One of two shops.")
    parser.add_argument("shop", choices=sorted(SHOPS))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--data", type=Path, default=Path(), help="directory of the SQLite file")
    asked = parser.parse_args()
    try:
        asyncio.run(serve(asked.shop, asked.host, asked.port, asked.data))
    except OSError as error:
        parser.exit(
            1, f"the {asked.shop} shop cannot listen on {asked.host}:{asked.port}: {error}\n"
        )


if __name__ == "__main__":
    main()
