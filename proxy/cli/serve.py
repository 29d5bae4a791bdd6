"""`banyan serve`: the proxy in the foreground."""

import sys
from pathlib import Path

import click

from proxy.cli.options import config_option

EXAMPLES = """
Examples:

\b
  banyan serve
  banyan serve --config /etc/banyan/routes.yaml --grace 60s

\b
Signals: SIGTERM or SIGINT stops accepting, finishes what is under way and exits 0 (a second one
ends at once, exit 1). SIGHUP reads the configuration again; the file is watched anyway.
"""


class Duration(click.ParamType[float]):
    """A time as the configuration writes it: 500ms, 30s, 5m."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        from proxy.config.units import parse_time

        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


@click.command("serve", epilog=EXAMPLES)
@config_option("The routes to serve.")
@click.option(
    "--grace",
    type=Duration(),
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long requests under way may take to finish after SIGTERM.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line of JSON (pid, listen, admin) there once every worker serves.",
)
def command(config_path: Path, grace: float, ready_file: Path | None) -> None:
    """Answer clients as the configuration says, until told to stop."""
    from proxy.control.launcher import Options, StartError, serve

    try:
        code = serve(Options(config_path, grace, ready_file))
    except StartError as error:
        for finding in error.findings:
            click.echo(str(finding), err=True)
        click.echo(f"banyan serve: {error}", err=True)
        code = 1
    sys.exit(code)
