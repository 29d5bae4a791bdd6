"""`banyan revert|advance|hold|resume|history` against a real admin API."""

import asyncio
import json
from datetime import UTC, datetime

import click
import pytest
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from pytest_aiohttp.plugin import AiohttpServer

from proxy.admin.app import make_app
from proxy.admin.divergences import UnavailableError
from proxy.admin.steering import Asked, HistoryLine, RefusedError, WrongOrderError
from proxy.admin.view import Pending, Revert
from proxy.cli import history, moves
from proxy.cli.main import commands
from tests.admin.estate import Estate, a_route

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def estate() -> Estate:
    return Estate(a_route("orders", "0%", "25%"), a_route("a/b {c}", "25%"))


@pytest.fixture
async def admin(estate: Estate, aiohttp_server: AiohttpServer) -> str:
    server: TestServer = await aiohttp_server(make_app(estate))
    return f"http://127.0.0.1:{server.port}"


async def invoke(command: click.Command, *arguments: str) -> Result:
    """The command in a thread, since it runs a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, command, list(arguments))


async def test_each_order_is_sent_with_its_reason(estate: Estate, admin: str) -> None:
    shared = ("orders", "--reason", "OPS-1", "--admin", admin)
    for command, more in (
        (moves.revert, ("--to", "0%", "--accept-loss")),
        (moves.advance, ("--to", "50%", "--force")),
        (moves.hold, ()),
        (moves.resume, ("--force",)),
    ):
        result = await invoke(command, *shared, *more)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("orders: 0% (the file says 25%)")
    assert estate.steering.orders == [
        ("orders", "revert", Asked("OPS-1", "0%", accept_loss=True)),
        ("orders", "advance", Asked("OPS-1", "50%", force=True)),
        ("orders", "hold", Asked("OPS-1")),
        ("orders", "resume", Asked("OPS-1", force=True)),
    ]


async def test_a_name_may_hold_anything(estate: Estate, admin: str) -> None:
    result = await invoke(moves.hold, "a/b {c}", "--reason", "r", "--admin", admin)
    assert result.exit_code == 0, result.output
    assert estate.steering.orders[0][0] == "a/b {c}"


async def test_what_a_route_waits_for_is_said(estate: Estate, admin: str) -> None:
    from msgspec.structs import replace

    estate.known[0] = replace(
        estate.known[0],
        held=True,
        revert=Revert(AT, "25%", "0%", "divergence", "37 of 40"),
        pending=Pending("0%", AT, "write authority moves to legacy"),
    )
    result = await invoke(moves.hold, "orders", "--reason", "r", "--admin", admin)
    assert "latched since it was reverted from 25%, on hold; write authority" in result.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RefusedError("the verdict is failing"), "Refused: The verdict is failing."),
        (WrongOrderError("`to`: 'x' is not a phase"), "`to`: 'x' is not a phase."),
        (UnavailableError("the disk is full"), "not known: the disk is full."),
    ],
)
async def test_a_refusal_is_one_paragraph_and_exit_1(
    estate: Estate, admin: str, error: RefusedError, said: str
) -> None:
    estate.steering.answer = error
    result = await invoke(moves.resume, "orders", "--reason", "r", "--admin", admin)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.output


async def test_an_unknown_route_is_said(admin: str) -> None:
    result = await invoke(moves.hold, "oders", "--reason", "r", "--admin", admin)
    assert result.exit_code == 1
    assert "oders" in result.stderr


@pytest.mark.parametrize("name", ["revert", "advance", "hold", "resume"])
def test_without_a_reason_it_is_bad_usage(name: str) -> None:
    result = CliRunner().invoke(commands, [name, "orders"])
    assert result.exit_code == 2
    assert "--reason" in result.stderr


@pytest.mark.parametrize("name", ["revert", "advance", "hold", "resume", "history"])
def test_each_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(commands, [name, "--help"])
    assert result.exit_code == 0
    assert f"banyan {name}" in result.stdout


async def test_the_route_as_json(admin: str) -> None:
    result = await invoke(moves.hold, "orders", "--reason", "r", "--admin", admin, "--json")
    assert json.loads(result.stdout)["name"] == "orders"


def line(kind: str, reason: str = "divergence") -> HistoryLine:
    return HistoryLine(AT, "orders", kind, "25%", "0%", "guard", reason, "37 of 40")


async def test_the_history_is_a_table(estate: Estate, admin: str) -> None:
    estate.steering.lines = [line("revert"), line("hold", "a \x1b[31mred\x1b[0m reason")]
    result = await invoke(history.command, "--admin", admin)
    assert result.exit_code == 0, result.output
    for text in ("revert", "25% → 0%", "guard", "divergence: 37 of 40", "orders"):
        assert text in result.stdout
    assert "\x1b[31m" not in result.stdout


async def test_the_history_of_a_route_that_never_was_is_an_error(
    estate: Estate, admin: str
) -> None:
    result = await invoke(history.command, "--admin", admin, "--route", "odrers")
    assert result.exit_code == 1
    assert "no route named 'odrers'; there are 'orders', 'a/b {c}'" in result.stderr
    # One that left the file is shown, as long as there is something to show.
    estate.steering.lines = [line("revert")]
    estate.known = [route for route in estate.known if route.name != "orders"]
    result = await invoke(history.command, "--admin", admin, "--route", "orders")
    assert result.exit_code == 0, result.output
    assert "25% → 0%" in result.stdout


async def test_the_history_as_json_and_empty(estate: Estate, admin: str) -> None:
    nothing = await invoke(history.command, "--admin", admin, "--route", "orders")
    assert nothing.stdout == "Nothing was moved yet of orders.\n"
    estate.steering.lines = [line("revert")]
    result = await invoke(history.command, "--admin", admin, "--json")
    assert json.loads(result.stdout)["history"][0]["to"] == "0%"
