"""From a place in the values of a file to a Finding that names its line, column and key path."""

from collections.abc import Sequence
from typing import Any

from proxy.config.document import Document
from proxy.config.environment import empty_variables
from proxy.config.findings import Finding, finding
from proxy.config.syntax import SECRET_KEYS

SHOWN_LENGTH = 60


class Places:
    """Makes the findings of one file."""

    def __init__(self, file: str, document: Document) -> None:
        self.file = file
        self.document = document

    def finding(
        self, code: str, loc: Sequence[str | int], text: str, *, of_key: bool = False
    ) -> Finding:
        """A finding about the value (or the key) at `loc`, or the nearest one that exists."""
        path = key_path(self.document.existing(loc) if not of_key else loc)
        return finding(
            code,
            self.file,
            self.document.position(loc, of_key=of_key),
            path,
            f"{path}: {text}" if path else text,
        )

    def path(self, loc: Sequence[str | int]) -> str:
        """The key path of `loc` in words."""
        return key_path(loc)

    def shown(self, loc: Sequence[str | int], value: Any) -> str:
        """The value in a message: as written, so that no environment value is shown."""
        if isinstance(value, dict):
            return "the mapping"
        if isinstance(value, list):
            return "the list"
        written = self.document.written(loc)
        empty = empty_variables(written, self.document.taken) if written is not None else []
        why = (
            f" ({' and '.join(empty)} is empty in the environment)"[:SHOWN_LENGTH] if empty else ""
        )
        if value is None or (loc and loc[0] == "alerts" and loc[-1] in SECRET_KEYS):
            return f"the value{why}"
        text = written if written is not None else str(value)
        if len(text) > SHOWN_LENGTH:
            text = text[:SHOWN_LENGTH] + "..."
        return (f'"{text}"' if isinstance(value, str) else text) + why


def key_path(loc: Sequence[str | int]) -> str:
    """`routes./api/*.compare.ignore[0]`."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            shown = part if len(part) <= 120 else part[:120] + "..."
            path += f".{shown}" if path else shown
    return path
