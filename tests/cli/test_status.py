"""`banyan status`: the table, the choice of routes, and the command against a real admin API."""

import asyncio
import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from pytest_aiohttp.plugin import AiohttpServer
from rich.console import Console

from proxy.admin.app import make_app
from proxy.admin.view import ConfigError
from proxy.cli.adminclient import AdminError, admin_address
from proxy.cli.status import DEFAULT_TOP, command, routes_table, select
from proxy.core.messages import Counts
from proxy.core.model import UNMATCHED
from tests.admin.estate import Estate, a_route
from tests.admin.test_app import AT, full_route

DEADLINE_S = 20.0


def api(estate: Estate) -> dict[str, Any]:
    """What the admin API answers for the estate."""
    decoded: dict[str, Any] = json.loads(msgspec.json.encode({"routes": estate.routes()}))
    return decoded


def rendered(data: dict[str, Any], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(routes_table(data))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def busy_estate() -> Estate:
    estate = Estate(a_route("api-orders", "shadow-read"), full_route(), a_route(UNMATCHED, "0%"))
    estate.report(
        Counts(
            "api-orders",
            client_requests=12_340,
            eligible=1000,
            comparisons={"equal": 700, "divergent": 50},
            errors={"legacy": 1, "new": 23},
            latency={"legacy": {20: 90, 40: 10}, "new": {24: 90, 60: 10}},
        )
    )
    return estate


def test_a_row_says_what_a_route_does() -> None:
    text = rendered(api(busy_estate()), 80)
    [row] = [line for line in text.splitlines() if line.startswith("api-orders")]
    cells = row.split()
    assert cells[:6] == ["api-orders", "shadow-read", "1.2k", "1/23", "750/50", "75%"]
    assert re.fullmatch(r"3\.\d/\d+", cells[6])
    assert re.fullmatch(r"7\.\d/\d+(\.\d)?s", cells[7])


def test_a_route_that_is_not_where_it_should_be_says_why() -> None:
    text = rendered(api(busy_estate()), 100)
    for note in ("→ shadow-read", "pending dual-write", "reverted", "held", "missed: new"):
        assert note in text


def test_nothing_is_cut_off_at_80_columns() -> None:
    estate = Estate(a_route("a-very-long-name-" * 4, "dual-write", declared="new-only"))
    latency = {"legacy": {74: 100}, "new": {74: 100}}
    estate.report(
        Counts(
            estate.known[0].name,
            client_requests=99_000,
            eligible=99_000,
            comparisons={"equal": 99_000, "divergent": 88_000},
            errors={"legacy": 45_000, "new": 45_000},
            latency=latency,
        )
    )
    text = rendered(api(estate), 80)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    for figure in ("9.9k", "45k/45k", "187k/88k", "100%", "60s/60s"):
        assert figure in text
    assert "".join(line.split(" ")[0] for line in text.splitlines()).count("a-very-long-name-") == 4


def test_names_are_no_markup() -> None:
    assert "[red]x[/]" in rendered(api(Estate(a_route("[red]x[/]", "0%"))), 100)


def many(count: int) -> dict[str, Any]:
    estate = Estate(*(a_route(f"route-{number}", "0%") for number in range(count)))
    estate.report(*(Counts(f"route-{n}", client_requests=n) for n in range(count)))
    return api(estate)


def names(selected: dict[str, Any]) -> list[str]:
    return [route["name"] for route in selected["routes"]]


def test_the_busiest_are_shown_in_the_order_of_the_file() -> None:
    selected = select(many(10), (), 3)
    assert names(selected) == ["route-7", "route-8", "route-9"]
    assert selected["of"] == 10
    assert "less busy and not shown: 7" in rendered(selected, 80)
    assert "not shown" not in rendered(select(many(10), (), 0), 80)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (("route-3",), ["route-3"]),
        (("route-3", "route-1"), ["route-1", "route-3"]),
        (("*-2",), ["route-2"]),
        (("route-?",), ["route-0", "route-1", "route-2", "route-3"]),
    ],
)
def test_routes_are_chosen_by_name(patterns: tuple[str, ...], found: list[str]) -> None:
    assert names(select(many(4), patterns, 0)) == found


@pytest.mark.parametrize("name", [UNMATCHED, "[x]", "a*b"])
def test_a_name_with_special_characters_is_itself(name: str) -> None:
    data = api(Estate(a_route("x", "0%"), a_route("axb", "0%"), a_route(name, "0%")))
    assert names(select(data, (name,), 0)) == [name]


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(AdminError, match=r"no route named rout-1\. Did you mean route-1\?"):
        select(many(2), ("rout-1",), 0)


@pytest.mark.parametrize(
    ("admin", "address"),
    [
        ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
        ("127.0.0.1:9090", "http://127.0.0.1:9090"),
        ("http://[::1]:9090/", "http://[::1]:9090"),
        ("unix:/run/banyan.sock", "unix:/run/banyan.sock"),
    ],
)
def test_the_admin_api_can_be_named(admin: str, address: str) -> None:
    assert admin_address(admin, Path("no-such-file")) == address


@pytest.mark.parametrize("admin", ["", "localhost", "https://x:1", "http://a b:1", "http://u@h:1"])
def test_another_kind_of_address_is_refused(admin: str) -> None:
    with pytest.raises(click.BadParameter, match="neither"):
        admin_address(admin, Path("no-such-file"))


def test_an_admin_api_that_is_no_address_is_bad_usage() -> None:
    result = CliRunner().invoke(command, ["--admin", "foo"])
    assert result.exit_code == 2
    assert "foo is neither http://HOST:PORT nor unix:/PATH" in result.output


def config_file(directory: Path, listen: str) -> Path:
    path = directory / "routes.yaml"
    path.write_text(
        f"admin: {{listen: '{listen}'}}\n"
        "backends: {legacy: http://127.0.0.1:9001, new: http://127.0.0.1:9002}\n"
        "routes: {/a/*: legacy-only}\n"
    )
    return path


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9191", "http://127.0.0.1:9191"),
        ("[::1]:9191", "http://[::1]:9191"),
        ("unix:/run/banyan.sock", "unix:/run/banyan.sock"),
    ],
)
def test_the_address_is_that_of_the_configuration(
    tmp_path: Path, listen: str, address: str
) -> None:
    assert admin_address(None, config_file(tmp_path, listen)) == address


def test_a_port_that_the_system_chose_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="--admin URL says which"):
        admin_address(None, config_file(tmp_path, "127.0.0.1:0"))


def test_a_bad_configuration_is_said_in_one_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("admin: [\nroutes: {/a/*: no-such-phase}\n")
    result = CliRunner().invoke(command, ["--config", str(path)])
    assert result.exit_code == 1
    assert "does not say where the admin API is" in result.stderr
    assert str(path) in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
async def server(aiohttp_server: AiohttpServer) -> TestServer:
    estate = busy_estate()
    served: TestServer = await aiohttp_server(make_app(estate))
    return served


def address(server: TestServer) -> str:
    return f"http://127.0.0.1:{server.port}"


async def invoke(*arguments: str) -> Result:
    """The command in a thread, since it runs a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, command, list(arguments))


async def test_the_command_prints_the_table(server: TestServer) -> None:
    result = await invoke("--admin", address(server))
    assert result.exit_code == 0
    assert "api-orders" in result.stdout
    assert "1/23" in result.stdout


async def test_a_bad_edit_does_not_hide_what_is_in_force(
    aiohttp_server: AiohttpServer, tmp_path: Path
) -> None:
    estate = busy_estate()
    estate.configuration = msgspec.structs.replace(
        estate.configuration, last_error=ConfigError(AT, "error BAD_VALUE: no such phase")
    )
    served: TestServer = await aiohttp_server(make_app(estate))
    path = config_file(tmp_path, f"127.0.0.1:{served.port}")
    path.write_text(path.read_text().replace("legacy-only", "legacy_only"))
    result = await invoke("--config", str(path))
    assert result.exit_code == 0
    assert "api-orders" in result.stdout
    assert "legacy_only" in result.stderr
    assert "asking the admin API" in result.stderr
    assert "The last edit was refused, the table before it stays: error BAD_" in result.stderr


async def test_the_address_may_come_from_the_environment(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config_file(tmp_path, f"127.0.0.1:{server.port}")
    monkeypatch.setenv("BANYAN_CONFIG", str(path))
    result = await invoke("--route", "full")
    assert result.exit_code == 0
    assert "api-orders" not in result.stdout


async def test_json_is_what_the_api_answers(server: TestServer) -> None:
    result = await invoke("--admin", address(server), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == api(busy_estate())
    one = await invoke("--admin", address(server), "--json", "--route", "full")
    assert names(json.loads(one.stdout)) == ["full"]


async def test_json_is_not_cut_to_a_screenful(aiohttp_server: AiohttpServer) -> None:
    estate = Estate(*(a_route(f"r{n}", "0%") for n in range(DEFAULT_TOP * 3)))
    server = await aiohttp_server(make_app(estate))
    result = await invoke("--admin", address(server), "--json")
    assert len(json.loads(result.stdout)["routes"]) == DEFAULT_TOP * 3


async def test_a_unix_socket_is_asked_too(tmp_path: Path) -> None:
    runner = web.AppRunner(make_app(busy_estate(), listen_host=None))
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "admin.sock")).start()
        result = await invoke("--admin", f"unix:{tmp_path}/admin.sock")
        assert result.exit_code == 0
        assert "api-orders" in result.stdout
    finally:
        await runner.cleanup()


async def test_nothing_there_is_said_in_one_paragraph(server: TestServer, tmp_path: Path) -> None:
    gone = address(server)
    await server.close()
    for admin in (gone, f"unix:{tmp_path}/none.sock"):
        result = await invoke("--admin", admin)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert f"The admin API at {admin} cannot be reached" in result.stderr
        assert "Is banyan serve running" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_bad_usage_exits_2() -> None:
    assert CliRunner().invoke(command, ["--top", "many"]).exit_code == 2


def test_help_has_an_example() -> None:
    assert "banyan status --watch" in CliRunner().invoke(command, ["--help"]).stdout


class Watching:
    """The command as a process of its own, its output as it comes."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader) -> None:
        self.process = process
        self.output = output
        self.seen = ""

    async def until(self, text: str) -> None:
        """Reads on until the text appears in what has not been looked at yet."""
        fresh = ""
        async with asyncio.timeout(DEADLINE_S):
            while text not in fresh:
                piece = (await self.output.read(4096)).decode()
                assert piece, f"ended before {text!r}: {self.seen}"
                fresh += piece
                self.seen += piece

    async def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(DEADLINE_S):
            while await self.output.read(4096):
                pass
            return await self.process.wait()


async def watching(*arguments: str, terminal: bool) -> Watching:
    program = "from proxy.cli.status import command; command()"
    argv = [sys.executable, "-c", program, "--watch", "--interval", "0.2", *arguments]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    if not terminal:
        process = await asyncio.create_subprocess_exec(*argv, stdout=-1, stderr=-2, env=environ)
        assert process.stdout is not None
        return Watching(process, process.stdout)
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(*argv, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    output = asyncio.StreamReader()
    pipe = os.fdopen(ours, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: PtyProtocol(output), pipe)
    return Watching(process, output)


class PtyProtocol(asyncio.StreamReaderProtocol):
    """A pseudo-terminal ends with EIO, which is its end of file."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None)


@pytest.fixture
async def changing(aiohttp_server: AiohttpServer) -> tuple[Estate, TestServer]:
    estate = Estate(a_route("orders", "shadow-read"))
    return estate, await aiohttp_server(make_app(estate))


@pytest.mark.parametrize("terminal", [True, False])
async def test_watch_shows_a_change_and_ends_with_ctrl_c(
    changing: tuple[Estate, TestServer], terminal: bool
) -> None:
    estate, server = changing
    watch = await watching("--admin", address(server), terminal=terminal)
    await watch.until("shadow-read")
    estate.known = [a_route("orders", "25%")]
    await watch.until("25%")
    assert ("\x1b[1A" in watch.seen) == terminal
    assert await watch.interrupt() == 0
    assert "Traceback" not in watch.seen


async def test_watch_goes_on_while_the_controller_is_away(
    changing: tuple[Estate, TestServer],
) -> None:
    _, server = changing
    watch = await watching("--admin", address(server), terminal=False)
    await watch.until("shadow-read")
    await server.close()
    await watch.until("cannot be reached")
    assert "shadow-read" in watch.seen
    assert await watch.interrupt() == 0


async def test_watched_json_is_a_line_a_look(changing: tuple[Estate, TestServer]) -> None:
    _, server = changing
    watch = await watching("--admin", address(server), "--json", terminal=False)
    await watch.until("\n")
    await watch.until("\n")
    assert await watch.interrupt() == 0
    for line in watch.seen.splitlines()[:2]:
        assert names(json.loads(line)) == ["orders"]
