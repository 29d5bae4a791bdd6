"""Edits of the file, as editors and Kubernetes make them, against a whole `banyan serve`."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from proxy.config import Finding
from proxy.control.reload import Reloader
from tests.harness.backend import Backend
from tests.harness.client import Client
from tests.harness.serving import Serving
from tests.harness.waiting import Changes

IN_FORCE_WITHIN_S = 1.0

CONFIG = """
listen: {listen}
workers: 2
admin: {{listen: 127.0.0.1:0}}
state: sqlite:{state}
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /a/*: {phase}
"""


class Place:
    """Where the configuration lies, and how it is edited there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "routes.yaml"

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def edit(self, text: str) -> None:
        raise AssertionError("each place has its own way")


class Replaced(Place):
    """vim, sed -i: written beside it, then renamed over it."""

    def edit(self, text: str) -> None:
        fresh = self.folder / ".routes.yaml.new"
        fresh.write_text(text)
        fresh.replace(self.config)


class Truncated(Place):
    """nano, a shell's redirection: emptied, then written in two pieces."""

    def edit(self, text: str) -> None:
        with self.config.open("w") as file:
            file.flush()
            os.fsync(file.fileno())
            file.write(text[:40])
            file.flush()
            os.fsync(file.fileno())
            file.write(text[40:])


class MovedAway(Place):
    """emacs: the old file is renamed to a backup, then a new one is written."""

    def edit(self, text: str) -> None:
        self.config.rename(self.folder / "routes.yaml~")
        self.config.write_text(text)


class ConfigMap(Place):
    """Kubernetes: routes.yaml -> ..data/routes.yaml, ..data -> ..1, and `..data` is swapped."""

    version = 0

    def write(self, text: str) -> None:
        self.edit(text)
        self.config.symlink_to("..data/routes.yaml")

    def edit(self, text: str) -> None:
        self.version += 1
        version = self.folder / f"..{self.version}"
        version.mkdir()
        (version / "routes.yaml").write_text(text)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(self.folder / "..data")


class Linked(Place):
    """The path is a link to a file elsewhere, which is edited there."""

    def write(self, text: str) -> None:
        (self.folder / "elsewhere").mkdir()
        (self.folder / "elsewhere" / "real.yaml").write_text(text)
        self.config.symlink_to(self.folder / "elsewhere" / "real.yaml")

    def edit(self, text: str) -> None:
        fresh = self.folder / "elsewhere" / "real.yaml.new"
        fresh.write_text(text)
        fresh.replace(self.folder / "elsewhere" / "real.yaml")


@pytest.mark.parametrize("kind", [Replaced, Truncated, MovedAway, ConfigMap, Linked])
async def test_an_edit_is_in_force_in_every_worker_within_a_second(
    tmp_path: Path, kind: Callable[[Path], Place]
) -> None:
    place = kind(tmp_path)
    async with Backend("legacy") as legacy, Backend("new") as new:

        def text(phase: str) -> str:
            return CONFIG.format(
                listen="127.0.0.1:0",
                state=tmp_path / "state.db",
                legacy=legacy.url,
                new=new.url,
                phase=phase,
            )

        place.write(text("legacy-only"))
        async with Serving(tmp_path) as serving, await Client.to(serving.address) as client:
            assert (await client.get("/a/1")).body == b"legacy GET /a/1 0"
            for generation, (phase, answers) in enumerate(
                [("new-only", b"new"), ("legacy-only", b"legacy")], start=2
            ):
                edited = time.monotonic()
                place.edit(text(phase))
                await serving.until_ready(generation)
                assert time.monotonic() - edited < IN_FORCE_WITHIN_S
                assert (await client.get("/a/1")).body == answers + b" GET /a/1 0"
            assert serving.said("configuration refused") == []


async def test_no_request_is_dropped_by_edits(tmp_path: Path) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:

        def text(phase: str) -> str:
            return CONFIG.format(
                listen="127.0.0.1:0",
                state=tmp_path / "state.db",
                legacy=legacy.url,
                new=new.url,
                phase=phase,
            )

        place = Replaced(tmp_path)
        place.write(text("legacy-only"))
        async with Serving(tmp_path) as serving:
            done = asyncio.Event()
            statuses: list[int] = []

            async def visit() -> None:
                async with await Client.to(serving.address) as client:
                    while not done.is_set():
                        statuses.append((await client.get("/a/1")).status)
                        statuses.append((await client.post("/a/1")).status)

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(visit())
                for generation, phase in enumerate(["new-only", "0%", "dual-write"], start=2):
                    place.edit(text(phase))
                    await serving.until_ready(generation)
                done.set()
            assert len(statuses) > 50
            assert set(statuses) == {200}


async def test_a_bad_edit_changes_nothing_and_is_told_everywhere(tmp_path: Path) -> None:
    async with Backend() as legacy:

        def text(phase: str, listen: str = "127.0.0.1:0") -> str:
            return CONFIG.format(
                listen=listen,
                state=tmp_path / "state.db",
                legacy=legacy.url,
                new=legacy.url,
                phase=phase,
            )

        async with Serving(tmp_path, text("legacy-only")) as serving:
            serving.config.write_text(text("sideways"))
            refused = await serving.says("configuration refused")
            assert "routes.yaml:8:" in refused["finding"]
            config = await serving.admin("/api/v1/config")
            assert config["generation"] == 1
            assert "sideways" in config["last_error"]["text"]
            assert (await serving.route("a"))["declared_phase"] == "legacy-only"
            metrics = await serving.metrics()
            assert "banyan_config_errors_total 1" in metrics
            assert 'banyan_link_disconnects_total{reason="slow"} 0' in metrics
            async with await Client.to(serving.address) as client:
                assert (await client.get("/a/1")).status == 200

            # A file that is gone is a bad edit too, told once.
            serving.config.unlink()
            await serving.says("configuration refused", code="UNREADABLE")
            assert (await serving.admin("/readyz"))["status"] == "ready"

            # A good one heals; what needs a restart is said, the rest is in force.
            serving.config.write_text(text("shadow-read", listen="127.0.0.1:1"))
            await serving.until_ready(2)
            config = await serving.admin("/api/v1/config")
            assert config["last_error"] is None
            assert "RESTART_NEEDED" in [finding["code"] for finding in config["findings"]]
            assert (await serving.route("a"))["effective_phase"] == "shadow-read"

            # Seen from what is in force: a phase is skipped.
            serving.config.write_text(text("new-only"))
            await serving.until_ready(3)
            codes = {line["code"] for line in serving.said("configuration finding")}
            assert "PHASE_SKIPPED" in codes

            # The same text once more is read, compiled and in force again when asked for.
            serving.signal(signal.SIGHUP)
            await serving.until_ready(4)
            assert len(serving.said("configuration refused")) == 2


async def test_one_unreadable_file_after_another_is_told_anew(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    told: list[str] = []
    changes = Changes()

    def bad(findings: Sequence[Finding]) -> None:
        told.append(findings[0].text)
        changes.notify()

    path.write_bytes(b"#" * (5 << 20))
    reading = asyncio.create_task(Reloader(path, lambda *_: None, bad).run())
    try:
        await changes.until(lambda: told and "bytes or more" in told[-1], "the large file")
        path.unlink()
        path.mkdir()
        await changes.until(lambda: "directory" in told[-1], "the directory")
        path.rmdir()
        await changes.until(lambda: "no such file" in told[-1], "the missing file")
    finally:
        reading.cancel()
        await asyncio.wait([reading])
