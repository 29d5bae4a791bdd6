"""The command `banyan`: a group that loads a command's module only when it is asked for.

Rules for every command: exit 0 is fine, 1 is findings or a refusal, 2 is bad usage; errors are one
readable paragraph on stderr. BANYAN_DEBUG=1 shows the traceback of what was not foreseen.
"""

import importlib
import os
import sys
import traceback
from difflib import get_close_matches

import click

# name: (module, with what it exports if that is not `command`; what `banyan --help` says of it)
COMMANDS = {
    "serve": ("proxy.cli.serve", "Answer clients as the configuration says."),
    "check": ("proxy.cli.check", "Find what is wrong or unwise in a configuration."),
    "explain": ("proxy.cli.explain", "Say which route takes a request, and what happens to it."),
    "status": ("proxy.cli.status", "Show the routes as they are now."),
    "divergences": ("proxy.cli.divergences", "Show where the two sides answered differently."),
    "compare": ("proxy.cli.compare", "Compare recorded pairs by the rules of today."),
    "history": ("proxy.cli.history", "Show how routes were moved, by whom and why."),
    "revert": ("proxy.cli.moves:revert", "Take a route back, and latch it there."),
    "advance": ("proxy.cli.moves:advance", "Move a route forward."),
    "hold": ("proxy.cli.moves:hold", "Let a route not advance by itself."),
    "resume": ("proxy.cli.moves:resume", "Lift the latch of a reverted route, or a hold."),
    "demo": ("proxy.cli.demo", "Run two shops, visitors, and the proxy between them."),
}

EXAMPLES = """
Examples:

\b
  banyan demo
  banyan check routes.yaml
  banyan serve --config routes.yaml
"""


class Commands(click.Group):
    """The commands of the table, in its order."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name or "command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "there are " + ", ".join(COMMANDS)
            ctx.fail(f"There is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Say the version, and how the data plane was built."""
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        from proxy.edge.build import describe

        click.echo(f"banyan, version {version('banyan-proxy')} ({describe()})")
        ctx.exit()


@click.group(
    cls=Commands, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Banyan: a reverse proxy that moves traffic to a new system, route by route."""


def main() -> None:
    """Run the command line; never returns."""
    try:
        code = commands.main(prog_name="banyan", standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing more can be said to it.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.exit(1)
    except Exception as error:
        if os.environ.get("BANYAN_DEBUG"):
            traceback.print_exc()
        else:
            said = " ".join(str(error).split()) or "no more is known"
            click.echo(
                f"banyan: this should not have happened: {type(error).__name__}: {said}. "
                "BANYAN_DEBUG=1 shows where.",
                err=True,
            )
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
