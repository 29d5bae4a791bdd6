"""`banyan compare --replay`: what today's rules make of pairs that were recorded.

So that rules can be tuned without traffic: per signature how often it counted and would count, and
which pairs become equal or divergent.
"""

import json
import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from proxy.cli import screen
from proxy.cli.options import config_option
from proxy.observe.plain import plain

if TYPE_CHECKING:
    from proxy.cli.whatif import Change, Result

SHOWN: Final = 30
NAMED: Final = 5

EXAMPLES = """
Examples:

\b
  banyan divergences --export pairs.ndjson && banyan compare --replay pairs.ndjson
  banyan compare --replay pairs.ndjson --route orders --config edited.yaml
  banyan compare --replay legacy.har new.har
  banyan compare --replay answers/legacy answers/new --route orders
"""


@click.command("compare", epilog=EXAMPLES)
@click.option(
    "--replay",
    "first",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE|DIR",
    help="An export of the divergences; or legacy's HAR file, or folder of bodies.",
)
@click.argument(
    "second", required=False, type=click.Path(path_type=Path, exists=True), metavar="[FILE2|DIR2]"
)
@click.option(
    "--route", metavar="NAME", help="The rules of this route; of an export only its pairs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_option("The rules to compare by.")
def command(
    first: Path, second: Path | None, route: str | None, as_json: bool, config_path: Path
) -> None:
    """Compare recorded pairs of answers by the rules of a configuration.

    FILE2 or DIR2 holds the answers of new where the first holds only those of legacy: requests
    of HAR files are matched by method and target (new's as the route's rewrite makes it), files
    of folders by their names. Places that were noise when they were recorded stay noise. Exits 1
    if a pair is divergent that was not, and if no pair could be replayed.
    """
    # Here, since reading the schema takes longer than a usage error should.
    from proxy.cli.replaying import ReplayError, read_pairs
    from proxy.cli.whatif import Replay
    from proxy.config import load

    loaded = load(config_path, os.environ)
    if loaded.config is None:
        errors = [finding for finding in loaded.findings if finding.severity == "error"]
        more = f" (and {len(errors) - 1} more; see banyan check)" if len(errors) > 1 else ""
        raise click.ClickException(f"There are no rules to compare by: {errors[0]}{more}")
    routes = {each.name: each for each in loaded.config.routes}
    if route is not None and route not in routes:
        near = get_close_matches(route, routes, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise click.ClickException(f"There is no route named {route} in {config_path}.{hint}")
    if first.is_dir() and route is None:
        raise click.UsageError("Folders say nothing of routes: --route NAME says whose rules.")
    replay = Replay(routes, route, config_path.parent)
    try:
        for pair in read_pairs(first, second, replay.new_target):
            replay.take(pair)
    except ReplayError as error:
        raise click.ClickException(str(error)) from None
    finally:
        replay.close()
    result = replay.result
    if as_json:
        click.echo(json.dumps(as_data(result), indent=2))
    else:
        _print(result)
    if not result.replayed:
        given = f"{first} and {second}" if second else first
        what = (
            f"none of the {result.pairs:,} pairs could be"
            if result.pairs
            else f"there are no pairs{f' of {route}' if route else ''} in {given}"
        )
        raise click.ClickException(f"Nothing was replayed, so nothing is known: {what}.")
    if result.has_new_divergences:
        raise SystemExit(1)


def as_data(result: "Result") -> dict[str, Any]:
    """The result as JSON data; of the pairs that change the first are named."""
    return {
        "pairs": result.pairs,
        "replayed": result.replayed,
        "not_replayed": dict(result.not_replayed.most_common()),
        "signatures": [
            {"signature": text, "before": change.before, "after": change.after}
            for text, change in _ranked(result)
        ],
        "changes": [
            {"before": before, "after": after, "count": count, "pairs": result.names[before, after]}
            for (before, after), count in result.changes.most_common()
        ],
    }


def _ranked(result: "Result") -> "list[tuple[str, Change]]":
    """Those that change most first."""

    def rank(item: "tuple[str, Change]") -> tuple[int, int, str]:
        text, change = item
        before = change.before or 0
        return -abs(change.after - before), -max(change.after, before), text

    return sorted(result.signatures.items(), key=rank)


def _print(result: "Result") -> None:
    console = screen.console()
    ranked = _ranked(result)
    if ranked:
        console.print(_table(ranked[:SHOWN]))
        if len(ranked) > SHOWN:
            click.echo(f"and {len(ranked) - SHOWN:,} more signatures, which --json lists")
        click.echo()
    click.echo(f"{result.pairs:,} pairs, {result.replayed:,} of them replayed")
    for why, count in result.not_replayed.most_common():
        click.echo(f"  {count:,} not: {plain(why)}")
    for (before, after), count in result.changes.most_common():
        names = result.names[before, after]
        stays = before == after
        what = f"stay {after}" if stays else f"are {after}" if before is None else f"become {after}"
        was = "" if stays or before is None else f" (were {before})"
        line = Text(f"{count:,} {what}{was}", "" if stays else "bold")
        if (not stays and after != "equal") or (not stays and before is not None):
            more = ", ..." if count > NAMED else ""
            line.append(f": {', '.join(plain(name) for name in names[:NAMED])}{more}", "not bold")
        console.print(line)


def _table(ranked: "list[tuple[str, Change]]") -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("Signature\nroute path kind", overflow="fold", min_width=16)
    for heading in ("Before", "After", "Change"):
        table.add_column(heading, justify="right", no_wrap=True)
    for text, change in ranked:
        difference = change.after - (change.before or 0)
        table.add_row(
            Text(plain(text)),
            "-" if change.before is None else f"{change.before:,}",
            f"{change.after:,}",
            Text(f"{difference:+,}" if difference else "", "red" if difference > 0 else "green"),
        )
    return table
