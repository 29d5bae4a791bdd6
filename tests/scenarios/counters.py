"""A small stateful service in a process of its own: counters on a SQLite file.

`python -m tests.scenarios.counters FILE` says its port and ends with its standard input. `PUT
/count/KEY` with {"value": N} sets a counter, `GET /count/KEY` says it, `GET /all` says all of them.
`PUT /release` with {"bad": true} makes answers wrong from then on, as a bad release would.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from aiohttp import web

from tests.harness.apart import apart


@asynccontextmanager
async def counters(file: Path) -> AsyncIterator[str]:
    """The URL of one, on this file."""
    async with apart("tests.scenarios.counters", str(file)) as url:
        yield url


class Counters:
    """The handlers."""

    def __init__(self, file: str) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE counts (key TEXT PRIMARY KEY, value INTEGER)")
        self._bad = False

    async def put(self, request: web.Request) -> web.Response:
        value = orjson.loads(await request.read())["value"]
        key = request.match_info["key"]
        self._database.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (key, value))
        return _json({"key": key, "value": value})

    async def get(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        row = self._database.execute("SELECT value FROM counts WHERE key = ?", (key,)).fetchone()
        if row is None:
            return _json({"key": key}, status=404)
        return _json({"key": key, "value": row[0] + (1_000_000 if self._bad else 0)})

    async def everything(self, request: web.Request) -> web.Response:
        return _json(dict(self._database.execute("SELECT key, value FROM counts").fetchall()))

    async def release(self, request: web.Request) -> web.Response:
        self._bad = orjson.loads(await request.read())["bad"]
        return _json({})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def main(file: str) -> None:
    handlers = Counters(file)
    app = web.Application()
    app.add_routes(
        [
            web.put("/count/{key}", handlers.put),
            web.get("/count/{key}", handlers.get),
            web.get("/all", handlers.everything),
            web.put("/release", handlers.release),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
