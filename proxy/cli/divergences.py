"""`banyan divergences`: where the two sides answered differently, from the admin API.

A list of the newest, the signatures they are grouped by, one pair side by side, or all of them as
JSON lines in a file. Tables are pure functions of what the API answers; what they show came from
clients and backends, so it is plain text without markup.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from proxy.cli import screen
from proxy.cli.adminclient import AdminClient, AdminError, admin_address, query
from proxy.cli.options import admin_option, config_option
from proxy.observe import figures
from proxy.observe.plain import plain

PAGE: Final = 500  # the most that the API gives at once
SHOWN: Final = 20
LISTED_PATHS: Final = 3
NOTHING: Final = "Nothing has differed that is still kept"

EXAMPLES = """
Examples:

\b
  banyan divergences --route orders --since 2h
  banyan divergences --group
  banyan divergences 18c5a9f0d2e00017a3c4
  banyan divergences --export pairs.ndjson --route orders
"""


@click.command("divergences", epilog=EXAMPLES)
@click.argument("id", required=False)
@click.option("--route", metavar="NAME", help="Only of this route.")
@click.option("--signature", metavar="TEXT", help="Only with this signature, as --group shows it.")
@click.option(
    "--since",
    metavar="TIME",
    help="Not longer ago (30m, 2h, 7d), or since a moment (2026-01-31T12:00:00Z).",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help=f"At most N.  [default: {SHOWN}]",
)
@click.option("--group", is_flag=True, help="The signatures, those that differ most first.")
@click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
@click.option(
    "--export",
    "export_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all pairs as JSON lines, for banyan compare --replay; - is the output.",
)
@config_option()
@admin_option()
def command(
    id: str | None,
    route: str | None,
    signature: str | None,
    since: str | None,
    limit: int | None,
    group: bool,
    as_json: bool,
    export_path: Path | None,
    config_path: Path,
    admin: str | None,
) -> None:
    """Show where the two sides answered differently.

    Without ID the newest are listed; with one, that pair is shown side by side. Secrets were
    replaced by hashes before anything was stored. Exits 1 if the admin API cannot be reached or
    has none of this id.
    """
    given = {
        "ID": id,
        "--group": group or None,
        "--export": export_path,
        "--signature": signature,
        "--since": since,
        "--limit": limit,
        "--json": as_json or None,
        "--route": route,
    }
    _check_usage({name for name, value in given.items() if value is not None})
    try:
        client = AdminClient(admin_address(admin, config_path))
        if export_path is not None:
            asyncio.run(_export(client, route, export_path))
        elif id is not None:
            asyncio.run(_one(client, id, as_json))
        elif group:
            asyncio.run(_grouped(client, route, limit, as_json))
        else:
            asyncio.run(_listed(client, route, signature, since, limit or SHOWN, as_json))
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


# What an option of the left goes together with; the first that is given decides.
GOES_WITH = {
    "--export": {"--route"},
    "ID": {"--json"},
    "--group": {"--route", "--limit", "--json"},
}


def _check_usage(given: set[str]) -> None:
    for name, others in GOES_WITH.items():
        if name in given:
            if wrong := sorted(given - others - {name}):
                raise click.UsageError(f"{name} does not go together with {wrong[0]}.")
            return


def divergences_table(divergences: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """The table of the divergences in an answer of `GET /api/v1/divergences`."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("When", no_wrap=True)
    table.add_column("Request", overflow="fold", min_width=12, ratio=2)
    table.add_column("Status\nleg/new", overflow="fold", min_width=7)
    table.add_column("Differing", overflow="fold", min_width=12, ratio=3)
    table.add_column("ID", overflow="fold", min_width=20)
    for each in divergences:
        table.add_row(
            "\n".join(moment(each["at"], now).split(" ")),
            Text.assemble(f"{plain(each['method'])} {plain(each['target'])}\n", _quiet(each)),
            Text.assemble(status(each["legacy"]), "/", (status(each["new"]), "bold")),
            _differing(each),
            Text(plain(each["id"])),
        )
    return table


def signatures_table(signatures: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """The table of the signatures in an answer of `GET /api/v1/signatures`."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("Count", justify="right", no_wrap=True)
    table.add_column("Signature\nroute path kind", overflow="fold", min_width=16, ratio=3)
    table.add_column("Noise", overflow="fold", min_width=8)
    table.add_column("First and\nlast seen", no_wrap=True)
    table.add_column("Sample ID", overflow="fold", min_width=10)
    for each in signatures:
        count = int(each["count"])
        seen = dict.fromkeys(moment(each[name], now) for name in ("first_at", "last_at"))
        table.add_row(
            Text(figures.count(count), "red" if count else ""),
            Text(plain(each["signature"])),
            Text(noise(each["noise"])),
            "\n".join(seen),
            Text(plain(next(iter(each["sample_ids"]), figures.NONE))),
        )
    return table


def moment(text: str, now: datetime) -> str:
    """A time of the API in the zone of `now`: of another day, with its date."""
    at = datetime.fromisoformat(text).astimezone(now.tzinfo)
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S}"


def status(side: Mapping[str, Any]) -> str:
    """The status of a side, or why it gave no answer."""
    return plain(str(side["failure"] or "no answer")) if not side["status"] else str(side["status"])


def noise(known: Mapping[str, Any] | None) -> str:
    """What is known of a signature's noise: `12% of 340`, and what it explains."""
    if known is None:
        return figures.NONE
    text = (
        f"{figures.share(known['share'])} of {figures.count(known['samples'])}"
        if known["samples"]
        else figures.NONE
    )
    return f"{text}\nexplains {figures.count(known['count'])}" if known["count"] else text


def _quiet(divergence: Mapping[str, Any]) -> tuple[str, str]:
    text = plain(divergence["route"])
    return (text if divergence["result"] == "divergent" else f"{text}, noise"), "dim"


def _differing(divergence: Mapping[str, Any]) -> Text:
    differences = divergence["differences"]
    lines = [
        Text(
            f"{plain(each['path'])} {plain(each['kind'])}" + (" (noise)" if each["noise"] else ""),
            "dim" if each["noise"] else "",
        )
        for each in sorted(differences, key=lambda each: bool(each["noise"]))[:LISTED_PATHS]
    ]
    more = len(differences) - LISTED_PATHS
    if more > 0 or divergence["truncated"]:
        lines.append(Text(f"and {max(more, 0) or 'perhaps'} more", "dim"))
    return Text("\n").join(lines)


async def _listed(
    client: AdminClient,
    route: str | None,
    signature: str | None,
    since: str | None,
    limit: int,
    as_json: bool,
) -> None:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        asked = query(
            route=route,
            signature=signature,
            since=since,
            limit=min(limit - len(found), PAGE),
            cursor=cursor,
        )
        page = await client.get(f"/api/v1/divergences{asked}")
        found += page["divergences"]
        cursor = page["next"]
        if cursor is None or len(found) >= limit:
            break
    if as_json:
        _print_json({"divergences": found, "next": cursor})
    elif not found:
        click.echo(_nothing(route or signature or since))
    else:
        screen.console().print(divergences_table(found, datetime.now().astimezone()))
        if cursor is not None:
            click.echo(f"The newest {len(found):,}; --limit N shows more, --group what they share.")


async def _grouped(
    client: AdminClient, route: str | None, limit: int | None, as_json: bool
) -> None:
    found = (await client.get(f"/api/v1/signatures{query(route=route)}"))["signatures"]
    shown = found[: limit or (len(found) if as_json else SHOWN)]
    if as_json:
        _print_json({"signatures": shown})
    elif not found:
        click.echo(_nothing(route))
    else:
        screen.console().print(signatures_table(shown, datetime.now().astimezone()))
        if len(shown) < len(found):
            click.echo(f"The first {len(shown):,} of {len(found):,}; --limit N shows more.")


async def _one(client: AdminClient, id: str, as_json: bool) -> None:
    found = await client.get(f"/api/v1/divergences/{quote(id, safe='')}")
    if as_json:
        _print_json(found)
        return
    from proxy.cli.sidebyside import side_by_side

    console = screen.console()
    for part in side_by_side(found, console.width, datetime.now().astimezone()):
        console.print(part)


async def _export(client: AdminClient, route: str | None, path: Path) -> None:
    """To a file beside first: what broke off half-way is not taken for the whole."""
    lines = client.lines(f"/api/v1/divergences/export{query(route=route)}")
    if str(path) == "-":
        async for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with open(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:  # noqa: ASYNC230  (nothing else runs)
            async for line in lines:
                file.write(line)
                count += 1
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise AdminError(f"{path} cannot be written: {error.strerror}.") from None
        raise
    click.echo(f"{count:,} pairs written to {path}.", err=True)


def _print_json(data: dict[str, Any]) -> None:
    # ASCII, so that nothing in it can steer the terminal it is printed on.
    click.echo(json.dumps(data, indent=2))


def _nothing(narrowed: str | None) -> str:
    return f"{NOTHING} and is asked for." if narrowed else f"{NOTHING}."
