"""Moves of write authority and missed flags with real workers, deaths included."""

import signal
from pathlib import Path

from tests.harness.backend import Backend
from tests.harness.client import Client
from tests.harness.serving import Serving
from tests.harness.waiting import eventually

CONFIG = """
listen: 127.0.0.1:0
workers: 2
admin: {{listen: 127.0.0.1:0}}
state: sqlite:{folder}/state.db
limits: {{switch_timeout: {timeout}}}
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /a/*: {phase}
"""


async def test_authority_moves_there_and_back(tmp_path: Path) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:

        def text(phase: str) -> str:
            return CONFIG.format(
                folder=tmp_path, timeout="5s", legacy=legacy.url, new=new.url, phase=phase
            )

        async with (
            Serving(tmp_path, text("99%")) as serving,
            await Client.to(serving.address) as client,
        ):
            assert (await client.post("/a/1")).body.startswith(b"legacy")
            serving.config.write_text(text("dual-write"))
            await serving.says("write authority moved", to="new")
            await serving.until_ready(2)
            assert (await client.post("/a/1")).body.startswith(b"new")
            assert (await serving.route("a"))["pending"] is None
            serving.config.write_text(text("99%"))
            await serving.says("write authority moved", to="legacy")
            await serving.until_ready(3)
            assert (await client.post("/a/1")).body.startswith(b"legacy")


async def test_a_stuck_worker_keeps_the_move_pending_until_it_answers(tmp_path: Path) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:

        def text(phase: str) -> str:
            return CONFIG.format(
                folder=tmp_path, timeout="500ms", legacy=legacy.url, new=new.url, phase=phase
            )

        async with Serving(tmp_path, text("99%")) as serving:
            serving.signal_child("worker 1", signal.SIGSTOP)
            serving.config.write_text(text("dual-write"))
            given_up = await serving.says("write authority could not be moved, the old one stays")
            assert given_up["level"] == "error"
            assert given_up["waited_for_slots"] == [1]
            route = await serving.route("a")
            assert route["effective_phase"] == "dual-write"
            assert route["pending"]["to"] == "dual-write"
            assert 'banyan_move_pending{route="a"} 1' in await serving.metrics()

            # The controller may die in the middle of it.
            serving.signal_child("controller", signal.SIGKILL)
            await serving.says("table in force", count=3)
            await serving.says("write authority could not be moved, the old one stays", count=2)
            assert serving.said("write authority moved") == []

            # So may the worker: its replacement has nothing under way.
            serving.signal_child("worker 1", signal.SIGKILL)
            await serving.says("write authority moved", to="new")
            await serving.until_ready(2)
            assert (await serving.route("a"))["pending"] is None


async def test_a_missed_flag_is_raised_before_the_write_and_survives_everything(
    tmp_path: Path,
) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:

        def text(phase: str) -> str:
            return CONFIG.format(
                folder=tmp_path, timeout="5s", legacy=legacy.url, new=new.url, phase=phase
            )

        async with Serving(tmp_path, text("legacy-only")) as serving:
            async with await Client.to(serving.address) as client:
                assert (await serving.route("a"))["missed"] == []
                assert (await client.post("/a/1")).status == 200
            assert (await serving.route("a"))["missed"] == ["new"]
            children = serving.children().values()
            serving.signal(signal.SIGKILL)
            await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))

        async with Serving(tmp_path, text("25%")) as serving:
            assert (await serving.route("a"))["missed"] == ["new"]
            # What is unwise about that edit was seen although it happened while nothing ran.
            found = await serving.says("configuration finding", code="MISSED_WRITES")
            assert "accept_loss" in found["finding"]


async def test_a_lost_store_is_filled_from_its_snapshot(tmp_path: Path) -> None:
    async with Backend("legacy") as legacy:
        text = CONFIG.format(
            folder=tmp_path, timeout="5s", legacy=legacy.url, new=legacy.url, phase="legacy-only"
        )
        async with (
            Serving(tmp_path, text) as serving,
            await Client.to(serving.address) as client,
        ):
            assert (await client.post("/a/1")).status == 200
            serving.signal(signal.SIGTERM)
            assert await serving.exit_code() == 0
        (tmp_path / "state.db").unlink()
        async with Serving(tmp_path, text) as serving:
            assert (await serving.route("a"))["missed"] == ["new"]
            assert serving.said("state store was new, filled from the snapshot")
