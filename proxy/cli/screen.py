"""What the tables of the commands are printed on: a terminal, or a file of readable width."""

import os
import sys
from typing import Final

from rich.console import Console

WIDTH_OF_A_FILE: Final = 120  # not a terminal and no COLUMNS


def console() -> Console:
    """The console of stdout; colours only on a terminal."""
    made = Console(highlight=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(highlight=False, width=WIDTH_OF_A_FILE)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the arrow
    return made
