"""Active health checks against real backends, over TCP and a Unix socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.control.health import FALL, RISE, HealthChecks, Opinion
from proxy.core.messages import EndpointHealth
from proxy.core.model import Backend as BackendModel
from proxy.core.model import Health
from tests.harness.backend import Backend, Call, Handler, hanging, replying, resetting
from tests.harness.waiting import Changes


def test_an_opinion_changes_after_a_streak_only() -> None:
    opinion = Opinion()
    assert [opinion.judge(False) for _ in range(FALL)] == [False] * (FALL - 1) + [True]
    assert not opinion.up
    assert [opinion.judge(good) for good in (True, False, True)] == [False, False, False]
    assert [opinion.judge(True) for _ in range(RISE - 1)] == [True]
    assert opinion.up


class Checked:
    def __init__(self) -> None:
        self.said: list[EndpointHealth] = []
        self.changes = Changes()
        self.checks = HealthChecks(self._changed)

    def _changed(self, health: EndpointHealth) -> None:
        self.said.append(health)
        self.changes.notify()

    def watch(self, backend: Backend, interval_s: float = 0.05, health: bool = True) -> None:
        wanted = Health("/healthz", interval_s, 200) if health else None
        self.checks.watch({"legacy": BackendModel("legacy", (backend.url,), health=wanted)})

    async def says(self, count: int) -> EndpointHealth:
        await self.changes.until(lambda: len(self.said) >= count, f"{count} changes")
        return self.said[count - 1]


@asynccontextmanager
async def checking() -> AsyncIterator[Checked]:
    checked = Checked()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(checked.checks.run())
        yield checked
        task.cancel()


async def slowly(call: Call) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\n")
    await call.hang()


@pytest.mark.parametrize(
    "bad",
    [
        replying(b"", "503 No"),
        replying(b"", "302 Found", "Location: /"),
        resetting,
        hanging,
        slowly,
    ],
    ids=["status", "redirect", "reset", "no answer", "half an answer"],
)
async def test_a_failing_backend_goes_down_and_comes_back(bad: Handler) -> None:
    async with Backend(handler=bad) as backend, checking() as checked:
        checked.watch(backend)
        assert await checked.says(1) == EndpointHealth("legacy", backend.url, up=False)
        assert checked.checks.down() == [EndpointHealth("legacy", backend.url, up=False)]
        assert backend.calls[0].target == "/healthz"
        backend.handler = replying(b"fine")
        assert await checked.says(2) == EndpointHealth("legacy", backend.url, up=True)
        assert checked.checks.down() == []


async def test_a_unix_socket_is_checked_too(tmp_path: Path) -> None:
    async with (
        Backend(handler=replying(b"", "500 No"), unix=str(tmp_path / "b.sock")) as backend,
        checking() as checked,
    ):
        checked.watch(backend)
        assert not (await checked.says(1)).up


async def test_what_is_no_longer_checked_counts_as_up() -> None:
    async with Backend(handler=replying(b"", "500 No")) as backend, checking() as checked:
        checked.watch(backend)
        await checked.says(1)
        checked.watch(backend, health=False)
        assert await checked.says(2) == EndpointHealth("legacy", backend.url, up=True)
        assert checked.checks.down() == []
