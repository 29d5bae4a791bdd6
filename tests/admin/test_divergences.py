"""The calls about divergences over real sockets and a real store."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import ClientPayloadError
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from proxy.admin.app import make_app
from proxy.admin.divergences import WholeDivergence
from proxy.admin.page import MAX_SIGNATURES
from proxy.admin.query import MAX_LIMIT, QueryError, since
from proxy.core.divergences import RecordedAnswer, Unlike, signature
from proxy.core.model import UNMATCHED
from proxy.store.divergences import StoreBounds
from proxy.store.divergences_sqlite import SqliteDivergences
from tests.admin.estate import Estate, a_route
from tests.admin.test_app import Client, schema_of, validate
from tests.store.divergences import NOW, difference, divergence

HOSTILE = "</script><script>alert(1)</script>\"'&\u202e\u2028\x1b[31m"
PRICE = signature("orders", "$.price", "value")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteDivergences]:
    opened = await SqliteDivergences.open(
        tmp_path / "divergences.db", StoreBounds(), random.Random(1).random, lambda: NOW
    )
    yield opened
    await opened.close()


@pytest.fixture
def estate(store: SqliteDivergences) -> Estate:
    made = Estate(a_route("orders", "shadow-read"), a_route(UNMATCHED, "legacy-only"))
    made.keeper.store = store
    return made


@pytest.fixture
async def client(estate: Estate, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_app(estate))


async def asked(client: Client, path: str) -> Any:
    answer = await client.get(URL(path, encoded=True))
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def refused(client: Client, path: str, status: int = 400) -> str:
    answer = await client.get(URL(path, encoded=True))
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    return str((await answer.json(content_type=None))["detail"])


async def test_a_divergence_is_in_the_contracts_form(
    client: Client, store: SqliteDivergences
) -> None:
    unlike = Unlike("$.pin", "value", lost=False, rules="6d")
    await store.add([msgspec.structs.replace(divergence(1), unlike=(unlike,))])
    page = await asked(client, "/api/v1/divergences")
    assert page["next"] is None
    [found] = page["divergences"]
    assert found == {
        "id": "d1",
        "at": "2023-11-14T22:13:21Z",
        "route": "orders",
        "method": "GET",
        "target": "/api/orders/1",
        "phase": "shadow-read",
        "trace_id": f"{1:032x}",
        "result": "divergent",
        "legacy": {"status": 200, "ms": 12.5, "failure": ""},
        "new": {"status": 0, "ms": 30.0, "failure": "timeout"},
        "differences": [
            {"path": "$.price", "kind": "value", "legacy": "1", "new": "2", "noise": False}
        ],
        "comparator": "json",
        "truncated": False,
        "detail": "",
    }
    whole = await asked(client, "/api/v1/divergences/d1")
    assert whole.pop("legacy_answer")["body"] == '{"price": 1}'
    assert whole.pop("new_answer")["headers"] == [["content-type", "application/json"]]
    assert whole.pop("unlike") == [{"path": "$.pin", "kind": "value", "lost": False, "rules": "6d"}]
    assert whole == found


async def test_pages_go_on_at_their_cursor(client: Client, store: SqliteDivergences) -> None:
    await store.add([divergence(number) for number in range(10)])
    first = await asked(client, "/api/v1/divergences?limit=6")
    second = await asked(client, f"/api/v1/divergences?limit=6&cursor={quote(first['next'])}")
    ids = [each["id"] for each in first["divergences"] + second["divergences"]]
    assert ids == [f"d{number}" for number in range(9, -1, -1)]
    assert second["next"] is None


async def test_pages_of_a_route_a_signature_and_a_time(
    client: Client, store: SqliteDivergences
) -> None:
    await store.add([divergence(1), divergence(2, difference("$.a b&c", "type"))])
    await store.add([divergence(3, route=UNMATCHED)])

    async def ids(query: str) -> list[str]:
        found = await asked(client, f"/api/v1/divergences?{query}")
        return [each["id"] for each in found["divergences"]]

    assert await ids(f"route={quote(UNMATCHED)}") == ["d3"]
    assert await ids(f"signature={quote(PRICE)}") == ["d1"]
    assert await ids(f"signature={quote(signature('orders', '$.a b&c', 'type'))}") == ["d2"]
    moment = datetime.fromtimestamp(NOW + 2, UTC).isoformat()
    assert await ids(f"since={quote(moment)}") == ["d3", "d2"]
    assert await ids(f"since={moment}") == ["d3", "d2"]  # its + read as a space
    assert await ids("since=2h") == []


async def test_signatures_have_what_is_known_of_their_noise(
    client: Client, store: SqliteDivergences
) -> None:
    await store.add([divergence(1), divergence(2, result="noise")])
    await store.add([divergence(3, difference("$.items[4].id", "missing"))])
    price, items = (await asked(client, "/api/v1/signatures"))["signatures"]
    assert price == {
        "signature": PRICE,
        "route": "orders",
        "path": "$.price",
        "kind": "value",
        "count": 1,
        "noise": {"share": 0.125, "samples": 340, "count": 1},
        "first_at": "2023-11-14T22:13:21Z",
        "last_at": "2023-11-14T22:13:22Z",
        "sample_ids": ["d2", "d1"],
    }
    assert (items["path"], items["noise"]) == ("$.items[*].id", None)
    assert len((await asked(client, "/api/v1/signatures?limit=1"))["signatures"]) == 1
    assert (await asked(client, f"/api/v1/signatures?route={UNMATCHED}"))["signatures"] == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("rout=orders", "no parameter 'rout'; did you mean 'route'?"),
        ("xyz=1", "there are route, signature, since, limit, cursor"),
        ("limit=0", f"limit is a whole number from 1 to {MAX_LIMIT}, not '0'"),
        (f"limit={MAX_LIMIT + 1}", "limit is a whole number"),
        ("limit=-1", "limit is a whole number"),
        ("limit=1e3", "limit is a whole number"),
        ("limit=%D9%A3", "limit is a whole number"),
        ("limit=", "limit is a whole number"),
        ("limit=1&limit=2", "'limit' is given more than once"),
        ("cursor=x", "cursor is what the `next` of a page says"),
        ("cursor=", "cursor is"),
        ("since=yesterday", "since is a moment like 2026-01-31T12:00:00Z"),
        ("since=", "since is a moment"),
        ("since=2", "since is a moment"),
        ("since=-2h", "since is a moment"),
        ("since=99999-01-01", "since is a moment"),
    ],
)
async def test_a_bad_parameter_is_a_problem(client: Client, query: str, says: str) -> None:
    assert says in await refused(client, f"/api/v1/divergences?{query}")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/divergences/d1?limit=1",
        "/api/v1/signatures?since=2h",
        "/api/v1/divergences/export?x",
    ],
)
async def test_a_parameter_that_a_call_does_not_have_is_a_problem(
    client: Client, path: str
) -> None:
    assert "There is no parameter" in await refused(client, path)


@pytest.mark.parametrize("call", ["divergences", "divergences/export", "signatures"])
async def test_an_unknown_route_is_a_problem(client: Client, call: str) -> None:
    said = await refused(client, f"/api/v1/{call}?route=nothing", 404)
    assert "no route named 'nothing'" in said


async def test_an_unknown_divergence_is_a_problem(client: Client) -> None:
    for id in ("d1", "%2e%2e%2f", "%00", quote(HOSTILE, safe="")):
        assert "There is no divergence" in await refused(client, f"/api/v1/divergences/{id}", 404)


@pytest.mark.parametrize(
    "path", ["divergences", "divergences/d1", "divergences/export", "signatures"]
)
async def test_a_store_that_is_out_of_reach_is_a_problem(
    client: Client, estate: Estate, store: SqliteDivergences, path: str
) -> None:
    await store.close()
    assert "cannot be had now" in await refused(client, f"/api/v1/{path}", 503)
    estate.keeper.store = None
    assert "not open yet" in await refused(client, f"/api/v1/{path}", 503)
    page = await client.get("/")
    assert page.status == 200
    assert "The divergences cannot be had now" in await page.text()


async def test_no_table_yet_is_said(client: Client, estate: Estate) -> None:
    estate.known.clear()
    assert "no table of routes yet" in await refused(client, "/api/v1/signatures?route=orders", 503)
    assert await asked(client, "/api/v1/signatures") == {"signatures": []}


async def test_an_export_has_a_line_for_each(client: Client, store: SqliteDivergences) -> None:
    await store.add([divergence(number) for number in range(100)])
    await store.add([divergence(200, route=UNMATCHED)])
    answer = await client.get("/api/v1/divergences/export")
    assert answer.content_type == "application/x-ndjson"
    lines = (await answer.read()).splitlines()
    found = [msgspec.json.decode(line, type=WholeDivergence) for line in lines]
    assert [each.id for each in found] == [*(f"d{number}" for number in range(100)), "d200"]
    assert found[0].new_answer == divergence(0).new_answer
    only = await client.get(f"/api/v1/divergences/export?route={UNMATCHED}")
    assert len((await only.read()).splitlines()) == 1
    head = await client.head("/api/v1/divergences/export")
    assert (head.status, await head.read()) == (200, b"")


async def test_an_empty_export_is_empty(client: Client) -> None:
    answer = await client.get("/api/v1/divergences/export")
    assert (answer.status, await answer.read()) == (200, b"")


def large(number: int) -> RecordedAnswer:
    """An answer that compresses badly."""
    noise = random.Random(number)
    return RecordedAnswer(200, (), "".join(chr(noise.randrange(33, 127)) for _ in range(100_000)))


async def test_an_export_waits_for_its_client_and_one_cut_off_does_not_look_whole(
    client: Client, store: SqliteDivergences
) -> None:
    for number in range(150):
        one = msgspec.structs.replace(divergence(number), legacy_answer=large(number))
        await store.add([one])
    answer = await client.get("/api/v1/divergences/export")
    line = await answer.content.readuntil(b"\n")
    assert msgspec.json.decode(line, type=WholeDivergence).id == "d0"
    # What the client has not taken is neither made nor held: the store can close meanwhile.
    await store.close()
    async with asyncio.timeout(20):
        with pytest.raises((ClientPayloadError, ConnectionResetError)):
            await answer.read()


async def test_hostile_content_stays_content(client: Client, store: SqliteDivergences) -> None:
    await store.add(
        [
            msgspec.structs.replace(
                divergence(1, difference(f"$.{HOSTILE}", "value")),
                id=HOSTILE,
                target=f"/{HOSTILE}",
                legacy_answer=RecordedAnswer(200, (("x", HOSTILE),), HOSTILE),
            )
        ]
    )
    [found] = (await asked(client, "/api/v1/divergences"))["divergences"]
    assert found["target"] == f"/{HOSTILE}"
    one = await asked(client, f"/api/v1/divergences/{quote(HOSTILE, safe='')}")
    assert one["legacy_answer"]["body"] == HOSTILE
    page = await (await client.get("/")).text()
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert f'href="/api/v1/divergences/{quote(HOSTILE, safe="")}"' in page


async def test_the_page_shows_what_differs_most(client: Client, store: SqliteDivergences) -> None:
    await store.add([divergence(number) for number in range(30)])
    await store.add([divergence(50 + n, difference(f"$.f{n}x", "type")) for n in range(20)])
    page = await (await client.get("/")).text()
    assert page.count('<td class="path">') == MAX_SIGNATURES
    for text in (
        "<code>$.price</code>",
        "12% of 340",
        "2023-11-14 22:13:49",
        '<a href="/api/v1/divergences/d29">JSON</a>',
    ):
        assert text in page


async def test_the_page_says_that_nothing_differs(client: Client) -> None:
    assert "Nothing has differed" in await (await client.get("/")).text()


async def test_the_description_holds_for_full_answers(
    client: Client, store: SqliteDivergences
) -> None:
    await store.add([divergence(1), msgspec.structs.replace(divergence(2), new_answer=None)])
    document = await (await client.get("/api/openapi.json")).json()
    for path, call in (
        ("/api/v1/divergences", ""),
        ("/api/v1/divergences/{id}", "d1"),
        ("/api/v1/divergences/{id}", "d2"),
        ("/api/v1/signatures", ""),
    ):
        answer = await client.get(path.replace("{id}", call))
        schema = schema_of(document["paths"][path]["get"]["responses"], "200", answer)
        validate(await answer.json(), schema, document)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 10.0),
        ("1.5m", 10.0),
        ("0d", 100.0),
        ("250ms", 99.75),
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:10 01:00", 10.0),
        ("1970-01-01 00:00:10", 10.0),
        ("1970-01-01", 0.0),
    ],
)
def test_since_is_a_moment_or_a_time_ago(text: str, seconds: float) -> None:
    assert since(100.0)(text) == seconds


@pytest.mark.parametrize("text", ["h", "2 h", "2hours", "1h30m", "now", "\u0661h", "nan", "1e9s"])
def test_another_since_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="since is a moment"):
        since(100.0)(text)
