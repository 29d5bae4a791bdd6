"""A reverse proxy in aiohttp, as good as aiohttp can be made: what Banyan is measured against.

uvloop; aiohttp's low-level server (no router, no middleware, no access log); one client session
with an unbounded keep-alive pool, no cookie jar, no decompression, no redirects and URLs taken as
they are; header maps copied and pruned in C; small answers read whole and sent in one write,
others streamed both ways with aiohttp's own back-pressure; the garbage collector kept rare and
off the objects of the start. It sends the same forwarding headers as the other proxies.

    python -m benchmarks.aiohttp_proxy --port PORT --backend http://127.0.0.1:9001
"""

import argparse
import asyncio
import gc
import random
import signal

import uvloop
from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    hdrs,
    web,
)
from multidict import CIMultiDict
from yarl import URL

# RFC 9110 §7.6.1, and what the nominations in Connection add.
HOP_BY_HOP = (
    hdrs.CONNECTION,
    hdrs.KEEP_ALIVE,
    hdrs.PROXY_AUTHENTICATE,
    hdrs.PROXY_AUTHORIZATION,
    hdrs.TE,
    hdrs.TRAILER,
    hdrs.TRANSFER_ENCODING,
    hdrs.UPGRADE,
    "Proxy-Connection",
)
ONE_WRITE_BYTES = 64 << 10
CHUNK_BYTES = 64 << 10


class Proxy:
    """Forwards every request to one backend."""

    def __init__(self, session: ClientSession, backend: str):
        self.session = session
        self.backend = backend.rstrip("/")

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = end_to_end(request.headers)
        add_forwarding_headers(headers, request)
        body = request.content.iter_chunked(CHUNK_BYTES) if request.can_read_body else None
        try:
            async with self.session.request(
                request.method,
                URL(self.backend + request.raw_path, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as answer:
                headers = end_to_end(answer.headers)
                length = answer.content_length
                if length is not None and length <= ONE_WRITE_BYTES and request.method != "HEAD":
                    return web.Response(
                        status=answer.status,
                        reason=answer.reason,
                        headers=headers,
                        body=await answer.read(),
                    )
                response = web.StreamResponse(
                    status=answer.status, reason=answer.reason, headers=headers
                )
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (ClientError, TimeoutError) as error:
            return web.Response(status=502, text=f"{type(error).__name__}\n")


def end_to_end(headers: "CIMultiDict[str] | object") -> "CIMultiDict[str]":
    """A copy without the headers that are only for this hop."""
    kept: CIMultiDict[str] = CIMultiDict(headers)  # type: ignore[arg-type]  # any of its proxies
    nominated = kept.get(hdrs.CONNECTION)
    if nominated:
        for name in nominated.split(","):
            kept.popall(name.strip(), None)
    for name in HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def add_forwarding_headers(headers: "CIMultiDict[str]", request: web.BaseRequest) -> None:
    trace = f"{random.getrandbits(192):048x}"
    headers.add("Via", "1.1 aiohttp")
    headers["X-Forwarded-For"] = request.remote or ""
    headers["X-Forwarded-Proto"] = "http"
    headers["X-Forwarded-Host"] = headers.get(hdrs.HOST, "")
    headers["X-Request-Id"] = trace[:32]
    headers["traceparent"] = f"00-{trace[:32]}-{trace[32:]}-01"


async def serve(port: int, backend: str) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    connector = TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=60)
    async with ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        timeout=ClientTimeout(total=None, sock_connect=2, sock_read=60),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as session:
        server = web.Server(
            Proxy(session, backend).handle,
            access_log=None,
            keepalive_timeout=300,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        await stopping.wait()
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aiohttp_proxy", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--backend", required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.backend))


if __name__ == "__main__":
    main()
