"""What of a correct file is unwise, each with a way out."""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.findings import Finding
from proxy.config.places import Places
from proxy.config.settings import Config


def lint_file(config: Config, value: Mapping[str, Any], places: Places) -> Iterator[Finding]:
    """Findings that the file alone gives."""
    yield from ()
