"""`banyan serve` as an operator meets it: what it refuses, and who dies and who lives."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from proxy.control.launcher import Options, StartError, serve
from tests.harness.backend import Backend, Call, plain
from tests.harness.client import Client
from tests.harness.serving import Serving
from tests.harness.waiting import Changes, asked_until, eventually, soon

CONFIG = """
listen: {listen}
workers: {workers}
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
backends: {{legacy: {legacy}, new: {legacy}}}
routes:
  /a/*: legacy-only
"""


def config(
    legacy: str = "http://127.0.0.1:9", workers: int = 1, listen: str = "127.0.0.1:0"
) -> str:
    return CONFIG.format(legacy=legacy, workers=workers, listen=listen)


def runs(pid: int) -> bool:
    """Whether the process exists and is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def refusal(folder: Path, text: str | None) -> str:
    """What it says on stderr before it exits with 1."""
    async with Serving(folder, text, expect_ready=False) as serving:
        assert await serving.exit_code() == 1
        assert serving.log == []
        said = "\n".join(serving.plain)
    assert "Traceback" not in said
    return said


async def test_it_says_where_it_serves_and_ends_cleanly(tmp_path: Path) -> None:
    async with Backend() as legacy, Serving(tmp_path, config(legacy.url, workers=2)) as serving:
        ready = serving.ready()
        line = f"banyan: serving on {ready['listen']}, admin on {ready['admin']}"
        await serving.says(line)
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", ready["listen"])
        async with await Client.to(serving.address) as client:
            assert (await client.get("/a/1")).body == b"legacy GET /a/1 0"
        children = serving.children()
        assert set(children) == {"controller", "worker 0", "worker 1", "comparer 0"}
        serving.signal(signal.SIGTERM)
        assert await serving.exit_code() == 0
        assert not any(runs(pid) for pid in children.values())
        assert serving.said("stopped", clean=True)
        assert not (tmp_path / "ready.json").exists()
        assert serving.plain == []


async def test_too_few_open_files_for_the_clients_are_told_at_the_start(tmp_path: Path) -> None:
    """Clients beyond them were cut without a line, and backends blamed for it."""
    async with Serving(tmp_path, config(workers=2), open_files=256) as serving:
        (said,) = (line for line in serving.log if "open files" in line["event"])
        assert (said["level"], said["open_files"]) == ("warning", 256)
        # Of 192 that each worker has left a third.
        assert (said["clients"], said["backend_legacy"]) == (2 * 64, 2 * 64)
    text = config(workers=2).replace(
        "backends: {legacy: http://127.0.0.1:9, new: http://127.0.0.1:9}",
        "limits: {connections: 128}\n"
        "backends:\n"
        "  legacy: {url: http://127.0.0.1:9, max_connections: 128}\n"
        "  new: {url: http://127.0.0.1:9, max_connections: 128}",
    )
    async with Serving(tmp_path, text, open_files=256) as serving:
        assert not any("open files" in line["event"] for line in serving.log)


async def test_a_bad_file_is_refused_with_its_findings(tmp_path: Path) -> None:
    said = await refusal(tmp_path, config() + "  /b/*: nonsense\n")
    assert re.search(r"routes\.yaml:\d+:\d+: error \w+: ", said)
    assert "has errors; nothing was started" in said


async def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in await refusal(tmp_path, None)


async def test_a_taken_address_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        said = await refusal(tmp_path, config(listen=f"127.0.0.1:{port}"))
    assert f"cannot listen on 127.0.0.1:{port} (listen): another process listens there" in said


async def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("nonsense")
    said = await refusal(tmp_path, config())
    assert "is damaged" in said
    assert "put a good copy in its place" in said


async def test_a_damaged_store_with_a_snapshot_serves_by_that_until_it_is_replaced(
    tmp_path: Path,
) -> None:
    good = tmp_path / "good.db"
    async with Serving(tmp_path, config().replace("legacy-only", "shadow-read")) as serving:
        serving.signal(signal.SIGTERM)
        assert await serving.exit_code() == 0
    state = tmp_path / "state.db"
    state.rename(good)
    state.write_text("nonsense")
    # What the file declares does not matter over a state that nobody knows.
    async with Serving(tmp_path, config()) as serving:
        [told] = serving.said("state store is damaged, its snapshot is used instead")
        assert "put a good copy in its place" in told["reason"]
        route = await serving.route("a")
        assert (route["effective_phase"], route["pending"]["to"]) == ("shadow-read", "legacy-only")
        ready = await serving.admin("/readyz")
        assert ready["status"] == "degraded"
        assert "is damaged" in ready["degraded"][0]
        good.rename(state)
        await serving.says("state store is back", within_s=20)
        await asked_until(
            lambda: serving.route("a"), lambda route: route["effective_phase"] == "legacy-only"
        )


async def test_the_url_of_a_redis_that_is_none_is_refused_and_not_shown(tmp_path: Path) -> None:
    url = "redis://me:hid@den@cache/0"
    said = await refusal(tmp_path, config().replace("sqlite:state.db", url))
    assert "the URL of the Redis is not of the form redis://user:password@host" in said
    assert "hid" not in said


async def test_without_redis_and_snapshot_nothing_is_served_and_it_is_said_why(
    tmp_path: Path,
) -> None:
    text = config().replace("sqlite:state.db", "redis://me:hidden@127.0.0.1:1/0")
    async with Serving(tmp_path, text, expect_ready=False) as serving:
        told = await serving.says("no snapshot either, nothing can be served")
        assert str(tmp_path / ".banyan" / "shared.snapshot.json") == told["snapshot"]
        told = await serving.says("state store cannot be used")
        assert "redis://127.0.0.1:1/0 cannot be used" in told["reason"]
        assert "hidden" not in serving.words
        serving.signal(signal.SIGTERM)
        assert await serving.exit_code() == 0


async def test_a_second_one_on_the_same_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    text = config().replace("sqlite:state.db", f"sqlite:{tmp_path}/state.db")
    async with Serving(tmp_path, text):
        assert "is in use by another process" in await refusal(tmp_path / "second", text)


async def test_a_failed_second_start_leaves_the_ready_file_of_the_first(tmp_path: Path) -> None:
    async with Serving(tmp_path, config()) as serving:
        before = serving.ready()
        listen = before["listen"].removeprefix("http://")
        second = tmp_path / "second.yaml"
        second.write_text(config(listen=listen))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy.cli.main", "serve", "--config", str(second)),
            *("--ready-file", str(tmp_path / "ready.json")),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await soon(process.communicate(), "the end of the second")
        assert process.returncode == 1
        assert b"is in use by another process" in said
        assert serving.ready() == before


async def test_the_ready_file_of_one_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    stale = tmp_path / "stale.json"
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await soon(gone.wait(), "its end")
    stale.write_text(json.dumps({"pid": gone.pid}))
    with pytest.raises(StartError):
        serve(Options(tmp_path / "missing.yaml", ready_file=stale))
    assert not stale.exists()


async def test_a_killed_worker_leaves_its_queue_to_the_next(tmp_path: Path) -> None:
    async with Backend() as legacy, Serving(tmp_path, config(legacy.url)) as serving:
        before = serving.children()["worker 0"]
        serving.signal_child("worker 0", signal.SIGKILL)
        async with await Client.to(serving.address) as client:
            assert (await client.get("/a/1")).status == 200
        died = await serving.says("child died, restarting it", child="worker 0")
        assert died["reason"] == "was killed by SIGKILL (out of memory?)"
        assert serving.children()["worker 0"] != before
        ready = await serving.until_ready()
        assert ready["workers"][0]["restarts"] == 1


async def test_the_controller_may_die_and_the_workers_serve_on(tmp_path: Path) -> None:
    async with Backend() as legacy, Serving(tmp_path, config(legacy.url, workers=2)) as serving:
        before = serving.children()
        admin = serving.ready()["admin"]
        async with await Client.to(serving.address) as client:
            serving.signal_child("controller", signal.SIGKILL)
            assert (await client.get("/a/1")).status == 200
        await serving.says("worker connected", count=4)
        ready = await serving.until_ready()
        assert serving.ready()["admin"] == admin
        assert [worker["pid"] for worker in ready["workers"]] == [
            before["worker 0"],
            before["worker 1"],
        ]
        assert serving.children()["controller"] != before["controller"]
        assert (await serving.admin("/api/v1/config"))["generation"] == 1


async def test_a_controller_that_finds_a_bad_file_uses_the_last_good_one(tmp_path: Path) -> None:
    async with Backend() as legacy, Serving(tmp_path, config(legacy.url)) as serving:
        serving.config.write_text("routes: [")
        await serving.says("the last good configuration stays in force")
        serving.signal_child("controller", signal.SIGKILL)
        serving.signal_child("worker 0", signal.SIGKILL)
        await serving.says("table in force", count=2)
        await serving.until_ready()
        async with await Client.to(serving.address) as client:
            assert (await client.get("/a/1")).status == 200
        assert (await serving.admin("/api/v1/config"))["last_error"] is not None


async def test_nothing_outlives_a_killed_launcher(tmp_path: Path) -> None:
    async with Serving(tmp_path, config(workers=2)) as serving:
        children = serving.children()
        serving.signal(signal.SIGKILL)
        await eventually(lambda: not any(map(runs, children.values())), "the end of all")


class Gate:
    """A backend's handler that answers when it is opened."""

    def __init__(self) -> None:
        self.is_open = False
        self.changes = Changes()

    async def __call__(self, call: Call) -> None:
        await self.changes.until(lambda: self.is_open)
        await plain(call)

    def open(self) -> None:
        self.is_open = True
        self.changes.notify()


async def test_a_drain_finishes_what_is_under_way_and_accepts_nothing_new(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        Backend(handler=gate) as legacy,
        Serving(tmp_path, config(legacy.url)) as serving,
        await Client.to(serving.address) as client,
    ):
        address = serving.address
        client.write(b"GET /a/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        await legacy.called()
        serving.signal(signal.SIGTERM)
        await serving.says("draining", signal="SIGTERM")
        await eventually(lambda: refuses(address), "refused connections")
        gate.open()
        assert (await client.response()).status == 200
        assert await serving.exit_code() == 0


def refuses(address: tuple[str, int]) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(address) != 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        Backend(handler=gate) as legacy,
        Serving(tmp_path, config(legacy.url), grace="60s") as serving,
        await Client.to(serving.address) as client,
    ):
        client.write(b"GET /a/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        await legacy.called()
        serving.signal(signal.SIGINT)
        await serving.says("draining", signal="SIGINT")
        serving.signal(signal.SIGINT)
        assert await serving.exit_code() == 1
        assert serving.said("drain cut short", by_signal=True)
        why = "was killed by SIGKILL (since the drain was cut short)"
        assert serving.said("child ended", child="worker 0", reason=why)
        gate.open()


async def test_a_unix_socket_is_shared_taken_over_when_stale_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "banyan.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    text = config(workers=2, listen=f"unix:{path}")
    async with Backend() as legacy:
        text = text.replace("http://127.0.0.1:9", legacy.url)
        async with Serving(tmp_path, text) as serving:
            assert serving.ready()["listen"] == f"unix:{path}"
            async with await Client.to(str(path)) as client:
                assert (await client.get("/a/1")).status == 200
            (tmp_path / "second").mkdir()
            said = await refusal(tmp_path / "second", text)
            assert "another process listens there" in said
            serving.signal(signal.SIGTERM)
            assert await serving.exit_code() == 0
            assert not path.exists()


@pytest.mark.parametrize("content", ["a file", None], ids=["file", "directory"])
async def test_what_is_no_socket_is_never_removed(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "banyan.sock"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    said = await refusal(tmp_path, config(listen=f"unix:{path}"))
    assert "a file that is not a socket is in the way" in said
    assert path.exists()
    assert os.listdir(tmp_path).count("banyan.sock") == 1


COMPARING = """
listen: 127.0.0.1:0
workers: 2
comparers: {comparers}
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /a/*: {{phase: shadow-read, name: a, compare: {{noise: 0%, recheck: false}}}}
"""


async def test_a_comparer_that_is_killed_under_load_costs_its_batch_and_no_client(
    tmp_path: Path,
) -> None:
    async with Backend("legacy") as legacy, Backend("new") as new:
        text = COMPARING.format(legacy=legacy.url, new=new.url, comparers=2)
        async with Serving(tmp_path, text) as serving:
            stop = asyncio.Event()
            answered = 0

            async def client() -> None:
                nonlocal answered
                async with await Client.to(serving.address) as connection:
                    while not stop.is_set():
                        assert (await connection.get("/a/1")).body.startswith(b"legacy")
                        answered += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(client())
                for _ in range(3):
                    pid = serving.children()["comparer 0"]
                    os.kill(pid, signal.SIGKILL)
                    await serving.changes.until(
                        lambda pid=pid: serving.children()["comparer 0"] != pid  # type: ignore[misc]  # bound early
                    )
                stop.set()

            async def totals() -> tuple[int, dict[str, int]]:
                route = await serving.admin("/api/v1/routes/a")
                return route["window"]["comparisons"], route["window"]["skipped"]

            compared, skipped = await asked_until(
                totals, lambda found: found[0] + sum(found[1].values()) >= answered
            )
            assert set(skipped) <= {"comparer_lost", "comparer_busy"}
            assert compared > 0
            assert (await serving.admin("/readyz"))["status"] in ("ready", "degraded")
