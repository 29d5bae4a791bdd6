"""`banyan status`: the table of routes, from the admin API.

`routes_table` is a pure function of what `GET /api/v1/routes` answers, laid out to be readable at
80 columns; `select` says which of very many routes are shown.
"""

import asyncio
import contextlib
import fnmatch
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proxy.cli import screen
from proxy.cli.adminclient import AdminClient, AdminError, admin_address
from proxy.cli.options import admin_option, config_option
from proxy.observe import figures
from proxy.observe.plain import plain

DEFAULT_TOP = 100
LINES_AROUND_THE_TABLE = 7
# Reasons for which pairs were not judged that say that something is wrong.
UNJUDGED = {
    "comparator_failed": "the comparator failed; the log says how",
    "comparer_lost": "their comparer died",
    "both_failed": "both sides failed",
}

EXAMPLES = """
Examples:

\b
  banyan status
  banyan status --watch --route 'api-*'
  banyan status --json | jq '.routes[] | select(.window.errors.new > 0).name'
"""


@click.command("status", epilog=EXAMPLES)
@click.option("--watch", is_flag=True, help="Refresh in place until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch refreshes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the API's JSON, a line a look.")
@click.option(
    "--route",
    "patterns",
    multiple=True,
    metavar="NAME",
    help="Only this route; * and ? match any characters. May be given several times.",
)
@click.option(
    "--top",
    type=click.IntRange(0),
    metavar="N",
    help="Only the N busiest routes, 0 for all. Default: what fits with --watch, else "
    f"{DEFAULT_TOP}; all with --json.",
)
@config_option()
@admin_option()
def command(
    watch: bool,
    interval: float,
    as_json: bool,
    patterns: tuple[str, ...],
    top: int | None,
    config_path: Path,
    admin: str | None,
) -> None:
    """Show every route: its phase, its traffic, its errors, what was compared and differed.

    Figures are of the last five minutes, rates of the last 10 to 20 seconds, latencies in
    milliseconds; pairs of figures are legacy / new unless they say otherwise. Exits 1 if the
    admin API cannot be reached.
    """
    try:
        client = AdminClient(admin_address(admin, config_path))
        if not watch:
            asyncio.run(_once(client, as_json, patterns, top))
        elif as_json:
            asyncio.run(_stream(client, patterns, top, interval))
        else:
            asyncio.run(_watch(client, patterns, top, interval))
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        return


def routes_table(data: Mapping[str, Any]) -> Table:
    """The table of the routes in an answer of `GET /api/v1/routes`."""
    # No padding: the separators of the box are the gaps, so that all of it fits in 80 columns.
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, caption_justify="left")
    table.add_column("Route", overflow="fold", min_width=11)
    table.add_column("Phase", overflow="fold", min_width=13)
    for heading in (
        "Req/s",
        "Errors\nleg/new",
        "Compared\n/differ",
        "Cover\nage",
        "Legacy ms\np50/p99",
        "New ms\np50/p99",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for route in data["routes"]:
        window = route["window"]
        errors, latency = window["errors"], window["latency_ms"]
        table.add_row(
            Text(route["name"]),
            _phase(route),
            figures.rate(window["requests_per_s"]),
            _pair(errors["legacy"], errors["new"]),
            _pair(window["comparisons"], window["divergences"]),
            figures.share(window["coverage"]),
            _latency(latency["legacy"]),
            _latency(latency["new"]),
        )
    if (missing := data.get("of", 0) - len(data["routes"])) > 0:
        table.caption = (
            f"less busy and not shown: {missing:,} (--top 0 shows all, --route NAME one)"
        )
    return table


def remarks(data: Mapping[str, Any]) -> Text:
    """A line on each route that went back, is failing or climbs: why, and what it waits for.

    One as well on pairs that could not be judged: the figures alone look as if all were well.
    """
    lines = []
    for route in data["routes"]:
        revert, verdict, advance = route["revert"], route["verdict"], route["advance"]
        name = plain(route["name"])
        if revert:
            when = datetime.fromisoformat(revert["at"]).astimezone()
            why = ": ".join(filter(None, (revert["reason"], revert["evidence"])))
            said = f"{name}: reverted from {revert['from']} on {when:%Y-%m-%d %H:%M:%S}: {why}"
            lines.append(Text(plain(said), "red"))
        if verdict["state"] == "failing":
            lines.append(Text(f"{name}: failing now: {plain(verdict['evidence'])}", "bold red"))
        if unjudged := _unjudged(route["window"]["skipped"]):
            lines.append(Text(f"{name}: not compared: {unjudged}", "yellow"))
        if advance and advance["needs"]:
            lines.append(Text(f"{name}: {advance['to']} needs {plain(advance['needs'])}", "dim"))
        if route["ready_at"]:
            when = datetime.fromisoformat(route["ready_at"]).astimezone()
            lines.append(Text(f"{name}: ready to be removed since {when:%Y-%m-%d}", "green"))
    return Text("\n").join(lines)


def select(data: Mapping[str, Any], patterns: Sequence[str], top: int) -> dict[str, Any]:
    """The routes that match any pattern, of these the `top` busiest (0: all), in their order.

    `of` in the result is how many matched. Raises AdminError if none does.
    """
    routes = list(data["routes"])
    if patterns:
        names = [route["name"] for route in routes]
        wanted = {name for pattern in patterns for name in _matching(names, pattern)}
        routes = [route for route in routes if route["name"] in wanted]
    matched = len(routes)
    if top and matched > top:
        busiest = sorted(routes, key=lambda route: -route["window"]["requests"])[:top]
        kept = {route["name"] for route in busiest}
        routes = [route for route in routes if route["name"] in kept]
    return {**data, "routes": routes, "of": matched}


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    if pattern in names:  # a name may hold brackets and stars itself
        return [pattern]
    # Only * and ? are special: a name like `[x]` is more likely than a set of characters.
    escaped = pattern.replace("[", "[[]")
    if found := [name for name in names if fnmatch.fnmatchcase(name, escaped)]:
        return found
    close = get_close_matches(pattern, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else " banyan status --top 0 lists them all."
    raise AdminError(f"There is no route named {pattern}.{hint}")


def _phase(route: Mapping[str, Any]) -> Text:
    declared, effective = route["declared_phase"], route["effective_phase"]
    lines = [Text(declared)] if declared == effective else [Text(f"{declared}\n→ {effective}")]
    if route["pending"]:
        lines.append(Text(f"pending {route['pending']['to']}", "yellow"))
    if route["revert"]:
        lines.append(Text("reverted, LATCHED", "bold red"))
    if route.get("stale"):
        lines.append(Text("CONFIG_STALE", "yellow"))
    if route["held"]:
        lines.append(Text("held", "cyan"))
    lines += [Text(f"missed: {side}", "bold red") for side in route["missed"]]
    return Text("\n").join(lines)


def _unjudged(skipped: Mapping[str, int]) -> str:
    """`6 pairs (the comparator failed; the log says how), 2 pairs (both sides failed)`."""
    return ", ".join(
        f"{skipped[reason]:,} {'pair' if skipped[reason] == 1 else 'pairs'} ({why})"
        for reason, why in UNJUDGED.items()
        if skipped.get(reason)
    )


def _pair(first: int, second: int) -> Text:
    return Text.assemble(
        figures.count(first), "/", (figures.count(second), "red" if second else "")
    )


def _latency(quantiles: Mapping[str, float | None]) -> str:
    return "/".join(figures.milliseconds(quantiles[name]) for name in ("p50", "p99"))


async def _once(
    client: AdminClient, as_json: bool, patterns: Sequence[str], top: int | None
) -> None:
    data = await client.get("/api/v1/routes")
    if as_json:
        selected = select(data, patterns, top or 0)
        click.echo(json.dumps({"routes": selected["routes"]}, indent=2, ensure_ascii=False))
        return
    console = screen.console()
    selected = select(data, patterns, DEFAULT_TOP if top is None else top)
    console.print(routes_table(selected))
    if said := remarks(selected):
        console.print(said)
    with contextlib.suppress(AdminError):
        if refused := (await client.get("/api/v1/config")).get("last_error"):
            text = f"The last edit was refused, the table before it stays: {refused['text']}"
            click.echo(text, err=True)


async def _stream(
    client: AdminClient, patterns: Sequence[str], top: int | None, interval: float
) -> None:
    while True:
        selected = select(await client.get("/api/v1/routes"), patterns, top or 0)
        click.echo(json.dumps({"routes": selected["routes"]}, ensure_ascii=False))
        await asyncio.sleep(interval)


async def _watch(
    client: AdminClient, patterns: Sequence[str], top: int | None, interval: float
) -> None:
    """Refreshes in place, or prints each look where there is no place to refresh.

    Only the first look may fail: later ones say so under the last figures and go on.
    """
    console = screen.console()
    data = await client.get("/api/v1/routes")
    seen, trouble = datetime.now(), ""
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            rows = max(console.height - LINES_AROUND_THE_TABLE, 3)
            selected = select(data, patterns, rows if top is None else top)
            state = Text(f"{client.address}  {seen:%H:%M:%S}", "dim")
            look = Group(state, "", routes_table(selected), remarks(selected), Text(trouble, "red"))
            if console.is_terminal:
                live.update(look, refresh=True)
            else:
                console.print(look)
            await asyncio.sleep(interval)
            try:
                data = await client.get("/api/v1/routes")
                seen, trouble = datetime.now(), ""
            except AdminError as error:
                trouble = str(error)
