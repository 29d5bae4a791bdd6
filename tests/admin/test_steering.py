"""Orders, history and events over HTTP: what is done, what is refused, and to whom."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.admin.app import make_app
from proxy.admin.divergences import UnavailableError
from proxy.admin.events import KEPT, MAX_LISTENERS, MAX_WAITING, Events
from proxy.admin.steering import Asked, HistoryLine, RefusedError, WrongOrderError
from tests.admin.estate import Estate, a_route
from tests.harness.waiting import soon

Client = TestClient[web.Request, web.Application]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LINE = HistoryLine(
    AT, "orders", "revert", "25%", "0%", "guard", "divergence", "37 of 40", "phase: 0%"
)


@pytest_asyncio.fixture
async def estate() -> Estate:
    return Estate(a_route("orders", "25%"), a_route("users", "0%"))


@pytest_asyncio.fixture
async def client(estate: Estate) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(estate))) as made:
        yield made


@pytest.mark.parametrize("action", ["revert", "advance", "hold", "resume"])
async def test_an_order_is_carried_out(client: Client, estate: Estate, action: str) -> None:
    body = {"reason": "OPS-1", "to": "0%", "accept_loss": True, "force": True}
    answer = await client.post(f"/api/v1/routes/orders/{action}", json=body)
    assert answer.status == 200
    assert (await answer.json())["name"] == "orders"
    assert estate.steering.orders == [("orders", action, Asked("OPS-1", "0%", True, True))]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RefusedError("legacy missed writes"), 409, "Legacy missed writes."),
        (WrongOrderError("`to`: 'x' is not a phase"), 400, "`to`: 'x' is not a phase."),
        (UnavailableError("the disk is full"), 503, "not known: the disk is full."),
    ],
)
async def test_what_is_not_done_says_why(
    client: Client, estate: Estate, error: Any, status: int, said: str
) -> None:
    estate.steering.answer = error
    answer = await client.post("/api/v1/routes/orders/revert", json={"reason": "r"})
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    assert said in (await answer.json())["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no order"),
        (b"[]", "no order"),
        (b"{}", "reason"),
        (b'{"reason": ""}', "has a reason"),
        (b'{"reason": " "}', "has a reason"),
        (b'{"reason": "' + b"x" * 501 + b'"}', "500 characters"),
        (b'{"reason": "r", "tp": "0%"}', "tp"),
        (b'{"reason": "r", "force": "yes"}', "force"),
        (b"\xff", "no order"),
    ],
)
async def test_a_wrong_body_is_refused(
    client: Client, estate: Estate, body: bytes, said: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/routes/orders/hold", data=body, headers=headers)
    assert answer.status == 400
    assert said in (await answer.json())["detail"]
    assert estate.steering.orders == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 421),
    ],
)
async def test_another_site_can_order_nothing(
    client: Client, estate: Estate, headers: dict[str, str], status: int
) -> None:
    answer = await client.post(
        "/api/v1/routes/orders/revert", data=b'{"reason": "r"}', headers=headers
    )
    assert answer.status == status
    assert estate.steering.orders == []


async def test_a_body_without_end_is_cut_off(client: Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/routes/orders/hold", data=b" " * (1 << 20), headers=headers)
    assert answer.status == 413


async def test_there_is_no_such_route_or_action(client: Client) -> None:
    assert (await client.post("/api/v1/routes/none/hold", json={"reason": "r"})).status == 404
    assert (await client.post("/api/v1/routes/orders/sell", json={"reason": "r"})).status == 404
    assert (await client.get("/api/v1/routes/orders/hold")).status == 405


async def test_the_history_is_in_the_contracts_form(client: Client, estate: Estate) -> None:
    estate.steering.lines = [LINE]
    answer = await client.get("/api/v1/history?route=orders")
    assert (await answer.json())["history"] == [
        {
            "at": "2026-01-02T03:04:05Z",
            "route": "orders",
            "kind": "revert",
            "from": "25%",
            "to": "0%",
            "by": "guard",
            "reason": "divergence",
            "evidence": "37 of 40",
            "patch": "phase: 0%",
        }
    ]
    assert (await (await client.get("/api/v1/history?route=users")).json())["history"] == []
    answer = await client.get("/api/v1/history?route=nosuch")
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    assert "named 'nosuch'; there are 'orders', 'users' (" in (await answer.json())["detail"]
    assert (await client.get("/api/v1/history?limit=0")).status == 400
    estate.steering.answer = UnavailableError("the disk is full")
    assert (await client.get("/api/v1/history")).status == 503


# Events


async def next_event(answer: Any) -> tuple[int, str, Any]:
    lines: list[str] = []
    while True:
        line = (await soon(answer.content.readline(), "an event")).decode().rstrip("\n")
        if line:
            lines.append(line)
        elif any(each.startswith("data:") for each in lines):
            found = dict(each.split(": ", 1) for each in lines)
            return int(found["id"]), found["event"], json.loads(found["data"])
        else:
            lines = []


async def test_events_come_as_they_happen(client: Client, estate: Estate) -> None:
    async with client.get("/api/v1/events") as answer:
        assert answer.content_type == "text/event-stream"
        await soon(answer.content.readline(), "its first line")
        estate.events.tell("history", LINE)
        number, kind, value = await next_event(answer)
        assert (number, kind, value["to"]) == (1, "history", "0%")


async def test_who_comes_back_gets_what_was_missed(client: Client, estate: Estate) -> None:
    for number in range(5):
        estate.events.tell("config", number)
    headers = {"Last-Event-ID": "3"}
    async with client.get("/api/v1/events", headers=headers) as answer:
        assert [(await next_event(answer))[2] for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("given", ["x", "-1", "9" * 40, "\u00b2"])
async def test_a_nonsensical_id_brings_nothing_old(
    client: Client, estate: Estate, given: str
) -> None:
    estate.events.tell("config", "old")
    async with client.get("/api/v1/events", headers={"Last-Event-ID": given}) as answer:
        await soon(answer.content.readline(), "its first line")
        estate.events.tell("config", "fresh")
        assert (await next_event(answer))[2] == "fresh"


async def test_a_listener_that_does_not_read_is_let_go() -> None:
    events = Events()
    slow, quick = events.listen(None), events.listen(None)
    assert slow is not None
    assert quick is not None
    for number in range(MAX_WAITING + 1):
        events.tell("config", number)
        quick.get_nowait()
    assert events.let_go == 1
    kept = [slow.get_nowait() for _ in range(slow.qsize())]
    assert kept[-1] is None
    assert len(kept) <= MAX_WAITING + 1
    events.tell("config", "more")
    assert quick.qsize() == 1


async def test_listeners_and_what_is_kept_are_bounded() -> None:
    events = Events()
    queues = [events.listen(None) for _ in range(MAX_LISTENERS)]
    assert events.listen(None) is None
    events.leave(queues[0])  # type: ignore[arg-type]  # all of these are queues
    for number in range(3 * KEPT):
        events.tell("config", number)
    late = events.listen(0)
    assert late is not None
    assert late.qsize() == KEPT


async def test_too_many_listeners_are_told_so(client: Client, estate: Estate) -> None:
    for _ in range(MAX_LISTENERS):
        estate.events.listen(None)
    assert (await client.get("/api/v1/events")).status == 503


async def test_a_listener_that_leaves_is_forgotten(client: Client, estate: Estate) -> None:
    async with client.get("/api/v1/events") as answer:
        await soon(answer.content.readline(), "its first line")
    async with asyncio.timeout(10):
        while len(estate.events._listeners) > 0:
            estate.events.tell("config", "are you there")
            await asyncio.sleep(0)
