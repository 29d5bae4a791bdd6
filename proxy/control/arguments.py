"""What the launcher tells the controller at its start."""

import argparse
from collections.abc import Sequence


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The controller's arguments; ends the process where one is missing."""
    parser = argparse.ArgumentParser(prog="proxy.control.controller")
    parser.add_argument("--config", required=True)
    parser.add_argument("--state", required=True, help="path of the SQLite store")
    parser.add_argument("--replica", required=True, help="who this is, in hexadecimal digits")
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--link-fd", type=int, required=True)
    parser.add_argument("--results-fd", type=int, required=True)
    parser.add_argument("--comparers", type=int, required=True)
    parser.add_argument("--admin-fd", type=int, required=True)
    parser.add_argument("--admin-host", help="what the admin API listens on; none: a Unix socket")
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--known-fd", type=int, required=True, help="memory that outlives this")
    parser.add_argument("--pulse-fd", type=int, required=True, help="that the loop turns")
    parser.add_argument("--pulse-at", type=int, required=True, help="the place of it there")
    parser.add_argument("--runtime", required=True, help="the launcher's private directory")
    parser.add_argument("--log-format", default="auto")
    return parser.parse_args(argv)
