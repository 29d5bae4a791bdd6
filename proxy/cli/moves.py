"""`banyan revert|advance|hold|resume`: orders to the controller, carried out durably or refused."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from proxy.cli.adminclient import AdminClient, AdminError, admin_address
from proxy.cli.options import admin_option, config_option
from proxy.observe.plain import plain

Command = Callable[..., None]


def _shared(command: Command) -> Command:
    """The options of every order."""
    for option in (
        admin_option(),
        config_option(),
        click.option("--json", "as_json", is_flag=True, help="Print the route as the API's JSON."),
        click.option(
            "--reason",
            required=True,
            metavar="TEXT",
            help="Why: for those who read the history. No secrets.",
        ),
    ):
        command = option(command)
    return click.argument("route")(command)


_to = click.option("--to", metavar="PHASE", help="The phase, such as 0% or dual-write.")
_accept_loss = click.option(
    "--accept-loss",
    is_flag=True,
    help="Let a side answer although it has missed writes of the route.",
)
_force = click.option("--force", is_flag=True, help="Although the verdict is failing.")


@click.command(
    "revert",
    epilog="Example:\n\n  banyan revert users --reason 'wrong totals, OPS-112'\n",
)
@_shared
@_to
@_accept_loss
def revert(route: str, to: str | None, accept_loss: bool, **options: Any) -> None:
    """Take a route back, in force within a second, and latch it there.

    From 1% to dual-write it goes to 0% (legacy answers, new is kept in step), from shadow-read to
    legacy-only, from new-only to 0%; --to names another phase. It stays there until `banyan
    resume`, or until its phase is edited to one that is not further along. Exits 1 if refused.
    """
    _order("revert", route, {"to": to, "accept_loss": accept_loss}, **options)


@click.command(
    "advance", epilog="Example:\n\n  banyan advance users --reason 'approved in OPS-98'\n"
)
@_shared
@_to
@_accept_loss
@_force
def advance(route: str, to: str | None, accept_loss: bool, force: bool, **options: Any) -> None:
    """Move a route forward: to the next step of its ladder, or --to a phase.

    It is the approval of a step that waits for one. Refused while the route is latched, while its
    verdict is failing, or where a side would answer that has missed writes. Exits 1 if refused.
    """
    _order("advance", route, {"to": to, "accept_loss": accept_loss, "force": force}, **options)


@click.command("hold", epilog="Example:\n\n  banyan hold users --reason 'freeze until Monday'\n")
@_shared
def hold(route: str, **options: Any) -> None:
    """Let a route not advance by itself, until `banyan resume`. It still reverts."""
    _order("hold", route, {}, **options)


@click.command("resume", epilog="Example:\n\n  banyan resume users --reason 'fixed in 2.4.1'\n")
@_shared
@_accept_loss
@_force
def resume(route: str, accept_loss: bool, force: bool, **options: Any) -> None:
    """Lift the latch of a reverted route, or a hold.

    A route with a ladder climbs on from where it is, after its cool-down; any other returns to
    the phase in the file. Refused while the verdict is failing. Exits 1 if refused.
    """
    _order("resume", route, {"accept_loss": accept_loss, "force": force}, **options)


def _order(
    action: str,
    route: str,
    more: Mapping[str, Any],
    reason: str,
    as_json: bool,
    config_path: Path,
    admin: str | None,
) -> None:
    body = {"reason": reason, **{name: value for name, value in more.items() if value}}
    try:
        client = AdminClient(admin_address(admin, config_path))
        path = f"/api/v1/routes/{quote(route, safe='')}/{action}"
        done = asyncio.run(client.post(path, body))
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(done))
        return
    click.echo(plain(_said(done)))


def _said(route: Mapping[str, Any]) -> str:
    """One line on the route as it is now."""
    said = f"{route['name']}: {route['effective_phase']}"
    if route["effective_phase"] != route["declared_phase"]:
        said += f" (the file says {route['declared_phase']})"
    if route["revert"]:
        said += f", latched since it was reverted from {route['revert']['from']}"
    if route["held"]:
        said += ", on hold"
    if route["pending"]:
        said += f"; {route['pending']['reason']}"
    return said
