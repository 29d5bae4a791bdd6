"""The options that many commands have: which file, and which admin API."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

SAYS_WHERE = "Says where the admin API listens."
THE_API = "The admin API itself: http://HOST:PORT or unix:/PATH."


def config_option(help: str = SAYS_WHERE) -> Decorator:
    """`--config FILE`, as the argument `config_path`."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        default=Path("routes.yaml"),
        envvar="BANYAN_CONFIG",
        show_default=True,
        metavar="FILE",
        help=help,
    )


def admin_option(help: str = THE_API) -> Decorator:
    """`--admin URL`, as the argument `admin`; see `admin_address`."""
    return click.option("--admin", metavar="URL", help=help)
