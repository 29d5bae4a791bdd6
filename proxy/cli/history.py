"""`banyan history`: how routes were moved, by whom and why, from the admin API."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from proxy.cli import screen
from proxy.cli.adminclient import AdminClient, AdminError, admin_address, query
from proxy.cli.options import admin_option, config_option
from proxy.observe.plain import plain

COLOURS = {"revert": "bold red", "refused": "bold white on red", "advance": "green"}


@click.command("history", epilog="Example:\n\n  banyan history --route users --limit 20\n")
@click.option("--route", metavar="NAME", help="Only of this route.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
@config_option()
@admin_option()
def command(
    route: str | None, limit: int, as_json: bool, config_path: Path, admin: str | None
) -> None:
    """Show how routes were moved, the newest first: edits, reverts, advances, holds, resumes.

    A route that left the file is shown too. Exits 1 if there is neither such a route nor anything
    to show of it, or the admin API cannot be reached.
    """
    try:
        client = AdminClient(admin_address(admin, config_path))
        found = asyncio.run(client.get(f"/api/v1/history{query(route=route, limit=limit)}"))
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found))
    elif not found["history"]:
        click.echo("Nothing was moved yet" + (f" of {plain(route)}." if route else "."))
    else:
        screen.console().print(history_table(found["history"]))


def history_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """The table of the lines in an answer of `GET /api/v1/history`."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("When", "Route", "What", "From → to", "By", "Why"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        when = datetime.fromisoformat(line["at"]).astimezone()
        moved = line["from"] if line["from"] == line["to"] else f"{line['from']} → {line['to']}"
        why = line["reason"] + (f": {line['evidence']}" if line["evidence"] else "")
        table.add_row(
            f"{when:%Y-%m-%d %H:%M:%S}",
            Text(plain(line["route"])),
            Text(line["kind"], style=COLOURS.get(line["kind"], "")),
            Text(plain(moved)),
            line["by"],
            Text(plain(why)),
        )
    return table
