"""Active health checks of the backends that ask for them: one loop for each URL.

A URL goes down after FALL failures in a row and up after RISE successes; it starts up, since the
workers eject failing ones by themselves. One check never overlaps the next of its URL.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog

from proxy.core.messages import EndpointHealth
from proxy.core.model import Backend

RISE: Final = 2
FALL: Final = 3
LONGEST_TIMEOUT_S: Final = 5.0
FIRST_CHECK_WITHIN_S: Final = 1.0

log = structlog.get_logger("proxy.control")


@dataclass(slots=True)
class Opinion:
    """What is thought of one URL. `judge` says whether a result changed it."""

    up: bool = True
    streak: int = 0  # results in a row that speak against `up`

    def judge(self, good: bool) -> bool:
        if good is self.up:
            self.streak = 0
            return False
        self.streak += 1
        if self.streak < (RISE if good else FALL):
            return False
        self.up, self.streak = good, 0
        return True


class HealthChecks:
    """Checks the URLs of the backends in force; `changed` is called when one changes its mind."""

    def __init__(self, changed: Callable[[EndpointHealth], None]) -> None:
        self._changed = changed
        self._wanted: dict[tuple[str, str], Backend] = {}
        self._opinions: dict[tuple[str, str], Opinion] = {}
        self._edited = asyncio.Event()

    def watch(self, backends: Mapping[str, Backend]) -> None:
        """Check these from now on. URLs that are no longer checked count as up again."""
        wanted = {
            (name, url): backend
            for name, backend in backends.items()
            if backend.health is not None
            for url in backend.urls
        }
        if wanted == self._wanted:
            return
        for key in self._opinions.keys() - wanted.keys():
            if not self._opinions.pop(key).up:
                self._changed(EndpointHealth(*key, up=True))
        self._wanted = wanted
        self._edited.set()

    def down(self) -> list[EndpointHealth]:
        """The URLs that are down, for a worker that is new."""
        return [
            EndpointHealth(*key, up=False)
            for key, opinion in self._opinions.items()
            if not opinion.up
        ]

    async def run(self) -> None:
        """Check until cancelled."""
        running: dict[tuple[str, str], tuple[Backend, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                for key, (backend, task) in list(running.items()):
                    if self._wanted.get(key) != backend:
                        task.cancel()
                        del running[key]
                for key, backend in self._wanted.items():
                    if key not in running:
                        self._opinions.setdefault(key, Opinion())
                        running[key] = backend, group.create_task(self._check(key, backend))
                self._edited.clear()
                await self._edited.wait()

    async def _check(self, key: tuple[str, str], backend: Backend) -> None:
        health = backend.health
        assert health is not None
        opinion = self._opinions[key]
        url = key[1]
        try:
            connector, address = _connector(backend, url)
        except (OSError, ssl.SSLError) as error:
            log.error("health checks impossible", backend=key[0], url=url, reason=str(error))
            return
        timeout = aiohttp.ClientTimeout(total=min(health.interval_s, LONGEST_TIMEOUT_S))
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            # Spread, so that many backends are not all asked at once.
            await asyncio.sleep(random.uniform(0.0, min(health.interval_s, FIRST_CHECK_WITHIN_S)))
            while True:
                reason = await _failure(session, address + health.path, health.expect)
                if opinion.judge(reason is None):
                    say = log.info if opinion.up else log.warning
                    state = "up" if opinion.up else "down"
                    say("backend changed health", backend=key[0], url=url, now=state, reason=reason)
                    self._changed(EndpointHealth(*key, up=opinion.up))
                await asyncio.sleep(health.interval_s * random.uniform(0.9, 1.1))


async def _failure(session: aiohttp.ClientSession, url: str, expect: int) -> str | None:
    """Why the check failed; None if it did not. The body is not read."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            return None if response.status == expect else f"status {response.status}"
    except TimeoutError:
        return "no answer in time"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _connector(backend: Backend, url: str) -> tuple[aiohttp.BaseConnector, str]:
    """A connector that opens a new connection for each check, and the address without path."""
    if url.startswith("unix:"):
        unix = aiohttp.UnixConnector(url.removeprefix("unix:"), force_close=True)
        return unix, "http://localhost"
    context: ssl.SSLContext | bool = True
    if url.startswith("https:") and backend.tls is not None:
        context = ssl.create_default_context(cafile=backend.tls.ca)
        if backend.tls.cert:
            context.load_cert_chain(backend.tls.cert, backend.tls.key)
        if not backend.tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    return aiohttp.TCPConnector(ssl=context, force_close=True), url.rstrip("/")
