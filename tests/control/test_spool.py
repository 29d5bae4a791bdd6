"""What is owed to webhooks outlives the controller: in a small file without secrets."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from proxy.config import Alert
from proxy.control import spool as spooling
from proxy.control.alerts import MAX_QUEUED, Alerts, Notice, Patience
from proxy.control.spool import NAME, Spool
from tests.harness.backend import Backend, replying
from tests.harness.disks import small_disk
from tests.harness.serving import Serving
from tests.harness.waiting import eventually, soon

PATIENCE = Patience(attempt_s=2.0, first_retry_s=0.02, longest_retry_s=0.05, at_the_end_s=0.5)
EVERYTHING = ("revert", "advance", "journal", "config")
NOWHERE = "http://user:hunter2@127.0.0.1:1/services/T0/hunter3"
KEY = b"key of the installation"


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[Backend]:
    async with Backend("hook") as made:
        made.handler = replying(b"ok")
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / NAME


@pytest.fixture
def opened(path: Path) -> Iterator[list[Spool]]:
    made: list[Spool] = []
    yield made
    for each in made:
        each.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def notice(number: int) -> Notice:
    return Notice(float(number), "revert", "users", f"title {number}", "text", {"to": "0%"})


def reopened(path: Path, opened: list[Spool]) -> Spool:
    while opened:
        opened.pop().close()
    opened.append(Spool(path))
    return opened[0]


def begun(path: Path, opened: list[Spool]) -> Alerts:
    """As the next controller, after the one before has died."""
    return Alerts(structlog.get_logger(), PATIENCE, reopened(path, opened), KEY)


def titles(hook: Backend) -> list[str]:
    return [json.loads(call.body)["title"] for call in hook.calls]


async def delivered(alerts: Alerts, count: int) -> None:
    task = asyncio.create_task(alerts.run())
    await eventually(lambda: alerts.counts["delivered"] >= count, f"{count} messages")
    task.cancel()
    await soon(asyncio.wait([task]), "the end")


async def test_the_next_controller_delivers_what_waited(
    path: Path, opened: list[Spool], hook: Backend
) -> None:
    alerts = begun(path, opened)
    alerts.configure([Alert(hook.url, EVERYTHING)])
    for number in range(3):
        alerts.tell(notice(number))
    assert os.stat(path).st_mode & 0o777 == 0o600
    alerts = begun(path, opened)
    alerts.configure([Alert(hook.url, EVERYTHING)])
    alerts.tell(notice(3))
    await delivered(alerts, 4)
    assert titles(hook) == [f"title {number}" for number in range(4)]
    assert +alerts.counts == {"taken_over": 3, "delivered": 4}
    assert content(path) == b""
    assert +begun(path, opened).counts == {}


async def test_what_comes_twice_has_the_same_id(
    path: Path, opened: list[Spool], hook: Backend
) -> None:
    """Also where it is told again, since the store was not told before the controller died."""
    for _ in range(2):
        alerts = begun(path, opened)
        alerts.configure([Alert(hook.url, EVERYTHING)])
        alerts.tell(notice(1))
    alerts.tell(notice(2))
    await delivered(alerts, 3)
    ids = [json.loads(call.body)["id"] for call in hook.calls]
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]


async def test_what_was_given_up_or_pushed_out_is_not_taken_over(
    path: Path, opened: list[Spool], hook: Backend
) -> None:
    alerts = begun(path, opened)
    alerts.configure([Alert(hook.url, EVERYTHING)])
    for number in range(MAX_QUEUED + 2):
        alerts.tell(notice(number))
    alerts = begun(path, opened)
    assert +alerts.counts == {"taken_over": MAX_QUEUED}
    alerts.configure([])
    assert alerts.counts["dropped_removed"] == MAX_QUEUED
    assert content(path) == b""


async def test_each_webhook_gets_what_it_is_owed(
    path: Path, opened: list[Spool], hook: Backend
) -> None:
    both = [Alert(hook.url, EVERYTHING), Alert(hook.url, ("revert",), "slack")]
    alerts = begun(path, opened)
    alerts.configure([*both, Alert(NOWHERE, EVERYTHING)])
    alerts.tell(notice(1))
    alerts = begun(path, opened)
    alerts.configure(both)
    await delivered(alerts, 2)
    assert sorted(call.body.startswith(b'{"text":"*title 1*') for call in hook.calls) == [
        False,
        True,
    ]
    assert +alerts.counts == {"taken_over": 3, "dropped_removed": 1, "delivered": 2}


async def test_no_address_is_in_the_file(path: Path, opened: list[Spool]) -> None:
    alerts = begun(path, opened)
    alerts.configure([Alert(NOWHERE, EVERYTHING, secret="s3cret")])
    alerts.tell(notice(1))
    text = content(path)
    assert b"title 1" in text
    for secret in (b"hunter", b"127.0.0.1", b"services", b"s3cret"):
        assert secret not in text


async def test_a_text_that_cannot_be_written_is_kept_nowhere(
    path: Path, opened: list[Spool], hook: Backend
) -> None:
    alerts = begun(path, opened)
    alerts.configure([Alert(hook.url, EVERYTHING)])
    alerts.tell(Notice(1.0, "revert", "users", "bad \udc80", "text"))
    alerts.tell(notice(1))
    await delivered(alerts, 1)
    assert +alerts.counts == {"not_kept": 1, "dropped_refused": 1, "delivered": 1}


@pytest.mark.parametrize("torn", [b'{"serial": 3, "te', b"\x00\xff\n", b'{"serial": "x"}\n'])
def test_a_line_that_is_torn_costs_no_other(path: Path, opened: list[Spool], torn: bytes) -> None:
    reopened(path, opened).put("mark", b'"first"')
    path.write_bytes(path.read_bytes() + torn)
    reopened(path, opened).put("mark", b'"second"')
    found = reopened(path, opened).left
    assert found == [(1, "mark", b'"first"'), (2, "mark", b'"second"')]


def test_what_is_no_message_is_dropped_and_counted(path: Path, opened: list[Spool]) -> None:
    reopened(path, opened).put("mark", b'"nonsense"')
    assert +begun(path, opened).counts == {"dropped_unreadable": 1}
    assert content(path) == b""


def test_the_file_is_bounded(
    path: Path, opened: list[Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "MAX_BYTES", 10_000)
    spool, text = reopened(path, opened), b'"' + b"x" * 500 + b'"'
    last = spool.put("mark", text)
    for _ in range(200):
        before, last = last, spool.put("mark", text)
        assert before is not None
        spool.done(before)
        assert path.stat().st_size <= 10_000
    # What is owed still is there; what does not fit any more is said.
    kept = [spool.put("mark", text) for _ in range(40)]
    assert kept[0] is not None
    assert kept[-1] is None
    assert path.stat().st_size <= 10_000
    wanted = [last, *(serial for serial in kept if serial is not None)]
    assert [each.serial for each in reopened(path, opened).left] == wanted


def test_a_second_process_leaves_the_file_alone(path: Path, opened: list[Spool]) -> None:
    reopened(path, opened).put("mark", b"1")
    second = Spool(path)  # a lock belongs to what was opened, as in another process
    assert second.left == []
    assert second.put("mark", b"2") is None
    second.close()
    assert [each.text for each in reopened(path, opened).left] == [b"1"]


async def test_on_a_full_disk_messages_are_delivered_all_the_same(
    tmp_path: Path, opened: list[Spool], hook: Backend
) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        path = disk.path / NAME
        alerts = begun(path, opened)
        alerts.configure([Alert(hook.url, EVERYTHING)])
        alerts.tell(notice(0))
        disk.fill()
        count = 100  # more than fits in the block that the file has
        for number in range(1, count):
            alerts.tell(notice(number))
        assert 0 < alerts.counts["not_kept"] < count
        left = count - alerts.counts["not_kept"]
        assert +begun(path, opened).counts == {"taken_over": left}
        await delivered(alerts, count)
        assert titles(hook) == [f"title {number}" for number in range(count)]
        opened.pop().close()


CONFIG = """
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
backends: {{legacy: http://127.0.0.1:9, new: http://127.0.0.1:9}}
alerts: [{{url: "{hook}", events: [config]}}]
routes:
  /a/*: legacy-only
"""


async def test_an_alert_outlives_a_controller_that_is_killed(tmp_path: Path, hook: Backend) -> None:
    """It died with it."""
    hook.handler = replying(b"later", "503 Later")
    good = CONFIG.format(hook=hook.url)
    async with Serving(tmp_path, good) as serving:
        serving.config.write_text("routes: [")
        await serving.says("alert not delivered yet")
        serving.config.write_text(good)
        await serving.says("child started", child="controller")
        serving.signal_child("controller", signal.SIGKILL)
        await serving.says("child started", 2, child="controller")
        tried = len(hook.calls)
        hook.handler = replying(b"ok")
        await eventually(lambda: len(hook.calls) > tried, "the alert", 20)
        ids = {json.loads(call.body)["id"] for call in hook.calls}
        assert len(ids) == 1
        await eventually(lambda: (tmp_path / NAME).read_bytes() == b"", "an empty spool")
