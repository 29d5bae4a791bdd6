"""`banyan divergences` against a real admin API over a real store."""

import asyncio
import json
import random
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from pytest_aiohttp.plugin import AiohttpServer

from proxy.admin.app import make_app
from proxy.admin.divergences import WholeDivergence
from proxy.admin.hosts import ADMIN_HEADER
from proxy.cli.divergences import SHOWN, command
from proxy.core.divergences import Divergence, RecordedAnswer, SideRecord, signature
from proxy.store.divergences import StoreBounds
from proxy.store.divergences_sqlite import SqliteDivergences
from tests.admin.estate import Estate, a_route
from tests.store.divergences import NOW, difference, divergence

HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red][bold]\u202e\u2066\r\nid: forged\x9b1m"
STEERING = {"Cc", "Cf", "Zl", "Zp", "Cs"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteDivergences]:
    opened = await SqliteDivergences.open(
        tmp_path / "divergences.db", StoreBounds(), random.Random(1).random, lambda: NOW
    )
    yield opened
    await opened.close()


@pytest.fixture
async def server(store: SqliteDivergences, aiohttp_server: AiohttpServer) -> TestServer:
    estate = Estate(a_route("orders", "shadow-read"), a_route("users", "25%"))
    estate.keeper.store = store
    served: TestServer = await aiohttp_server(make_app(estate))
    return served


async def invoke(server: TestServer, *arguments: str, width: int = 100) -> Result:
    """The command in a thread, since it runs a loop of its own."""
    runner = CliRunner(env={"COLUMNS": str(width), "TZ": "UTC"})
    admin = f"http://127.0.0.1:{server.port}"
    return await asyncio.to_thread(runner.invoke, command, [*arguments, "--admin", admin])


async def test_the_newest_are_listed(server: TestServer, store: SqliteDivergences) -> None:
    paths = [difference(f"$.f{number}x", "missing") for number in range(5)]
    await store.add([divergence(1), divergence(2, *paths), divergence(3, result="noise")])
    result = await invoke(server)
    assert result.exit_code == 0
    text = result.stdout
    assert text.index("d3") < text.index("d2") < text.index("d1")
    for shown in (
        *("2023-11-14", "22:13:21", "GET /api/orders/1", "200/timeout", "$.price value"),
        *("$.f2x missing", "and 2 more", "orders, noise"),
    ):
        assert shown in text
    assert "$.f3x" not in text


async def test_what_is_asked_for_is_shown(server: TestServer, store: SqliteDivergences) -> None:
    await store.add([divergence(1), divergence(2, difference("$.a b&c", "type"))])
    await store.add([divergence(3, route="users")])
    wanted = signature("orders", "$.a b&c", "type")
    assert "GET /api/users/3" in (await invoke(server, "--route", "users")).stdout
    assert "/orders/" not in (await invoke(server, "--route", "users")).stdout
    by_signature = (await invoke(server, "--signature", wanted)).stdout
    assert "/orders/2" in by_signature
    assert "/orders/1" not in by_signature
    assert "Nothing has differed" in (await invoke(server, "--since", "2h")).stdout
    since = (await invoke(server, "--since", "2023-11-14T22:13:23+00:00")).stdout
    assert "/users/3" in since
    assert "/orders/" not in since


async def test_more_than_a_page_is_fetched(server: TestServer, store: SqliteDivergences) -> None:
    paths = [difference(f"$.f{number}x") for number in range(10)]
    await store.add([divergence(n, paths[n % 10]) for n in range(1200)])
    result = await invoke(server, "--json", "--limit", "1100")
    found = json.loads(result.stdout)
    assert [each["id"] for each in found["divergences"]] == [f"d{n}" for n in range(1199, 99, -1)]
    assert found["next"]
    listed = await invoke(server)
    assert listed.stdout.count("GET") == SHOWN
    assert f"The newest {SHOWN}; --limit N shows more" in listed.stdout


async def test_signatures_are_grouped(server: TestServer, store: SqliteDivergences) -> None:
    await store.add([divergence(number) for number in range(30)])
    await store.add([divergence(40, result="noise")])
    await store.add([divergence(50 + n, difference(f"$.f{n}x", "type")) for n in range(30)])
    result = await invoke(server, "--group", "--limit", "3")
    assert result.exit_code == 0
    first = result.stdout.splitlines()[3].split()
    assert first == [
        "30",
        "orders",
        "$.price",
        "value",
        "12%",
        "of",
        "340",
        "2023-11-14",
        *first[8:],
    ]
    for shown in ("explains 1", "22:13:20", "22:14:00", "d40", "The first 3 of 31"):
        assert shown in result.stdout
    data = json.loads((await invoke(server, "--group", "--json")).stdout)
    assert data["signatures"][0]["noise"] == {"share": 0.125, "samples": 340, "count": 1}
    assert len(data["signatures"]) == 31


LEGACY = {"id": 7, "items": [{"sku": "a", "price": 10}], "at": "10:00", "k": list(range(40))}
NEW = {
    "id": 7,
    "items": [{"sku": "a", "price": 12.0}, {"sku": "b"}],
    "at": "10:01",
    "k": LEGACY["k"],
}


def a_pair() -> Divergence:
    return msgspec.structs.replace(
        divergence(
            2,
            difference("$.items[0].price"),
            difference("$.items[1]", "added"),
            difference("$.at", noise=True),
        ),
        legacy_answer=RecordedAnswer(200, (), json.dumps(LEGACY)),
        new_answer=RecordedAnswer(200, (), json.dumps(NEW)),
    )


async def test_one_is_shown_side_by_side(server: TestServer, store: SqliteDivergences) -> None:
    await store.add([a_pair()])
    result = await invoke(server, "d2")
    assert result.exit_code == 0
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for row in (
        "GET /api/orders/2",
        "route orders, shadow-read",
        "status 200 200",
        "ms 12 8.0",
        "trace 00000000000000000000000000000002",
        "| $.items[0].price value 1 2",
        "~ $.at value (noise) 1 2",
        '"price": 10 | "price": 12.0',
        '> "sku": "b"',
        '"at": "10:00", ~ "at": "10:01",',
    ):
        assert row in rows, result.stdout
    assert any("equal lines" in row for row in rows)
    assert len(rows) < 50


@pytest.mark.parametrize("width", [40, 60, 80, 200])
async def test_it_is_readable_at_every_width(
    server: TestServer, store: SqliteDivergences, width: int
) -> None:
    await store.add([a_pair()])
    for arguments in ((), ("--group",), ("d2",)):
        result = await invoke(server, *arguments, width=width)
        assert result.exit_code == 0
        assert max(len(line.rstrip()) for line in result.stdout.splitlines()[3:]) <= max(width, 60)
        assert "…" not in result.stdout
    if width < 70:
        shown = (await invoke(server, "d2", width=width)).stdout
        assert '-       "price": 10' in shown
        assert '+       "price": 12.0' in shown


async def test_a_pipe_has_no_colours_and_a_terminal_has(
    server: TestServer, store: SqliteDivergences
) -> None:
    await store.add([a_pair()])
    assert "\x1b" not in (await invoke(server, "d2")).stdout
    runner = CliRunner(env={"COLUMNS": "100", "FORCE_COLOR": "1", "TERM": "xterm"})
    arguments = ["d2", "--admin", f"http://127.0.0.1:{server.port}"]
    result = await asyncio.to_thread(runner.invoke, command, arguments, color=True)
    assert '\x1b[31m      "price": 10' in result.stdout
    assert '\x1b[32m      "price": 12.0' in result.stdout
    assert '\x1b[33m  "at": "10:01",' in result.stdout


@pytest.mark.parametrize("json_body", [True, False])
async def test_hostile_content_steers_nothing(
    server: TestServer, store: SqliteDivergences, json_body: bool
) -> None:
    body = json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False) if json_body else HOSTILE
    await store.add(
        [
            msgspec.structs.replace(
                divergence(1, difference(f"$.{HOSTILE}", HOSTILE)),
                method=HOSTILE,
                target=f"/{HOSTILE}",
                phase=HOSTILE,
                trace_id=HOSTILE,
                detail=HOSTILE,
                comparator=HOSTILE,
                new=SideRecord(0, 1.0, HOSTILE),
                legacy_answer=RecordedAnswer(200, (), body),
                new_answer=RecordedAnswer(200, (), body + "x"),
            )
        ]
    )
    for arguments in ((), ("--group",), ("d1",), ("--json",), ("d1", "--json")):
        result = await invoke(server, *arguments, width=300)
        assert result.exit_code == 0, arguments
        kinds = {unicodedata.category(c) for c in result.stdout.replace("\n", "")}
        assert not kinds & STEERING, arguments
        assert "id: forged" not in [line.strip() for line in result.stdout.splitlines()]
        assert "[red]x[/red]" in result.stdout


async def test_a_pair_without_bodies_says_so(server: TestServer, store: SqliteDivergences) -> None:
    await store.add([divergence(1, answers=False)])
    assert "The bodies were not recorded" in (await invoke(server, "d1")).stdout


async def test_the_error_of_new_is_shown(server: TestServer, store: SqliteDivergences) -> None:
    error = msgspec.structs.replace(
        divergence(2, difference("status", "failure")),
        new=SideRecord(500, 8.0),
        legacy_answer=None,
        new_answer=RecordedAnswer(500, (), '{"error": "no such table"}'),
    )
    await store.add([error])
    rows = [" ".join(line.split()) for line in (await invoke(server, "d2")).stdout.splitlines()]
    assert "status 200 500" in rows
    assert "The body of legacy was not recorded." in rows
    assert '> "error": "no such table"' in rows


async def test_very_long_and_very_deep_bodies_are_bearable(
    server: TestServer, store: SqliteDivergences
) -> None:
    deep = "[" * 20_000 + "]" * 20_000
    long = json.dumps(list(range(5000)))
    for number, body in enumerate((deep, long)):
        answer = RecordedAnswer(200, (), body)
        other = RecordedAnswer(200, (), body[:-1])
        one = msgspec.structs.replace(divergence(number), legacy_answer=answer, new_answer=other)
        await store.add([one])
    assert (await invoke(server, "d0")).exit_code == 0
    assert "too long to be shown" in (await invoke(server, "d1")).stdout


async def test_all_pairs_are_exported(
    server: TestServer, store: SqliteDivergences, tmp_path: Path
) -> None:
    await store.add([divergence(number) for number in range(50)])
    await store.add([divergence(100, route="users")])
    target = tmp_path / "pairs.ndjson"
    result = await invoke(server, "--export", str(target))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "51 pairs written to" in result.stderr
    found = [msgspec.json.decode(line, type=WholeDivergence) for line in read_lines(target)]
    assert [each.id for each in found] == [*(f"d{number}" for number in range(50)), "d100"]
    assert mode(target) == 0o600
    piped = await invoke(server, "--export", "-", "--route", "users")
    assert [json.loads(line)["id"] for line in piped.stdout.splitlines()] == ["d100"]


def read_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_an_export_that_breaks_off_leaves_no_file(
    aiohttp_server: AiohttpServer, tmp_path: Path
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", ADMIN_HEADER: "v1"}
        )
        await response.prepare(request)
        await response.write(b'{"id": "d1"}\n{"id": ')
        assert request.transport is not None
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/api/v1/divergences/export", cut)
    target = tmp_path / "pairs.ndjson"
    result = await invoke(await aiohttp_server(app), "--export", str(target))
    assert result.exit_code == 1
    assert "broke off" in result.stderr
    assert names_in(tmp_path) == []


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_place_that_cannot_be_written_is_said(
    server: TestServer, store: SqliteDivergences, tmp_path: Path
) -> None:
    await store.add([divergence(1)])
    result = await invoke(server, "--export", str(tmp_path / "none" / "pairs.ndjson"))
    assert result.exit_code == 1
    assert "pairs.ndjson cannot be written: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("d1", "--group"), 2, "ID does not go together with --group"),
        (("--group", "--since", "2h"), 2, "--group does not go together with --since"),
        (("--export", "x", "--json"), 2, "--export does not go together with --json"),
        (("--limit", "0"), 2, "--limit"),
        (("--route", "nothing"), 1, "no route named 'nothing'"),
        (("--since", "yesterday"), 1, "since is a moment"),
        (("none",), 1, "There is no divergence 'none'"),
        (("../routes",), 1, "There is no"),
    ],
)
async def test_what_cannot_be_is_said_in_a_paragraph(
    server: TestServer, arguments: tuple[str, ...], code: int, says: str
) -> None:
    result = await invoke(server, *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.output


async def test_nothing_there_is_said(server: TestServer, store: SqliteDivergences) -> None:
    assert (await invoke(server)).stdout == "Nothing has differed that is still kept.\n"
    assert "Nothing has differed" in (await invoke(server, "--group")).stdout
    assert json.loads((await invoke(server, "--json")).stdout) == {"divergences": [], "next": None}
    await store.close()
    result = await invoke(server)
    assert result.exit_code == 1
    assert "The admin API cannot say yet: The divergences cannot be had now" in result.stderr
    runner = CliRunner()
    admin = f"http://127.0.0.1:{server.port}"
    await server.close()
    gone = await asyncio.to_thread(runner.invoke, command, ["--admin", admin])
    assert gone.exit_code == 1
    assert "cannot be reached" in gone.stderr
