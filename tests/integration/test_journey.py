"""A route's whole way from legacy to new, by edits of the file, under a client's load."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.harness.backend import Backend, Call
from tests.harness.client import Client
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until, eventually

SHORT_FORM = """
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
workers: {workers}
backends:
  legacy: {legacy}
  new: {new}
defaults: {{compare: null}}  # the backends differ on purpose, and would be asked again
routes:
  /api/legacy/*: legacy-only
  /api/orders/*: shadow-read
  /api/users/*: dual-write
  /api/products/*: new-only
  /api/search/*: {phase}
"""
# Route: who answers a GET, who is asked as well; who answers a POST, who gets it then.
TABLE = {
    "/api/legacy/1": ("legacy", None, "legacy", None),
    "/api/orders/1": ("legacy", "new", "legacy", None),
    "/api/users/1": ("new", "legacy", "new", "legacy"),
    "/api/products/1": ("new", None, "new", None),
}


def config(legacy: Backend, new: Backend, phase: str = "25%", workers: int = 1) -> str:
    return SHORT_FORM.format(legacy=legacy.url, new=new.url, phase=phase, workers=workers)


async def test_the_short_form_does_what_it_says(tmp_path: Path) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:
        both = {"legacy": legacy, "new": new}
        async with (
            Serving(tmp_path, config(legacy, new)) as serving,
            await Client.to(serving.address) as client,
        ):
            for target, (reads, shadows, writes, then) in TABLE.items():
                for backend in both.values():
                    backend.reset()
                assert (await client.get(target)).body == f"{reads} GET {target} 0".encode()
                assert (await client.post(target, b"abc")).body == (
                    f"{writes} POST {target} 3".encode()
                )
                for name, backend in both.items():
                    wanted = {"GET": name in (reads, shadows), "POST": name in (writes, then)}
                    await backend.changes.until(
                        lambda b=backend, w=wanted: (  # type: ignore[misc]  # bound early
                            sorted(call.method for call in b.calls)
                            == [method for method in ("GET", "POST") if w[method]]
                        ),
                        f"{target}: {wanted} at {name}",
                    )
            assert (await client.get("/elsewhere")).body == b"legacy GET /elsewhere 0"


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_route_goes_all_the_way_and_back_under_load(tmp_path: Path, workers: int) -> None:
    """No request fails, and while both sides are written every write reaches each of them once."""
    async with (
        Backend("legacy") as legacy,
        Backend("new") as new,
        Serving(tmp_path, config(legacy, new, "0%", workers)) as serving,
    ):
        stop = asyncio.Event()
        written: list[str] = []
        failures: list[object] = []

        async def visitor(number: int) -> None:
            turn = 0
            while not stop.is_set():
                async with await Client.to(serving.address) as client:
                    for _ in range(5):
                        turn += 1
                        target = f"/api/search/{number}-{turn}"
                        read = await client.get(target)
                        write = await client.post(target, b"x")
                        if (read.status, write.status) != (200, 200):
                            failures.append((read.line, write.line, write.body))
                        written.append(target)

        visitors = [asyncio.ensure_future(visitor(number)) for number in range(4)]
        for phase in ("10%", "50%", "99%", "dual-write", "99%", "0%", "100%"):
            (tmp_path / "routes.yaml").write_text(config(legacy, new, phase, workers))
            wanted = "dual-write" if phase == "100%" else phase
            await moved(serving, wanted)
            before = len(written)
            await eventually(lambda n=before: len(written) > n + 20)  # type: ignore[misc]  # bound early
        stop.set()
        await asyncio.gather(*visitors)
        assert failures == []
        for backend in (legacy, new):
            await backend.changes.until(
                lambda b=backend: posts(b) == sorted(written),  # type: ignore[misc]  # as above
                f"every write at {backend.name} once",
            )
        assert (await name_of(serving))["missed"] == []


def posts(backend: Backend) -> list[str]:
    return sorted(call.target for call in backend.calls if call.method == "POST")


async def name_of(serving: Serving) -> dict[str, object]:
    routes = (await serving.admin("/api/v1/routes"))["routes"]
    found = [route for route in routes if "search" in route["pattern"]]
    assert isinstance(found[0], dict)
    return found[0]


async def moved(serving: Serving, phase: str) -> None:
    """Wait until the phase is in force and no move of authority is under way."""
    await asked_until(
        lambda: name_of(serving),
        lambda route: route["effective_phase"] == phase and route["pending"] is None,
        f"{phase}\n{serving.words}",
        15,
    )


async def test_a_killed_worker_takes_only_its_own_connections_with_it(tmp_path: Path) -> None:
    async def handler(call: Call) -> None:
        await call.answer(b"fine")

    async with (
        Backend("legacy", handler) as legacy,
        Backend("new", handler) as new,
        Serving(tmp_path, config(legacy, new, workers=2)) as serving,
    ):
        stop = asyncio.Event()
        answered = cut = 0

        async def visitor() -> None:
            nonlocal answered, cut
            while not stop.is_set():
                try:
                    async with await Client.to(serving.address) as client:
                        response = await client.get("/api/legacy/1")
                        assert response.body == b"fine"
                        answered += 1
                except (ConnectionError, asyncio.IncompleteReadError):
                    cut += 1

        visitors = [asyncio.ensure_future(visitor()) for _ in range(8)]
        await eventually(lambda: answered > 50)
        for name in ("worker 0", "worker 1", "controller"):
            serving.signal_child(name, signal.SIGKILL)
            await serving.says("child started", 2, child=name)
            before = answered
            await eventually(lambda n=before: answered > n + 50)  # type: ignore[misc]  # as above
        stop.set()
        await asyncio.gather(*visitors)
        # At most what was under way in a worker when it was killed: one request a visitor.
        assert cut <= 16
