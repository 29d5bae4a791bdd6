"""Webhooks against a real receiver: delivered once it can be, signed, bounded, no secret told."""

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import structlog
from aiohttp import web
from click.testing import CliRunner

from proxy.cli.status import command as status_command
from proxy.config import Alert, Finding
from proxy.control.alerts import (
    MAX_QUEUED,
    Alerts,
    Notice,
    Patience,
    notice_of,
    refused_edit,
)
from proxy.store.records import Transition
from tests.harness.waiting import Changes, eventually, soon

QUICK = Patience(
    attempt_s=0.5, first_retry_s=0.02, longest_retry_s=0.05, give_up_s=30.0, at_the_end_s=0.5
)
EVERYTHING = ("revert", "advance", "journal", "config")
REVERT = Notice(1000.0, "revert", "users", "users was reverted", "bad <b>", {"to": "0%"})
SECRET = "s3cret-signing-key"


@dataclass
class Receiver:
    """Takes messages, and answers as a test says."""

    url: str = ""
    answers: list[Callable[[], web.StreamResponse]] = field(default_factory=list)
    hang: bool = False
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append((dict(request.headers), await request.read()))
        self.changes.notify()
        if self.hang:
            await asyncio.Event().wait()
        return self.answers.pop(0)() if self.answers else web.Response()

    async def messages(self, count: int) -> list[dict[str, Any]]:
        await self.changes.until(lambda: len(self.got) >= count, f"{count} messages")
        return [json.loads(body) for _, body in self.got]


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture
async def alerts() -> AsyncIterator[Alerts]:
    made = Alerts(structlog.get_logger(), QUICK)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await soon(asyncio.wait([task]), "the end")


async def until(alerts: Alerts, outcome: str, count: int = 1) -> None:
    await eventually(lambda: alerts.counts[outcome] >= count, f"{count} {outcome}")


def status(number: int, **headers: str) -> Callable[[], web.StreamResponse]:
    return lambda: web.Response(status=number, headers=headers)


async def test_a_message_in_our_own_form(alerts: Alerts, receiver: Receiver) -> None:
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(REVERT)
    (message,) = await receiver.messages(1)
    assert message.pop("id")
    assert message == {
        "version": 1,
        "at": "1970-01-01T00:16:40Z",
        "event": "revert",
        "route": "users",
        "title": "users was reverted",
        "text": "bad <b>",
        "fields": {"to": "0%"},
    }
    assert "Banyan-Signature" not in receiver.got[0][0]


async def test_a_message_in_slacks_form(alerts: Alerts, receiver: Receiver) -> None:
    alerts.configure([Alert(receiver.url, EVERYTHING, "slack")])
    alerts.tell(REVERT)
    assert await receiver.messages(1) == [{"text": "*users was reverted*\nbad &lt;b&gt;"}]


async def test_a_webhook_gets_the_events_it_wants(alerts: Alerts, receiver: Receiver) -> None:
    alerts.configure([Alert(receiver.url, ("advance",))])
    alerts.tell(REVERT)
    alerts.tell(Notice(1.0, "advance", "users", "up", "healthy"))
    assert [each["event"] for each in await receiver.messages(1)] == ["advance"]


async def test_the_signature_is_of_the_moment_and_the_body(
    alerts: Alerts, receiver: Receiver
) -> None:
    alerts.configure([Alert(receiver.url, EVERYTHING, secret=SECRET)])
    alerts.tell(REVERT)
    await receiver.messages(1)
    headers, body = receiver.got[0]
    signed = headers["Banyan-Timestamp"].encode() + b"." + body
    wanted = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["Banyan-Signature"] == f"v1={wanted}"


@pytest.mark.parametrize("number", [408, 425, 429, 500, 503])
async def test_what_can_pass_is_tried_again_with_the_same_id(
    alerts: Alerts, receiver: Receiver, number: int
) -> None:
    receiver.answers = [status(number), status(number)]
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(REVERT)
    messages = await receiver.messages(3)
    assert len({each["id"] for each in messages}) == 1
    await until(alerts, "delivered")
    assert alerts.counts == {"delivered": 1, "retried": 2}


@pytest.mark.parametrize("number", [301, 400, 404, 410])
async def test_what_is_refused_for_good_is_dropped_and_counted(
    alerts: Alerts, receiver: Receiver, number: int
) -> None:
    receiver.answers = [status(number, Location=receiver.url)]
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(REVERT)
    alerts.tell(REVERT)
    await until(alerts, "delivered")
    assert alerts.counts == {"delivered": 1, "dropped_refused": 1}
    assert len(receiver.got) == 2  # no redirect is followed


async def test_one_that_hangs_holds_up_no_other(alerts: Alerts, receiver: Receiver) -> None:
    receiver.hang = True
    alerts.configure([Alert(receiver.url, EVERYTHING), Alert("http://127.0.0.1:1", EVERYTHING)])
    alerts.tell(REVERT)
    await until(alerts, "retried", 6)
    assert len(receiver.got) >= 1


async def test_a_wish_to_wait_is_followed(alerts: Alerts, receiver: Receiver) -> None:
    receiver.answers = [status(503, **{"Retry-After": "1"})]
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(REVERT)
    await receiver.messages(1)
    first_at = asyncio.get_running_loop().time()
    await receiver.messages(2)
    assert asyncio.get_running_loop().time() - first_at > 0.9


async def test_a_queue_is_bounded_the_oldest_are_dropped_and_counted(
    receiver: Receiver,
) -> None:
    alerts = Alerts(structlog.get_logger(), QUICK)
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    for number in range(MAX_QUEUED + 7):
        alerts.tell(Notice(float(number), "revert", "users", "title", "text"))
    assert alerts.counts["dropped_queue"] == 7
    delivering = asyncio.create_task(alerts.run())
    messages = await receiver.messages(MAX_QUEUED)
    assert messages[0]["at"] == "1970-01-01T00:00:07Z"
    assert len(messages) == MAX_QUEUED
    delivering.cancel()
    await soon(asyncio.wait([delivering]), "the end")


async def test_it_is_given_up_in_the_end(receiver: Receiver) -> None:
    patience = Patience(first_retry_s=0.01, longest_retry_s=0.01, give_up_s=0.05)
    alerts = Alerts(structlog.get_logger(), patience)
    task = asyncio.create_task(alerts.run())
    alerts.configure([Alert("http://127.0.0.1:1", EVERYTHING)])
    alerts.tell(REVERT)
    await until(alerts, "dropped_in_vain")
    task.cancel()
    await soon(asyncio.wait([task]), "the end")


async def test_a_reload_keeps_what_is_queued_and_ends_what_is_gone(
    alerts: Alerts, receiver: Receiver
) -> None:
    receiver.answers = [status(503)]
    here, gone = Alert(receiver.url, EVERYTHING), Alert("http://127.0.0.1:1", EVERYTHING)
    alerts.configure([here, gone])
    alerts.tell(REVERT)
    alerts.configure([here])
    assert alerts.counts["dropped_removed"] == 1
    await until(alerts, "delivered")


async def test_what_waits_is_tried_once_more_at_the_end(receiver: Receiver) -> None:
    alerts = Alerts(structlog.get_logger(), Patience(first_retry_s=60.0))
    task = asyncio.create_task(alerts.run())
    receiver.answers = [status(503)]
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(REVERT)
    await until(alerts, "retried")
    task.cancel()
    await soon(asyncio.wait([task]), "the end")
    assert alerts.counts["delivered"] == 1


async def test_no_secret_is_told(alerts: Alerts, capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://user:hunter2@127.0.0.1:1/services/T0/B0/key?token=hunter3"
    alerts.configure([Alert(url, EVERYTHING, secret=SECRET)])
    alerts.tell(REVERT)
    await until(alerts, "retried")
    said = "".join(capsys.readouterr())
    assert "alert not delivered yet" in said
    assert "http://127.0.0.1:1" in said
    for secret in ("hunter2", "hunter3", "/services", SECRET):
        assert secret not in said


@pytest.mark.parametrize(
    ("kind", "event", "title"),
    [
        ("revert", "revert", "users was reverted: 25% to 0%"),
        ("refused", "revert", "users is failing at 25% and cannot be taken back"),
        ("advance", "advance", "users advanced: 25% to 0%"),
        ("ready", "advance", "users is ready to be removed"),
        ("missed", "journal", "users: 0% lacks writes"),
        ("hold", None, ""),
        ("resume", None, ""),
        ("phase", None, ""),
    ],
)
def test_what_of_the_history_is_told(kind: str, event: str | None, title: str) -> None:
    line = Transition(1.0, "users", kind, "25%", "0%", "guard", "divergence", "37 of 40")
    notice = notice_of(line)
    if event is None:
        assert notice is None
        return
    assert notice is not None
    assert (notice.event, notice.title) == (event, title)
    assert notice.fields["evidence"] == "37 of 40"
    assert ("patch" in notice.fields) == (kind == "revert")


def test_a_refused_edit_is_told() -> None:
    bad = Finding("routes.yaml", 3, 1, "error", "BAD_PHASE", "routes./a", "is not a phase")
    notice = refused_edit("routes.yaml", [bad, bad], 1.0)
    assert notice.event == "config"
    assert "is not a phase" in notice.text
    assert "(and 1 more)" in notice.text


async def test_low_coverage_is_told(alerts: Alerts, receiver: Receiver) -> None:
    alerts.configure([Alert(receiver.url, ("advance",))])
    alerts.tell_low_coverage("users", 0.125, 0.5)
    (message,) = await receiver.messages(1)
    assert (message["event"], message["route"]) == ("advance", "users")
    assert message["fields"] == {"coverage": "12.50%", "min_coverage": "50.00%"}
    # What it tells people to run is a command there is.
    named = re.search("`banyan status ([^`]+)`", message["text"])
    assert named is not None
    asked = [*named[1].split(), "--admin", "http://127.0.0.1:1"]
    ran = await asyncio.to_thread(CliRunner().invoke, status_command, asked)
    assert ran.exit_code == 1, ran.output  # nobody is there; bad usage would be 2


async def test_an_address_keeps_what_waits_for_it_when_its_events_change(
    alerts: Alerts, receiver: Receiver
) -> None:
    receiver.hang = True
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(REVERT)
    await receiver.messages(1)
    receiver.hang = False
    alerts.configure([Alert(receiver.url, ("revert",), "slack")])
    assert len(await receiver.messages(2)) == 2
    await until(alerts, "delivered")
    alerts.configure([])
    assert alerts.counts["dropped_removed"] == 0


async def test_of_two_at_one_address_each_queue_goes_on_or_is_counted(
    receiver: Receiver,
) -> None:
    alerts = Alerts(structlog.get_logger(), QUICK)
    two = [Alert(receiver.url, ("revert",)), Alert(receiver.url, ("revert", "config"))]
    alerts.configure(two)
    alerts.tell(REVERT)
    one = Alert(receiver.url, EVERYTHING)
    alerts.configure([one, one])
    assert alerts.counts == {"dropped_removed": 1}
    delivering = asyncio.create_task(alerts.run())
    await receiver.messages(1)
    await until(alerts, "delivered")
    assert alerts.counts == {"dropped_removed": 1, "delivered": 1}
    delivering.cancel()
    await soon(asyncio.wait([delivering]), "the end")


def test_no_secret_is_in_what_a_log_would_show_of_a_webhook() -> None:
    shown = repr(Alert("https://hooks.example/T0/secret", EVERYTHING, secret=SECRET))
    assert "secret" not in shown
    assert SECRET not in shown


async def test_a_text_that_cannot_be_written_is_dropped_and_nothing_else(
    alerts: Alerts, receiver: Receiver
) -> None:
    alerts.configure([Alert(receiver.url, EVERYTHING)])
    alerts.tell(Notice(1.0, "revert", "users", "bad \udc80", "text"))
    alerts.tell(REVERT)
    await until(alerts, "delivered")
    assert alerts.counts == {"delivered": 1, "dropped_refused": 1}
